use super::{
    Aggregator, AggregatorEvent, Emission, Fold, Handed,
    shared::{Observer, Shared},
    state::Limits,
};
use forebay_core::{ConfigError, Observe};
use futures_util::task::AtomicWaker;
use std::{fmt, marker::PhantomData, num::NonZeroUsize, sync::Arc, time::Duration};

/// Builds an [`Aggregator`].
///
/// | knob | default | what it bounds |
/// | --- | --- | --- |
/// | [`max_open`](Self::max_open) | 5,000 keys | keys that are open at a time; the oldest one makes room |
/// | [`max_errors`](Self::max_errors) | 50 errors | errors that wait with one key; the oldest one makes room |
/// | [`max_bytes`](Self::max_bytes) | 16 MiB | what all events that are held weigh; the oldest keys make room |
/// | [`ttl`](Self::ttl) | 1 hour | for how long a key may be open |
/// | [`observer`](Self::observer) | nobody | who sees keys end and events go |
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
    /// When one more is opened, the oldest ends as [evicted](super::End::Evicted): its errors leave first.
    pub fn max_open(mut self, keys: NonZeroUsize) -> Self {
        self.limits.max_open = keys.get();
        self
    }

    /// Sets how many errors may wait with one key; default 50. With 0 all are dropped, and counted.
    ///
    /// One more drops the oldest, counted as [evicted](forebay_core::DropReason::Evicted).
    pub fn max_errors(mut self, errors: usize) -> Self {
        self.limits.max_errors = errors;
        self
    }

    /// Sets what all events that are held may weigh, in bytes; default 16 MiB. See [`Fold::weigh`].
    ///
    /// The oldest keys end to make room. An event that is larger than all of it is refused.
    pub fn max_bytes(mut self, bytes: NonZeroUsize) -> Self {
        self.limits.max_bytes = bytes.get();
        self
    }

    /// Sets for how long a key may be open; default 1 hour, at most a year.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.limits.ttl = ttl;
        self
    }

    /// Sets who sees keys end and events go; nobody by default.
    ///
    /// It is called after the lock was given back. A panic in it is caught.
    pub fn observer(mut self, observer: impl Observe<AggregatorEvent> + Send + Sync + 'static) -> Self {
        self.observer = Arc::new(observer);
        self
    }

    /// An aggregator whose items go to `sink`.
    ///
    /// The sink is called by whoever offers an event that makes an item, after the lock was given back, and must not
    /// block: an exporter's `emit` is meant. One that panics costs the item in its hands, which is counted. What the sink
    /// itself reports to this aggregator, in the same thread, is refused: telemetry must not feed itself.
    ///
    /// # Errors
    /// If `ttl` is 0 or longer than a year.
    pub fn build<S, H>(self, sink: S) -> Result<Aggregator<F::Key, Event, F::Item>, ConfigError>
    where
        S: Fn(Emission<F::Item>) -> H + Send + Sync + 'static,
        H: Handed,
        F: Send + Sync + 'static,
        F::Key: Send + 'static,
        F::Held: Send + 'static,
        F::Item: 'static,
        Event: Send + 'static,
    {
        let Self { fold, limits, observer, event: _ } = self;
        if limits.ttl.is_zero() || limits.ttl > A_YEAR {
            return Err(ConfigError::new("ttl", format_args!("{:?}", limits.ttl), "above 0 s, and at most 365 days"));
        }
        let waker = Arc::new(AtomicWaker::new());
        let sink = Box::new(move |emission| sink(emission).fate());
        let shared = Arc::new(Shared::new(fold, limits, sink, observer, Arc::clone(&waker)));
        Ok(Aggregator::new(shared.clone(), shared, waker))
    }
}

impl<F, Event> fmt::Debug for AggregatorBuilder<F, Event> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatorBuilder").field("limits", &self.limits).finish_non_exhaustive()
    }
}
