use crate::{
    Control, Limits,
    admission::Epoch,
    clock::{self, Timer},
    describe::ClosurePanics,
    trace,
    wait::Ticket,
};
use forebay_core::{ConfigError, Fate, Totals};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// Reads and changes a queue from outside. There may be any number of handles, and none keeps the queue open.
pub struct IntakeHandle<T> {
    control: Arc<dyn Control<T>>,
    /// The panics of the closures that describe an item.
    panics: ClosurePanics,
}

/// What [`IntakeHandle::drain`] left behind.
#[derive(Debug)]
#[non_exhaustive]
pub struct DrainReport<T> {
    /// The ledger when the drain ended.
    pub totals: Totals,
    /// The items that were not processed, as far as they could be recovered; they count as dropped by shutdown.
    pub unsent: Vec<T>,
}

/// The future of [`IntakeHandle::flush`].
///
/// # Cancellation
///
/// A dropped flush changes nothing.
#[must_use = "futures do nothing unless polled"]
pub struct Flush<T> {
    control: Arc<dyn Control<T>>,
    /// The flush is over when this epoch, and all before it, are settled.
    epoch: Epoch,
    /// The place among the flushes that wait, once this one waits.
    ticket: Option<Ticket>,
}

/// How long a drain waits, after its deadline, for work in flight to be let go.
const LET_GO: Duration = Duration::from_millis(20);

// === impl IntakeHandle ===

impl<T> IntakeHandle<T> {
    /// A handle to an intake.
    #[must_use]
    pub fn new(control: Arc<dyn Control<T>>) -> Self {
        Self { control, panics: ClosurePanics::default() }
    }

    /// The same handle, which reads the count of `panics`.
    #[must_use]
    pub fn with_panics(mut self, panics: &ClosurePanics) -> Self {
        self.panics = panics.clone();
        self
    }

    /// How often a closure that describes an item (its weight, priority or key) has panicked so far.
    ///
    /// Such an item is not lost: it weighs its own `size_of`, has normal priority, or has no key.
    #[must_use]
    pub fn closure_panics(&self) -> u64 {
        self.panics.get()
    }

    /// What became of every item so far; the counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.control.totals()
    }

    /// The items that wait, without those in flight.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.control.queued()
    }

    /// The bytes that are held, queued and in flight.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.control.bytes()
    }

    /// How full the queue is: the larger of the shares of items and of bytes, in flight included; 1.0 is full.
    #[must_use]
    pub fn fullness(&self) -> f64 {
        self.control.fullness()
    }

    /// The most items that may be held, queued and in flight.
    #[must_use]
    pub fn max_items(&self) -> u64 {
        self.control.max_items()
    }

    /// The most bytes that may be held, queued and in flight.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.control.max_bytes()
    }

    /// Changes the limits. No item is lost; above lower limits no item is admitted until enough have left.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range; the limits are unchanged then.
    pub fn set_limits(&self, limits: Limits) -> Result<(), ConfigError> {
        self.control.set_limits(&limits)
    }

    /// Changes the age limit, also for items that are queued already.
    ///
    /// # Errors
    ///
    /// When the queue was built without an age limit, since it does not note when its items are offered then.
    pub fn set_max_age(&self, age: Duration) -> Result<(), ConfigError> {
        self.control.set_max_age(age)
    }

    /// From now on every offer is refused. The items that are queued are processed.
    pub fn close(&self) {
        self.control.close();
    }

    /// Waits until every item that was admitted before this call has a fate.
    pub fn flush(&self) -> Flush<T> {
        Flush { control: Arc::clone(&self.control), epoch: self.control.flush(), ticket: None }
    }

    /// Closes the queue and waits until every item has a fate, for `deadline` at most.
    ///
    /// The items that are still queued then are returned, and count as dropped by shutdown. So does the item that a worker of a
    /// `Queue` has in hand: one that waits for the inner service to be ready is returned, and one that the inner service works
    /// on is let go, and returned if a clone was kept for another attempt (`QueueBuilder::park_backoff`). In a plain channel a
    /// received item stays pending until its receiver settles it. A drain returns no later than 20 ms after the deadline.
    ///
    /// # Cancellation
    ///
    /// A dropped drain leaves the queue closed; the items in it are still processed.
    pub async fn drain(&self, deadline: Duration) -> DrainReport<T> {
        self.close();
        let mut unsent = Vec::new();
        if !self.is_flushed_within(deadline).await {
            unsent = self.control.abandon();
            // Whether or not the work is let go in time, the totals say what is still pending.
            let _in_time = self.is_flushed_within(LET_GO).await;
        }
        // Also where all was settled in time, since a worker that was dropped meanwhile has let its items go.
        let mut totals = self.totals();
        loop {
            unsent.extend(self.control.recovered());
            let after = self.totals();
            // CORRECTNESS: an item that was let go between the two looks counts as dropped, and has to be in the report. No item
            // is admitted any more, so this ends with the last one.
            if after == totals {
                break;
            }
            totals = after;
        }
        trace::drained(&totals, unsent.len());
        DrainReport { totals, unsent }
    }

    /// Items that were spooled have met their final fate. Returns how many of the `items` the ledger counted as spooled: no more
    /// than that are moved.
    #[must_use = "fewer than that may have been moved"]
    pub fn settle_spooled(&self, fate: Fate, items: u64) -> u64 {
        self.control.settle_spooled(fate, items)
    }

    /// As [`flush`](Self::flush), for `wait` at most; whether every item had a fate by then.
    pub async fn is_flushed_within(&self, wait: Duration) -> bool {
        let (mut flush, mut timer) = (self.flush(), Timer::default());
        // A wait beyond the clock's range has no end.
        let due = clock::now().checked_add(wait);
        poll_fn(|cx| match Pin::new(&mut flush).poll(cx) {
            Poll::Ready(()) => Poll::Ready(true),
            Poll::Pending => timer.poll(due, cx).map(|()| false),
        })
        .await
    }
}

impl<T> Clone for IntakeHandle<T> {
    fn clone(&self) -> Self {
        Self { control: Arc::clone(&self.control), panics: self.panics.clone() }
    }
}

impl<T> fmt::Debug for IntakeHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntakeHandle").field("totals", &self.totals()).finish_non_exhaustive()
    }
}

// === impl Flush ===

impl<T> Future for Flush<T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if this.control.is_flushed(this.epoch, &mut this.ticket, cx.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<T> Drop for Flush<T> {
    fn drop(&mut self) {
        // CANCEL: the flush goes on without this future; only its place among those that wait is given back.
        if let Some(ticket) = self.ticket {
            self.control.stop_flushing(ticket);
        }
    }
}

impl<T> fmt::Debug for Flush<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flush").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}
