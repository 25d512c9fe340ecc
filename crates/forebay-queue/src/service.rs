use crate::{
    EmitOrWait, Offer, Overflow, QueueHandle, Rejected, ResponseFuture,
    call::{Call, CallQueue},
    entry::Entry,
    future::NotAdmitted,
    replies::ReplyId,
};
use forebay_core::{BoxError, DropReason, Priority, panic};
use forebay_intake::{Describe, IntakeOwner, OfferMeta, Ticket, wake};
use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};
use tower_service::Service;

/// A bounded queue with a priority lane, in front of a service whose response is `Res`.
///
/// See the [crate documentation](crate) for when slots are taken and given back. The queue closes when the last clone
/// is dropped; the items in it are still processed.
pub struct Queue<T, Res> {
    shared: Arc<CallQueue<T, Res>>,
    describe: Describe<T>,
    overflow: Overflow,
    readiness: Readiness,
}

/// What the last `poll_ready` means for the next `call`.
#[derive(Debug)]
enum Readiness {
    /// It was not polled since the last call, or needs no readiness.
    Unknown,
    /// The service waits in line for room.
    Waits(Ticket),
    /// The service is ready, and stays so until the call.
    Ready,
}

// === impl Queue ===

impl<T, Res> Queue<T, Res> {
    pub(crate) fn new(shared: Arc<CallQueue<T, Res>>, describe: Describe<T>, overflow: Overflow) -> Self {
        Self { shared, describe, overflow, readiness: Readiness::Unknown }
    }

    /// Hands an item over, and asks for no reply. Never waits, whatever the overflow policy.
    ///
    /// # Errors
    ///
    /// Hands the item back when there is no room for it, or the queue is closed.
    #[inline]
    pub fn emit(&self, offer: impl Into<Offer<T>>) -> Result<(), Rejected<T>> {
        let offer = offer.into();
        let meta = self.describe.meta(&offer);
        let call = Call { request: offer.item, reply: None };
        self.shared.offer(call, meta, |calls| self.evict(calls)).map_err(|rejected| rejected.map(|call| call.request))
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
        T: Send + 'static,
        Res: Send,
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
        Res: Send + 'static,
    {
        QueueHandle::new(Arc::clone(&self.shared) as _).with_panics(self.describe.panics())
    }

    fn evict(&self, calls: Vec<Call<T>>) {
        calls.into_iter().for_each(|call| panic::discard(self.shared.dismiss(call, DropReason::Evicted)));
    }

    /// Offers an item, and opens a place for the reply, in one step.
    #[inline]
    fn offer_call(&self, request: T, meta: OfferMeta) -> Result<ReplyId, NotAdmitted<T, Res>>
    where
        T: Send + 'static,
    {
        // CORRECTNESS: the cell of the reply is open before a worker can take the item.
        let mut locked = self.shared.lock();
        let places = locked.replies.open().map(|id| (id, locked.state.admit_simply(meta)));
        let Some((id, Some(epoch))) = places else {
            let _vacated = places.map(|(unused, _)| locked.replies.cancel(unused));
            drop(locked);
            return self.offer_call_at_limit(request, meta);
        };
        let waker = locked.state.push(Call { request, reply: Some(id) }, meta, epoch);
        drop(locked);
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(id)
    }

    /// As [`offer_call`](Self::offer_call), where there may be no room.
    #[cold]
    fn offer_call_at_limit(&self, request: T, meta: OfferMeta) -> Result<ReplyId, NotAdmitted<T, Res>>
    where
        T: Send + 'static,
    {
        // The cell is opened first and the item is offered second, under two locks: a worker that takes the item finds its cell.
        let Some(id) = self.shared.lock().replies.open() else {
            self.shared.lock().state.intake.admission.refuse(DropReason::Full, 1);
            return Err(NotAdmitted::rejected(Rejected::new(request, DropReason::Full)));
        };
        let entry = Entry { item: Call { request, reply: Some(id) }, meta };
        if self.overflow == Overflow::Wait {
            return match self.shared.offer_unless_wait(entry) {
                Ok(()) => Ok(id),
                Err(entry) => Err(NotAdmitted::waits(&self.shared, entry, id)),
            };
        }
        match self.shared.offer_at_limit(entry, |calls| self.evict(calls)) {
            Ok(()) => Ok(id),
            Err(rejected) => {
                let _vacated = self.shared.lock().replies.cancel(id);
                Err(NotAdmitted::rejected(rejected.map(|call| call.request)))
            }
        }
    }

    #[inline]
    fn leave_line(&mut self) {
        if let Readiness::Waits(ticket) = mem::replace(&mut self.readiness, Readiness::Unknown) {
            self.shared.stop_waiting(ticket, Priority::High);
        }
    }
}

impl<T: Send + 'static, Res> Service<T> for Queue<T, Res> {
    type Response = Res;
    type Error = BoxError;
    type Future = ResponseFuture<T, Res>;

    /// Ready at once, since `call` refuses where there is no room; under [`Overflow::Wait`] when there is room. No slot is taken
    /// here.
    ///
    /// A closed queue is ready, so that no caller waits in vain: the call hands the item back.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if self.overflow == Overflow::Wait && !matches!(self.readiness, Readiness::Ready) {
            let mut ticket = match self.readiness {
                Readiness::Waits(ticket) => Some(ticket),
                Readiness::Unknown | Readiness::Ready => None,
            };
            // CORRECTNESS: registers in the line before `Pending`; an item that leaves the queue, or its end, wakes the task.
            let polled = self.shared.poll_room(cx, &mut ticket);
            self.readiness = ticket.map_or(Readiness::Ready, Readiness::Waits);
            return polled.map(Ok);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes the slot, or refuses: the future then ends with a [`Rejected`] that hands the item back.
    ///
    /// CANCEL: an item whose future is dropped before the inner service has begun it is not begun (see
    /// [`run_cancelled`](crate::QueueBuilder::run_cancelled)); one that was begun runs to its end.
    #[inline]
    fn call(&mut self, item: T) -> Self::Future {
        self.leave_line();
        let offer = Offer::new(item);
        let meta = self.describe.meta(&offer);
        match self.offer_call(offer.item, meta) {
            Ok(id) => ResponseFuture::accepted(Arc::clone(&self.shared), id),
            Err(not_admitted) => ResponseFuture::not_admitted(not_admitted),
        }
    }
}

/// A clone shares the queue, and never the readiness.
impl<T, Res> Clone for Queue<T, Res> {
    fn clone(&self) -> Self {
        self.shared.add_sender();
        Self::new(Arc::clone(&self.shared), self.describe.clone(), self.overflow)
    }
}

impl<T, Res> Drop for Queue<T, Res> {
    fn drop(&mut self) {
        // CANCEL: a handle that was promised room passes it on to the next in line before the last handle closes the queue.
        self.leave_line();
        self.shared.remove_sender();
    }
}

impl<T, Res> fmt::Debug for Queue<T, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("totals", &self.shared.totals())
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}
