use super::{
    AggregatorBuilder, Fold, Refused, Ticker,
    shared::{Desk, Intake},
};
use forebay_core::{BoxError, Totals};
use futures_util::task::AtomicWaker;
use std::{
    fmt,
    future::{Ready, ready},
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Puts events together by key until the key is complete, and hands on the items that a [`Fold`] makes of them.
///
/// Clones share everything. When the last one goes the aggregator is closed, and what is open leaves.
///
/// As a [`Service`] it is always ready, and answers at once whether the event was taken.
///
/// # Cancellation
/// Nothing waits here: every call is over when it returns.
pub struct Aggregator<K, Event, Item> {
    intake: Arc<dyn Intake<K, Event>>,
    rights: Arc<Rights>,
    item: PhantomData<fn() -> Item>,
}

/// What all clones share: with the last of them the aggregator is closed.
struct Rights {
    desk: Arc<dyn Desk>,
    waker: Arc<AtomicWaker>,
}

// === impl Aggregator ===

impl<K, Event, Item> Aggregator<K, Event, Item> {
    /// What can be configured, with its defaults.
    pub fn builder<F: Fold<Event, Key = K, Item = Item>>(fold: F) -> AggregatorBuilder<F, Event> {
        AggregatorBuilder::new(fold)
    }

    pub(super) fn new(intake: Arc<dyn Intake<K, Event>>, desk: Arc<dyn Desk>, waker: Arc<AtomicWaker>) -> Self {
        Self { intake, rights: Arc::new(Rights { desk, waker }), item: PhantomData }
    }

    /// Hands over an event. It never blocks beyond the lock, and what is refused is counted.
    ///
    /// Switched off it costs one relaxed load and one relaxed count.
    pub fn record(&self, event: Event) {
        // The refusal is in the ledger; telemetry that does not fit must not become the host's problem.
        drop(self.intake.offer(event));
    }

    /// Hands over an event, or gets it back.
    ///
    /// # Errors
    /// [`Refused`] if the aggregator is closed or switched off, if the event is larger than all that may be held, or if
    /// the fold panicked on it.
    pub fn offer(&self, event: Event) -> Result<(), Refused<Event>> {
        self.intake.offer(event)
    }

    /// Ends a key as [complete](super::End::Complete); `false` if it is not open.
    pub fn complete(&self, key: &K) -> bool {
        self.intake.complete(key)
    }

    /// Ends all keys that `wanted` says, oldest first, and says how many they were.
    ///
    /// `wanted` is called under the lock and must not call the aggregator.
    pub fn complete_where(&self, mut wanted: impl FnMut(&K) -> bool) -> usize {
        self.intake.complete_where(&mut wanted)
    }

    /// Ends all keys as complete, and goes on.
    pub fn complete_all(&self) {
        self.rights.desk.complete_all();
    }

    /// Takes nothing new and ends all keys as [closed](super::End::Closed); `true` for the first who asks.
    ///
    /// All items are with the sink when it returns.
    #[expect(clippy::must_use_candidate, reason = "most callers need not know")]
    pub fn close(&self) -> bool {
        self.rights.desk.close()
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.rights.desk.is_closed()
    }

    /// Switches it on or off. What is open stays, and still expires; what comes is refused and counted.
    pub fn set_enabled(&self, enabled: bool) {
        self.rights.desk.set_enabled(enabled);
    }

    /// Whether it is switched on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.rights.desk.is_enabled()
    }

    /// What has become of the events so far.
    ///
    /// Delivered are those of items that the sink took over; an exporter has a ledger of its own for what came then.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.rights.desk.totals()
    }

    /// How many keys are open.
    #[must_use]
    pub fn open_keys(&self) -> usize {
        self.rights.desk.open_keys()
    }

    /// What the events weigh that are held, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.rights.desk.held_bytes()
    }

    /// Ends keys when they expire, for as long as it is polled; to be spawned.
    pub fn ticker(&self) -> Ticker {
        Ticker::new(Arc::clone(&self.rights.desk), Arc::clone(&self.rights.waker))
    }
}

impl<K, Event, Item> Service<Event> for Aggregator<K, Event, Item> {
    type Response = ();
    type Error = BoxError;
    type Future = Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, event: Event) -> Self::Future {
        ready(self.offer(event).map_err(|refused| refused.without_event().into()))
    }
}

impl<K, Event, Item> Clone for Aggregator<K, Event, Item> {
    fn clone(&self) -> Self {
        Self { intake: Arc::clone(&self.intake), rights: Arc::clone(&self.rights), item: PhantomData }
    }
}

impl<K, Event, Item> fmt::Debug for Aggregator<K, Event, Item> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregator")
            .field("open_keys", &self.open_keys())
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}

// === impl Rights ===

impl Drop for Rights {
    fn drop(&mut self) {
        self.desk.close();
    }
}
