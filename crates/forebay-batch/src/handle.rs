use crate::{Batching, shared::Shared};
use forebay_core::{ConfigError, DropReason, Fate, Totals};
use forebay_intake::{ClosurePanics, DrainReport, Flush, IntakeHandle, Limits};
use std::{fmt, sync::Arc, time::Duration};

/// Reads and changes a batcher from outside; there may be any number of them, and none keeps it open.
pub struct BatchHandle<T> {
    intake: IntakeHandle<T>,
    control: Arc<dyn Reconfigure>,
}

/// What only a batcher has.
trait Reconfigure: Send + Sync {
    fn batching(&self) -> Batching;
    fn set_batching(&self, batching: Batching) -> Result<(), ConfigError>;
    fn discard(&self, reason: DropReason);
    fn spool_rest(&self);
}

// === impl BatchHandle ===

impl<T: Send + Sync + 'static> BatchHandle<T> {
    pub(crate) fn new<A: Send + 'static>(shared: &Arc<Shared<T, A>>, panics: &ClosurePanics) -> Self {
        let intake = IntakeHandle::new(Arc::clone(shared) as _).with_panics(panics);
        Self { intake, control: Arc::clone(shared) as _ }
    }
}

impl<T> BatchHandle<T> {
    /// When batches close, and how many are in flight.
    #[must_use]
    pub fn batching(&self) -> Batching {
        self.control.batching()
    }

    /// Changes when batches close, and how many are in flight; nothing is lost. A batch that is open obeys at its next item, or
    /// when its delay ends.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range; nothing was changed then.
    pub fn set_batching(&self, batching: Batching) -> Result<(), ConfigError> {
        self.control.set_batching(batching)
    }

    /// Drops, for `reason`, all that is queued, waits for another attempt, or is in flight; the batcher goes on with what
    /// is handed over later.
    ///
    /// What is queued has its fate when this returns; the rest when the worker is polled next. The server may have seen a batch
    /// in flight already.
    pub fn discard(&self, reason: DropReason) {
        self.control.discard(reason);
    }

    /// Has the worker give all that is queued, waits for another attempt, or is in flight to the
    /// [spool](crate::BatchBuilder::spool), for lack of time, and so with all that is handed over later. Of no effect without
    /// a spool.
    ///
    /// The server may have seen a batch in flight, so that its items may arrive twice.
    pub fn spool_rest(&self) {
        self.control.spool_rest();
    }

    /// Items that were spooled have met their final fate. Returns how many of the `items` the ledger counted as spooled: no more
    /// than that are moved.
    #[must_use = "fewer than that may have been moved"]
    pub fn settle_spooled(&self, fate: Fate, items: u64) -> u64 {
        self.intake.settle_spooled(fate, items)
    }

    /// Sends what is here now, and waits for `wait` at most; whether every item had a fate by then.
    ///
    /// # Cancellation
    ///
    /// Dropping it leaves the batches to be sent all the same.
    pub async fn is_flushed_within(&self, wait: Duration) -> bool {
        self.intake.is_flushed_within(wait).await
    }

    /// What became of all items so far. The equation holds at every read.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.intake.totals()
    }

    /// How many items wait to be sent: those in open and in sealed batches, and none that the worker has.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.intake.queued()
    }

    /// Whether more items wait than go into one batch, so that the inner service does not keep up.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.queued() > self.control.batching().max_items
    }

    /// The bytes of all items that have no fate yet, as `Weigh` counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.intake.bytes()
    }

    /// How full the batcher is, from 0 to 1: by items or by bytes, whichever is more.
    #[must_use]
    pub fn fullness(&self) -> f64 {
        self.intake.fullness()
    }

    /// How many items it may hold.
    #[must_use]
    pub fn max_items(&self) -> u64 {
        self.intake.max_items()
    }

    /// How many bytes it may hold.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.intake.max_bytes()
    }

    /// How often a closure that looks at an item has panicked: a weight, a priority, a key, a `flush_when`. Its item got the
    /// default.
    #[must_use]
    pub fn closure_panics(&self) -> u64 {
        self.intake.closure_panics()
    }

    /// Changes how much may be held, without losing anything: what is above new limits stays.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range; nothing was changed then.
    pub fn set_limits(&self, limits: Limits) -> Result<(), ConfigError> {
        self.intake.set_limits(limits)
    }

    /// Changes how old a batch may get before it is dropped instead of sent; zero drops each that was not sent at once.
    ///
    /// # Errors
    ///
    /// None today.
    pub fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        self.intake.set_max_age(age)
    }

    /// Admits nothing from now on; what is here is sent.
    pub fn close(&self) {
        self.intake.close();
    }

    /// Sends what is here now; ends when every item that was accepted before has its fate.
    ///
    /// # Cancellation
    ///
    /// Dropping it leaves the batches to be sent all the same.
    pub fn flush(&self) -> Flush<T> {
        self.intake.flush()
    }

    /// Closes the batcher, and waits until everything is sent, at most for `deadline`; then gives up, and reports what was
    /// not sent.
    ///
    /// # Cancellation
    ///
    /// Dropped, the batcher stays closed, and goes on with what is in it.
    pub async fn drain(&self, deadline: Duration) -> DrainReport<T> {
        self.intake.drain(deadline).await
    }
}

impl<T> Clone for BatchHandle<T> {
    fn clone(&self) -> Self {
        Self { intake: self.intake.clone(), control: Arc::clone(&self.control) }
    }
}

impl<T> fmt::Debug for BatchHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchHandle").field("totals", &self.intake.totals()).finish_non_exhaustive()
    }
}

// === impl Reconfigure ===

impl<T: Send + Sync, A: Send> Reconfigure for Shared<T, A> {
    fn batching(&self) -> Batching {
        self.batching()
    }

    fn set_batching(&self, batching: Batching) -> Result<(), ConfigError> {
        self.set_batching(batching)
    }

    fn discard(&self, reason: DropReason) {
        self.discard(reason);
    }

    fn spool_rest(&self) {
        self.spool_rest();
    }
}
