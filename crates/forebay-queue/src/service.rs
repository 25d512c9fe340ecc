use crate::{Describe, Offer, Overflow, QueueHandle, Rejected, ResponseFuture, Sender, wait::Ticket, worker::Job};
use forebay_core::{BoxError, DropReason};
use std::{
    fmt,
    task::{Context, Poll},
};
use tokio::sync::oneshot;
use tower_service::Service;

/// A bounded queue with a priority lane in front of a service that answers with `Res`.
///
/// See the [crate documentation](crate) for when slots are taken and given back.
pub struct Queue<T, Res> {
    sender: Sender<Job<T, Res>>,
    describe: Describe<T>,
    overflow: Overflow,
    readiness: Readiness,
}

/// What the last `poll_ready` said to the next `call`.
#[derive(Debug)]
enum Readiness {
    Unknown,
    /// In line for room.
    Waits(Ticket),
    /// Said once, and not taken back.
    Ready,
}

// === impl Queue ===

impl<T, Res> Queue<T, Res> {
    pub(crate) fn new(sender: Sender<Job<T, Res>>, describe: Describe<T>, overflow: Overflow) -> Self {
        Self { sender, describe, overflow, readiness: Readiness::Unknown }
    }

    /// Offers an item and takes no answer. Never waits, whatever the overflow policy.
    ///
    /// # Errors
    ///
    /// Hands the item back when there is no room for it, or the queue is closed.
    pub fn offer(&self, item: T) -> Result<(), Rejected<T>> {
        self.offer_as(self.describe.offer(item))
    }

    /// As [`offer`](Self::offer), for an item whose weight, lane and key the caller says itself.
    ///
    /// # Errors
    ///
    /// Hands the item back when there is no room for it, or the queue is closed.
    pub fn offer_as(&self, offer: Offer<T>) -> Result<(), Rejected<T>> {
        let offer = offer.map(|request| Job { request, reply: None });
        let offered = self.sender.offer(offer, |evicted| evicted.discard(DropReason::Evicted));
        offered.map_err(|rejected| rejected.map(|job| job.request))
    }

    /// A handle that reads and changes the queue, and does not keep it open.
    #[must_use]
    pub fn handle(&self) -> QueueHandle<Job<T, Res>> {
        self.sender.handle()
    }

    fn leave_line(&mut self) {
        if let Readiness::Waits(ticket) = std::mem::replace(&mut self.readiness, Readiness::Unknown) {
            self.sender.shared().stop_waiting(ticket, forebay_core::Priority::High);
        }
    }
}

impl<T: Send + 'static, Res> Service<T> for Queue<T, Res> {
    type Response = Res;
    type Error = BoxError;
    type Future = ResponseFuture<T, Res>;

    /// Ready at once, for `call` refuses; under [`Overflow::Wait`] when there is room. No slot is taken here.
    ///
    /// A closed queue is ready, so that nobody waits for it in vain: the call hands the item back.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.overflow == Overflow::Wait && !matches!(self.readiness, Readiness::Ready) {
            let mut ticket = match self.readiness {
                Readiness::Waits(ticket) => Some(ticket),
                Readiness::Unknown | Readiness::Ready => None,
            };
            // CORRECTNESS: registers with the line before `Pending`; whoever leaves the queue, or closes it, wakes it.
            let polled = self.sender.shared().poll_room(cx, &mut ticket);
            self.readiness = ticket.map_or(Readiness::Ready, Readiness::Waits);
            return polled.map(Ok);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the slot, or refuses: the answer is an error that [hands the item back](Rejected::downcast).
    ///
    /// CANCEL: the future only waits for the answer. What was accepted is worked off without it.
    fn call(&mut self, item: T) -> Self::Future {
        self.leave_line();
        let (reply, answer) = oneshot::channel();
        let offer = self.describe.offer(item).map(|request| Job { request, reply: Some(reply) });
        if self.overflow == Overflow::Wait {
            return match self.sender.shared().offer_unless_wait(offer) {
                Ok(()) => ResponseFuture::accepted(answer),
                Err(offer) => ResponseFuture::waits(self.sender.clone(), offer, answer),
            };
        }
        match self.sender.offer(offer, |evicted| evicted.discard(DropReason::Evicted)) {
            Ok(()) => ResponseFuture::accepted(answer),
            Err(rejected) => ResponseFuture::rejected(rejected.map(|job| job.request)),
        }
    }
}

/// A clone shares the queue, never the readiness.
impl<T, Res> Clone for Queue<T, Res> {
    fn clone(&self) -> Self {
        Self::new(self.sender.clone(), self.describe.clone(), self.overflow)
    }
}

impl<T, Res> Drop for Queue<T, Res> {
    fn drop(&mut self) {
        self.leave_line();
    }
}

impl<T, Res> fmt::Debug for Queue<T, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("sender", &self.sender)
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}
