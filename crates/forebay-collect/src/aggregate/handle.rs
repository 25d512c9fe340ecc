use super::{
    AggregatorBuilder, Fold, Refused, Ticker,
    shared::{AggregatorControl, Ingest},
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

/// Collects events by key until the key is complete, and passes on the items that a [`Fold`] makes of them.
///
/// Clones share everything. The drop of the last one closes the aggregator, and passes on the open keys.
///
/// As a [`Service`] it is always ready, and responds at once whether the event was accepted.
///
/// # Cancellation
/// No call waits, so there is nothing to cancel.
pub struct Aggregator<K, Event, Item> {
    ingest: Arc<dyn Ingest<K, Event>>,
    /// Closes the aggregator with the last clone.
    shared: Arc<CloseOnDrop>,
    item: PhantomData<fn() -> Item>,
}

/// Shared by all clones. The drop of the last one closes the aggregator.
struct CloseOnDrop {
    control: Arc<dyn AggregatorControl>,
    waker: Arc<AtomicWaker>,
}

// === impl Aggregator ===

impl<K, Event, Item> Aggregator<K, Event, Item> {
    /// A builder with the defaults of [`AggregatorBuilder`].
    pub fn builder<F: Fold<Event, Key = K, Item = Item>>(fold: F) -> AggregatorBuilder<F, Event> {
        AggregatorBuilder::new(fold)
    }

    pub(super) fn new(
        ingest: Arc<dyn Ingest<K, Event>>,
        control: Arc<dyn AggregatorControl>,
        waker: Arc<AtomicWaker>,
    ) -> Self {
        Self { ingest, shared: Arc::new(CloseOnDrop { control, waker }), item: PhantomData }
    }

    /// Adds an event. It blocks only for the lock, and a refused event is counted.
    ///
    /// On an aggregator that is switched off, it costs one relaxed load and one relaxed count.
    pub fn record(&self, event: Event) {
        // The refusal is in the ledger; it must not harm the host.
        drop(self.ingest.offer(event));
    }

    /// Adds an event, or returns it.
    ///
    /// # Errors
    /// Returns [`Refused`] if the aggregator is closed or switched off, if the event is larger than
    /// [`max_bytes`](AggregatorBuilder::max_bytes), or if the fold panicked on it.
    pub fn offer(&self, event: Event) -> Result<(), Refused<Event>> {
        self.ingest.offer(event)
    }

    /// Ends a key as [complete](super::End::Complete); `false` if it is not open.
    pub fn complete(&self, key: &K) -> bool {
        self.ingest.complete(key)
    }

    /// Ends all keys for which `wanted` returns `true`, oldest first, and returns their number.
    ///
    /// `wanted` is called under the lock and must not call the aggregator.
    pub fn complete_where(&self, mut wanted: impl FnMut(&K) -> bool) -> usize {
        self.ingest.complete_where(&mut wanted)
    }

    /// Ends all open keys as complete. The aggregator stays open.
    pub fn complete_all(&self) {
        self.shared.control.complete_all();
    }

    /// Admits no more events, and ends all keys as [closed](super::End::Closed). The first call returns `true`.
    ///
    /// All items have been passed to the sink when it returns.
    #[expect(clippy::must_use_candidate, reason = "most callers need not know")]
    pub fn close(&self) -> bool {
        self.shared.control.close()
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.control.is_closed()
    }

    /// Switches it on or off. Open keys stay, and still expire; later events are refused and counted.
    pub fn set_enabled(&self, enabled: bool) {
        self.shared.control.set_enabled(enabled);
    }

    /// Whether it is switched on.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.shared.control.is_enabled()
    }

    /// The fates of the events so far.
    ///
    /// The events of items that the sink accepted count as delivered; an exporter has a ledger of its own for the items.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.control.totals()
    }

    /// The number of open keys.
    #[must_use]
    pub fn open_keys(&self) -> usize {
        self.shared.control.open_keys()
    }

    /// The weight of the held events, in bytes.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.shared.control.held_bytes()
    }

    /// A future, to be spawned, that ends keys when they expire.
    pub fn ticker(&self) -> Ticker {
        Ticker::new(Arc::clone(&self.shared.control), Arc::clone(&self.shared.waker))
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
        Self { ingest: Arc::clone(&self.ingest), shared: Arc::clone(&self.shared), item: PhantomData }
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

// === impl CloseOnDrop ===

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.control.close();
    }
}
