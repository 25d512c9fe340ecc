use super::{
    Aggregator, CollectEvent, Emission, Fold, IntoFate,
    shared::{Observer, Shared},
    state::Limits,
};
use forebay_core::{ConfigError, Observe};
use futures_util::task::AtomicWaker;
use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

/// Builds an [`Aggregator`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`max_open`](Self::max_open) | 5,000 keys | 1 and more |
/// | [`max_errors`](Self::max_errors) | 50 errors per key | 0 and more |
/// | [`max_bytes`](Self::max_bytes) | 16 MiB | 1 and more |
/// | [`ttl`](Self::ttl) | 1 hour | above 0, at most 365 days |
/// | [`observe`](Self::observe) | none | |
#[must_use = "a builder does nothing until `build`"]
pub struct AggregatorBuilder<F, Event> {
    fold: F,
    limits: Limits,
    observer: Arc<Observer>,
    event: PhantomData<fn(Event)>,
}

const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

// === impl AggregatorBuilder ===

impl<F: Fold<Event>, Event> AggregatorBuilder<F, Event> {
    pub(super) fn new(fold: F) -> Self {
        let limits = Limits { max_open: 5_000, max_errors: 50, max_bytes: 16 << 20, ttl: Duration::from_secs(60 * 60) };
        Self { fold, limits, observer: Arc::new(()), event: PhantomData }
    }

    /// Sets how many keys may be open at a time; default 5,000.
    ///
    /// When one more is opened, the oldest ends as [evicted](super::End::Evicted): its errors are passed on first.
    pub fn max_open(mut self, keys: usize) -> Self {
        self.limits.max_open = keys;
        self
    }

    /// Sets how many errors may wait with one key; default 50. With 0 all are dropped, and counted.
    ///
    /// One more drops the oldest, counted as [evicted](forebay_core::DropReason::Evicted).
    pub fn max_errors(mut self, errors: usize) -> Self {
        self.limits.max_errors = errors;
        self
    }

    /// Sets the greatest weight of all held events together, in bytes; default 16 MiB. See [`Fold::weigh`].
    ///
    /// The oldest keys end to make room. An event that is larger than this limit is refused.
    pub fn max_bytes(mut self, bytes: usize) -> Self {
        self.limits.max_bytes = bytes;
        self
    }

    /// Sets how long a key may be open; default 1 hour, at most 365 days.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.limits.ttl = ttl;
        self
    }

    /// Sets the observer of ended keys and dropped events; none by default.
    ///
    /// It runs without the lock. A panic in it is caught.
    pub fn observe(mut self, observer: impl Observe<CollectEvent> + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// Builds an aggregator that passes its items to `sink`.
    ///
    /// The sink runs on the thread that offers the event which completes an item, without the lock, and must not block: an
    /// exporter's `emit` is a sink. A sink that panics costs the item that was passed to it, which is counted. An event that the
    /// sink itself offers to this aggregator, on the same thread, is refused: telemetry must not feed itself.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] when a knob is out of its range.
    pub fn build<S, H>(self, sink: S) -> Result<Aggregator<F::Key, Event, F::Item>, ConfigError>
    where
        S: Fn(Emission<F::Item>) -> H + Send + Sync + 'static,
        H: IntoFate,
        F: Send + Sync + 'static,
        F::Key: Send + 'static,
        F::Held: Send + 'static,
        F::Item: 'static,
        Event: Send + 'static,
    {
        let Self { fold, limits, observer, event: _ } = self;
        for (knob, value) in [("max_open", limits.max_open), ("max_bytes", limits.max_bytes)] {
            if value == 0 {
                return Err(ConfigError::new(knob, 0, "1 and more"));
            }
        }
        if limits.ttl.is_zero() || limits.ttl > A_YEAR {
            return Err(ConfigError::new("ttl", format_args!("{:?}", limits.ttl), "above 0 s, and at most 365 days"));
        }
        let waker = Arc::new(AtomicWaker::new());
        let sink = Box::new(move |emission| sink(emission).into_fate());
        let shared = Arc::new(Shared::new(fold, limits, sink, observer, Arc::clone(&waker)));
        Ok(Aggregator::new(shared.clone(), shared, waker))
    }
}

impl<F, Event> fmt::Debug for AggregatorBuilder<F, Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatorBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}
