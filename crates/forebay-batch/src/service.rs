use crate::{BatchHandle, EmitOrWait, ResponseFuture, batch_queue::Entry, router::Router, shared::Shared};
use forebay_core::{BoxError, Priority};
use forebay_intake::{IntakeOwner, Offer, Overflow, Rejected, Ticket};
use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// Gathers items into batches for an inner service, and replies to each caller with an `A`.
///
/// See the [crate documentation](crate) for when batches close and slots are given back. When the last clone is dropped,
/// what is left is sent.
pub struct Batch<T, A> {
    shared: Arc<Shared<T, A>>,
    router: Router<T>,
    overflow: Overflow,
    readiness: Readiness,
}

/// What the last `poll_ready` said to the next `call`.
#[derive(Debug)]
enum Readiness {
    /// Nothing yet.
    Unknown,
    /// It waits in line for room.
    Waits(Ticket),
    /// It is ready, which is not taken back.
    Ready,
}

// === impl Batch ===

impl<T, A> Batch<T, A> {
    pub(crate) fn new(shared: Arc<Shared<T, A>>, router: Router<T>, overflow: Overflow) -> Self {
        Self { shared, router, overflow, readiness: Readiness::Unknown }
    }

    /// Hands an item over, and asks for no reply: no wait, no allocation of its own, no clock.
    ///
    /// It never waits, whatever the overflow policy, and works on any thread, with or without a runtime. What the
    /// [offer](Offer) says of its weight and its lane is not asked again.
    ///
    /// # Errors
    ///
    /// Hands the item back when there is no room for it, or the batcher is closed.
    #[inline(always)]
    pub fn emit(&self, offer: impl Into<Offer<T>>) -> Result<(), Rejected<T>> {
        let offer = offer.into();
        match self.router.known(&offer) {
            // No function looks at the item, so that it needs no address before it has its place; a call would give it one.
            Some(route) => self.shared.offer(offer.item, route, false).map(drop),
            None => self.emit_routed(offer),
        }
    }

    #[inline(never)]
    fn emit_routed(&self, offer: Offer<T>) -> Result<(), Rejected<T>> {
        let route = self.router.route(&offer);
        self.shared.offer(offer.item, route, false).map(drop)
    }

    /// As [`emit`](Self::emit), but waits in line while there is no room.
    ///
    /// # Errors
    ///
    /// Hands the item back when it is too large, above its fair share, or the batcher is closed.
    ///
    /// # Cancellation
    ///
    /// If it is dropped while it waits, the item is dropped with it, and nothing was offered.
    #[inline]
    pub fn emit_or_wait(&self, offer: impl Into<Offer<T>>) -> EmitOrWait<'_, T, A> {
        EmitOrWait::new(&self.shared, &self.router, offer.into())
    }

    /// A handle that reads and changes the batcher, and does not keep it open.
    #[must_use]
    pub fn handle(&self) -> BatchHandle<T>
    where
        T: Send + Sync + 'static,
        A: Send + 'static,
    {
        BatchHandle::new(&self.shared, self.router.panics())
    }

    #[inline(never)]
    fn call_routed(&self, item: T) -> ResponseFuture<T, A> {
        let offer = Offer::new(item);
        let route = self.router.route(&offer);
        let item = offer.item;
        if self.overflow == Overflow::Wait {
            return match self.shared.offer_unless_wait(Entry { item, route, asks: true }) {
                Ok(place) => ResponseFuture::accepted(place),
                Err(entry) => ResponseFuture::waits(&self.shared, entry),
            };
        }
        match self.shared.offer(item, route, true) {
            Ok(place) => ResponseFuture::accepted(place),
            Err(rejected) => ResponseFuture::rejected(rejected),
        }
    }

    #[inline]
    fn leave_line(&mut self) {
        if let Readiness::Waits(ticket) = mem::replace(&mut self.readiness, Readiness::Unknown) {
            self.shared.stop_waiting(ticket, Priority::High);
        }
    }
}

impl<T: Send + 'static, A> Service<T> for Batch<T, A> {
    type Response = A;
    type Error = BoxError;
    type Future = ResponseFuture<T, A>;

    /// Ready at once, for `call` refuses; under [`Overflow::Wait`] when there is room. No slot is taken here.
    ///
    /// A closed batcher is ready, so that no caller waits for it in vain: the call hands the item back.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.overflow == Overflow::Wait && !matches!(self.readiness, Readiness::Ready) {
            let mut ticket = match self.readiness {
                Readiness::Waits(ticket) => Some(ticket),
                Readiness::Unknown | Readiness::Ready => None,
            };
            // CORRECTNESS: registers with the line before `Pending`; an item that leaves, and the end, wake it.
            let polled = self.shared.poll_room(cx, &mut ticket);
            self.readiness = ticket.map_or(Readiness::Ready, Readiness::Waits);
            return polled.map(Ok);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the slot, or refuses: the response is then an error, a [`Rejected`] that hands the item back.
    ///
    /// CANCEL: an item whose future is dropped before its batch is sent is dropped as cancelled, unless
    /// [`run_cancelled`](crate::BatchBuilder::run_cancelled) is set. What was sent meets its fate without the future.
    #[inline]
    fn call(&mut self, item: T) -> Self::Future {
        self.leave_line();
        let offer = Offer::new(item);
        match self.router.known(&offer) {
            Some(route) if self.overflow != Overflow::Wait => match self.shared.offer(offer.item, route, true) {
                Ok(place) => ResponseFuture::accepted(place),
                Err(rejected) => ResponseFuture::rejected(rejected),
            },
            _ => self.call_routed(offer.item),
        }
    }
}

/// A clone shares the batcher, never the readiness.
impl<T, A> Clone for Batch<T, A> {
    fn clone(&self) -> Self {
        self.shared.add_handle();
        Self::new(Arc::clone(&self.shared), self.router.clone(), self.overflow)
    }
}

impl<T, A> Drop for Batch<T, A> {
    fn drop(&mut self) {
        // CANCEL: room that was promised to this handle goes to the next in line before the last handle closes the batcher.
        self.leave_line();
        self.shared.remove_handle();
    }
}

impl<T, A> fmt::Debug for Batch<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("totals", &self.shared.totals())
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}
