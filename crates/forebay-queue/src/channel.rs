use crate::{
    ByteBudget, Drained, EmitOrWait, Limits, Offer, Overflow, QueueHandle, Rejected,
    drained::{DrainBuf, unsettled},
    shared::{Setup, Shared},
};
use forebay_core::{ByFootprint, ConfigError, Fate, Footprint, Weigh, panic};
use forebay_intake::{Describe, Description, IntakeOwner, Slot, Ticket};
use std::{
    fmt,
    future::poll_fn,
    ops::{Deref, DerefMut},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

/// A queue as a plain channel, with refusing as its overflow policy and without age limit.
///
/// There may be any number of [`Sender`]s and [`Receiver`]s; each item goes to one receiver. An item holds its slot until its
/// receiver [settles](Received::settle) it. An item weighs its [`Footprint`]; for items of another kind see
/// [`ChannelBuilder::weigh`].
///
/// # Errors
///
/// When a knob of `limits` is out of its range.
pub fn channel<T: Footprint>(limits: Limits) -> Result<(Sender<T>, Receiver<T>), ConfigError> {
    ChannelBuilder::new().limits(limits).build()
}

/// Builds a queue as a plain channel.
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`limits`](Self::limits) | 65,536 items, 64 MiB, soft limit 0.9 | see [`Limits`] |
/// | [`byte_budget`](Self::byte_budget) | none | any [`ByteBudget`] |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] | any |
/// | [`weigh`](Self::weigh) | [`ByFootprint`]: the size that the item states, in bytes | any [`Weigh`] |
/// | [`max_age`](Self::max_age) | none | any |
/// | [`fair_shares`](Self::fair_shares) | off | on, off |
#[derive(Clone, Debug)]
pub struct ChannelBuilder<W = ByFootprint> {
    setup: Setup,
    description: Description<W>,
}

/// The end of a queue where items enter.
///
/// The queue closes when the last sender is dropped; the items in it can still be received.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
    describe: Describe<T>,
}

/// The end of a queue where items leave.
///
/// When the last receiver is dropped, the items in the queue are dropped too, counted as
/// [`DropReason::Shutdown`](crate::DropReason::Shutdown), and no item is admitted any more.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    /// The place in the line of receivers, while this one waits.
    ticket: Option<Ticket>,
    /// Kept from one drain to the next, so that draining allocates nothing.
    buf: DrainBuf<T>,
}

/// An item that left the queue and still holds its slot.
///
/// # Cancellation
///
/// An item that is dropped without [`settle`](Self::settle) counts as [`DropReason::Panicked`](crate::DropReason::Panicked)
/// during a panic, else as [`DropReason::Failed`](crate::DropReason::Failed).
#[must_use = "an item that is not settled counts as failed"]
pub struct Received<T> {
    item: T,
    slot: SlotGuard<T>,
}

/// Holds the slot of a received item until its work is done; dropped without [`settle`](Self::settle), it counts as [`Received`]
/// does.
pub struct SlotGuard<T> {
    shared: Arc<Shared<T>>,
    /// `None` once it was settled.
    slot: Option<Slot>,
}

/// A receiver while it waits in [`Receiver::recv`].
struct Receiving<'a, T>(&'a mut Receiver<T>);

// === impl ChannelBuilder ===

impl ChannelBuilder {
    /// The defaults of the table above.
    #[must_use]
    pub fn new() -> Self {
        Self { setup: Setup::default(), description: Description::new() }
    }
}

impl Default for ChannelBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl<W> ChannelBuilder<W> {
    /// How many items and bytes the queue may hold, until they are settled.
    ///
    /// Default: 65,536 items, 64 MiB, and a soft limit of 0.9.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.setup.limits = limits;
        self
    }

    /// Bytes that the queue shares with others: each item needs room in there too, until it is settled.
    ///
    /// Default: none, so that the [limits](Self::limits) are the only ones.
    #[must_use]
    pub fn byte_budget(mut self, budget: &ByteBudget) -> Self {
        self.setup.byte_budget = Some(budget.clone());
        self
    }

    /// What happens to an item for which there is no room.
    ///
    /// Default: [`Overflow::Refuse`]. [`Sender::emit`] never waits: for it, [`Overflow::Wait`] is the same as [`Overflow::Refuse`].
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.setup.overflow = overflow;
        self
    }

    /// How many bytes an item is charged for, where its [offer](Offer::weight) does not say it.
    ///
    /// Default: the [footprint](Footprint) of the item.
    #[must_use]
    pub fn weigh<W2>(self, weigh: W2) -> ChannelBuilder<W2> {
        let Self { setup, description } = self;
        ChannelBuilder { setup, description: description.weigh(weigh) }
    }

    /// How long an item may wait; one that is older when its turn comes is dropped, and no receiver sees it.
    ///
    /// Default: none. Costs a clock read per item.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.setup.max_age = Some(age);
        self
    }

    /// Keeps [`Limits::fair_share`] by the [key](Offer::fair_share_key) of each offer.
    ///
    /// Default: off.
    #[must_use]
    pub fn fair_shares(mut self) -> Self {
        self.setup.fair_shares = true;
        self.description = self.description.keyed_by_offers();
        self
    }

    /// The two ends of the queue.
    ///
    /// # Errors
    ///
    /// When a knob of the limits is out of its range.
    pub fn build<T>(self) -> Result<(Sender<T>, Receiver<T>), ConfigError>
    where
        W: Weigh<T> + Send + Sync + 'static,
    {
        let Self { setup, description } = self;
        let shared = Arc::new(Shared::new(setup, ())?);
        Ok((Sender { shared: Arc::clone(&shared), describe: description.describe() }, Receiver::new(shared)))
    }
}

// === impl Sender ===

impl<T> Sender<T> {
    /// Hands an item over, without waiting and without allocating.
    ///
    /// Under [`Overflow::DropOldest`] the items that the new one evicts are dropped here.
    ///
    /// # Errors
    ///
    /// Hands the item back when there is no room for it, or the queue is closed.
    #[inline(always)]
    pub fn emit(&self, offer: impl Into<Offer<T>>) -> Result<(), Rejected<T>> {
        let offer = offer.into();
        match self.describe.known(&offer) {
            // No function looks at the item, so that it needs no address before it has its place.
            Some(meta) => self.shared.offer(offer.item, meta, |evicted| evicted.into_iter().for_each(panic::discard)),
            None => self.emit_described(offer),
        }
    }

    #[inline(never)]
    fn emit_described(&self, offer: Offer<T>) -> Result<(), Rejected<T>> {
        let meta = self.describe.meta(&offer);
        self.shared.offer(offer.item, meta, |evicted| evicted.into_iter().for_each(panic::discard))
    }

    /// As [`emit`](Self::emit), but waits in line while there is no room.
    ///
    /// # Errors
    ///
    /// Hands the item back when it is too large or above its fair share, or when the queue is closed.
    ///
    /// # Cancellation
    ///
    /// A future that is dropped while it waits drops its item, and the ledger counts no offer.
    pub fn emit_or_wait(&self, offer: impl Into<Offer<T>>) -> EmitOrWait<'_, T>
    where
        T: Send,
    {
        let offer = offer.into();
        let meta = self.describe.meta(&offer);
        EmitOrWait::new(&*self.shared, offer.item, meta)
    }

    /// A handle that reads and changes the queue, and does not keep it open.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<T>
    where
        T: Send + 'static,
    {
        QueueHandle::new(Arc::clone(&self.shared) as _).with_panics(self.describe.panics())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.add_sender();
        Self { shared: Arc::clone(&self.shared), describe: self.describe.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // CORRECTNESS: the last sender closes the queue, so receivers end once they have taken what is left.
        self.shared.remove_sender();
    }
}

// === impl Receiver ===

impl<T> Receiver<T> {
    fn new(shared: Arc<Shared<T>>) -> Self {
        Self { shared, ticket: None, buf: DrainBuf::default() }
    }

    /// The next item, high priority first; `None` once the queue is closed and empty.
    ///
    /// # Cancellation
    ///
    /// A dropped future takes no item off the queue, and gives up its place in the line of receivers.
    pub async fn recv(&mut self) -> Option<Received<T>> {
        let receiving = Receiving(self);
        poll_fn(|cx| receiving.0.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for a hand-written future.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Received<T>>> {
        self.shared
            .poll_next(cx.waker(), &mut self.ticket)
            .map(|next| next.map(|(item, slot)| self.received(item, slot)))
    }

    /// The next item, if there is one now.
    pub fn try_recv(&mut self) -> Option<Received<T>> {
        self.shared.try_next().map(|(item, slot)| self.received(item, slot))
    }

    /// Up to `most` of the items that are there now, taken at once; empty if there are none.
    ///
    /// It is the fastest way out of a queue: where `most` is not below the number of items, all of them are swapped out at once.
    #[inline]
    pub fn drain(&mut self, most: usize) -> Drained<'_, T> {
        self.buf.clear();
        self.shared.drain(most, &mut self.buf);
        Drained::new(&self.shared, &mut self.buf)
    }

    fn received(&self, item: T, slot: Slot) -> Received<T> {
        Received { item, slot: SlotGuard { shared: Arc::clone(&self.shared), slot: Some(slot) } }
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

/// CORRECTNESS: a receiver that stops may have been woken for an item that it does not fetch now; the next in line is woken in its
/// place, or it would sleep beside the item.
impl<T> Drop for Receiving<'_, T> {
    fn drop(&mut self) {
        self.0.stop_waiting();
    }
}

/// A clone competes for the same items.
impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.add_receiver();
        Self::new(Arc::clone(&self.shared))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // CANCEL: a receiver that was woken for an item passes the wake-up on to the next in line; otherwise the item would wait for a
        // further item to arrive.
        self.stop_waiting();
        // If this is the last receiver, the items that are left are counted as `Shutdown`.
        self.shared.remove_receiver();
    }
}

// === impl Received ===

impl<T> Received<T> {
    /// The work is done: the slot is free, and the item has `fate`.
    pub fn settle(self, fate: Fate) {
        self.slot.settle(fate);
    }

    /// The item by itself, and its slot, which must be settled.
    #[must_use]
    pub fn into_parts(self) -> (T, SlotGuard<T>) {
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

// === impl SlotGuard ===

impl<T> SlotGuard<T> {
    /// The work is done: the slot is free, and its item has `fate`.
    pub fn settle(mut self, fate: Fate) {
        if let Some(slot) = self.slot.take() {
            self.shared.settle(slot, fate);
        }
    }
}

impl<T> Drop for SlotGuard<T> {
    fn drop(&mut self) {
        // CANCEL: the holder was dropped or has panicked before it gave the item a fate: the slot is free, and the ledger has the loss.
        if let Some(slot) = self.slot.take() {
            self.shared.settle(slot, unsettled());
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

impl<T> fmt::Debug for SlotGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlotGuard").field("slot", &self.slot).finish_non_exhaustive()
    }
}
