use crate::{
    Drained, Limits, Offer, Overflow, QueueHandle, Rejected,
    drained::Burst,
    intake::Held,
    shared::{Setup, Shared},
    wait::Ticket,
};
use forebay_core::{ConfigError, DropReason, Fate, Priority, panic};
use std::{
    fmt,
    future::{Future, poll_fn},
    ops::{Deref, DerefMut},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A queue as a plain channel, with refusing as its overflow policy and without age limit.
///
/// Any number of [`Sender`]s and [`Receiver`]s; each item goes to one receiver. Its slot is taken until what was
/// received is [settled](Received::settle).
///
/// # Errors
///
/// When a knob of `limits` is out of its range.
pub fn channel<T>(limits: Limits) -> Result<(Sender<T>, Receiver<T>), ConfigError> {
    Channel::new().limits(limits).build()
}

/// Builds a queue as a plain channel.
///
/// | knob | default |
/// | --- | --- |
/// | [`limits`](Self::limits) | see [`Limits`] |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] |
/// | [`max_age`](Self::max_age) | none |
/// | [`fair_shares`](Self::fair_shares) | off |
#[derive(Clone, Copy, Debug, Default)]
pub struct Channel {
    setup: Setup,
}

/// The end of a queue where items enter.
///
/// The queue closes when the last sender is dropped; what is in it is worked off.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

/// The end of a queue where items leave.
///
/// When the last receiver is dropped, what is in the queue is dropped too, counted as [`DropReason::Shutdown`], and
/// nothing enters any more.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    ticket: Option<Ticket>,
    /// Kept from one burst to the next, so that draining allocates nothing.
    burst: Burst<T>,
}

/// An item that left the queue and still holds its slot.
///
/// Dropped without [`settle`](Self::settle), it counts as [`DropReason::Panicked`] during a panic, else as
/// [`DropReason::Failed`].
#[must_use = "an item that is not settled counts as failed"]
pub struct Received<T> {
    item: T,
    slot: Slot<T>,
}

/// The slot that an item holds until its work is done.
pub struct Slot<T> {
    shared: Arc<Shared<T>>,
    held: Option<Held>,
}

/// The future of [`Sender::send`]. Dropped while it waits, it takes the item with it, and nothing was offered.
#[must_use = "futures do nothing unless polled"]
pub struct Sending<'a, T> {
    shared: &'a Shared<T>,
    offer: Option<Offer<T>>,
    ticket: Option<Ticket>,
    priority: Priority,
}

/// A receiver while it waits in [`Receiver::recv`].
struct Receiving<'a, T>(&'a mut Receiver<T>);

// === impl Channel ===

impl Channel {
    /// The defaults of the table above.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How much the queue may hold.
    #[must_use]
    pub const fn limits(mut self, limits: Limits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// What happens to an item for which there is no room.
    ///
    /// [`Sender::try_send`] never waits: for it, [`Overflow::Wait`] is the same as [`Overflow::Refuse`].
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.setup.overflow = overflow;
        self
    }

    /// How long an item may wait before it is dropped, unseen, when its turn comes. Costs a clock read per item.
    #[must_use]
    pub const fn max_age(mut self, age: Duration) -> Self {
        self.setup.max_age = Some(age);
        self
    }

    /// Keeps [`Limits::fair_share`] by the [key](Offer::fair_share_key) of each offer.
    #[must_use]
    pub const fn fair_shares(mut self) -> Self {
        self.setup.fair_shares = true;
        self
    }

    /// The two ends.
    ///
    /// # Errors
    ///
    /// When a knob of the limits is out of its range.
    pub fn build<T>(self) -> Result<(Sender<T>, Receiver<T>), ConfigError> {
        let shared = Arc::new(Shared::new(self.setup, ())?);
        Ok((Sender { shared: Arc::clone(&shared) }, Receiver::new(shared)))
    }
}

// === impl Sender ===

impl<T> Sender<T> {
    /// Offers an item, without waiting and without allocating.
    ///
    /// Under [`Overflow::DropOldest`] the items it takes the place of are dropped here.
    ///
    /// # Errors
    ///
    /// Hands the item back when there is no room for it, or the queue is closed.
    #[inline]
    pub fn try_send(&self, offer: impl Into<Offer<T>>) -> Result<(), Rejected<T>> {
        self.shared.offer(offer.into(), |evicted| evicted.into_iter().for_each(panic::discard))
    }

    /// Offers an item, and waits in line while there is no room.
    ///
    /// # Errors
    ///
    /// Hands the item back when it is too large or above its fair share, or when the queue is closed.
    pub fn send(&self, offer: impl Into<Offer<T>>) -> Sending<'_, T> {
        let offer = offer.into();
        Sending { shared: &self.shared, priority: offer.priority, offer: Some(offer), ticket: None }
    }

    /// A handle that reads and changes the queue, and does not keep it open.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<T>
    where
        T: Send + 'static,
    {
        QueueHandle::new(Arc::clone(&self.shared) as _)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.add_sender();
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.remove_sender();
    }
}

// === impl Sending ===

impl<T> Future for Sending<'_, T> {
    type Output = Result<(), Rejected<T>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        this.shared.poll_offer(cx, &mut this.offer, &mut this.ticket)
    }
}

// Nothing in it is pinned: the item is only ever moved.
impl<T> Unpin for Sending<'_, T> {}

impl<T> Drop for Sending<'_, T> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.shared.stop_waiting(ticket, self.priority);
        }
    }
}

// === impl Receiver ===

impl<T> Receiver<T> {
    fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared, ticket: None, burst: Burst::default() }
    }

    /// The next item, high priority first; `None` once the queue is closed and empty.
    ///
    /// # Cancellation
    ///
    /// Dropping the future takes nothing off the queue, and leaves its place in the line of the receivers.
    pub async fn recv(&mut self) -> Option<Received<T>> {
        let receiving = Receiving(self);
        poll_fn(|cx| receiving.0.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for a hand-written future.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received<T>>> {
        // The items that outlived the age limit are counted, and dropped here, after the lock is gone.
        let mut expired = Vec::new();
        let next = self.shared.poll_next(cx.waker(), &mut self.ticket, &mut expired);
        next.map(|next| next.map(|(item, held)| self.received(item, held)))
    }

    /// The next item, if there is one now.
    pub fn try_recv(&mut self) -> Option<Received<T>> {
        let mut expired = Vec::new();
        self.shared.try_next(&mut expired).map(|(item, held)| self.received(item, held))
    }

    /// Up to `most` of the items that are there now, taken at once; empty if there are none.
    ///
    /// It is the fastest way out of a queue: where all that is there may be taken, it is swapped out at once.
    #[inline]
    pub fn drain(&mut self, most: usize) -> Drained<'_, T> {
        self.burst.clear();
        // The items that outlived the age limit are counted, and dropped here, after the lock is gone.
        drop(self.shared.drain(most, &mut self.burst));
        Drained::new(&self.shared, &mut self.burst)
    }

    fn received(&self, item: T, held: Held) -> Received<T> {
        Received { item, slot: Slot { shared: Arc::clone(&self.shared), held: Some(held) } }
    }

    fn stop_waiting(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.shared.stop_receiving(ticket);
        }
    }

    /// A handle that reads and changes the queue, and does not keep it open.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<T>
    where
        T: Send + 'static,
    {
        QueueHandle::new(Arc::clone(&self.shared) as _)
    }
}

/// A clone competes for the same items.
/// CORRECTNESS: whoever stops receiving may have been woken for an item that it does not fetch now; the next in line has
/// to hear of it, or it sleeps beside the item.
impl<T> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        self.0.stop_waiting();
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.add_receiver();
        Self::new(Arc::clone(&self.shared))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.stop_waiting();
        // What is left in the queue if this was the last receiver is counted as `Shutdown`.
        self.shared.remove_receiver();
    }
}

// === impl Received ===

impl<T> Received<T> {
    /// The work is done: the slot is free, and the item has met its fate.
    pub fn settle(self, fate: Fate) {
        self.slot.settle(fate);
    }

    /// The item by itself, and its slot, which must be settled.
    #[must_use]
    pub fn into_parts(self) -> (T, Slot<T>) {
        (self.item, self.slot)
    }
}

impl<T> Deref for Received<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T> DerefMut for Received<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

// === impl Slot ===

impl<T> Slot<T> {
    /// The work is done: the slot is free, and its item has met its fate.
    pub fn settle(mut self, fate: Fate) {
        if let Some(held) = self.held.take() {
            self.shared.settle(held, fate);
        }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let reason = if std::thread::panicking() { DropReason::Panicked } else { DropReason::Failed };
            self.shared.settle(held, Fate::Dropped(reason));
        }
    }
}

// === impl Debug ===

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("totals", &self.shared.totals()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("totals", &self.shared.totals()).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Received<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Received").field(&self.item).finish()
    }
}

impl<T> fmt::Debug for Slot<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("held", &self.held).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Sending<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("waiting", &self.ticket.is_some()).finish_non_exhaustive()
    }
}
