use crate::{
    Overflow, Rejected, ResponseFuture,
    call::{Call, CallQueue},
    entry::Entry,
    future::{IntoError, NotAdmitted},
    replies::ReplyId,
};
use forebay_core::{DropReason, Priority, panic};
use forebay_intake::{IntakeOwner, OfferMeta, Ticket, wake};
use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

/// A caller's end of a queue of calls: offers requests, and waits for room. It is one sender of the queue.
pub(crate) struct Caller<T, Res> {
    pub(crate) shared: Arc<CallQueue<T, Res>>,
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

// === impl Caller ===

impl<T, Res> Caller<T, Res> {
    /// Is one sender of the queue; its maker has counted it.
    pub(crate) fn new(shared: Arc<CallQueue<T, Res>>, overflow: Overflow) -> Self {
        Self { shared, overflow, readiness: Readiness::Unknown }
    }

    /// Offers an item for which no caller waits.
    #[inline]
    pub(crate) fn emit(&self, request: T, meta: OfferMeta) -> Result<(), Rejected<T>> {
        let call = Call { request, reply: None };
        self.shared.offer(call, meta, |calls| self.evict(calls)).map_err(|rejected| rejected.map(|call| call.request))
    }

    fn evict(&self, calls: Vec<Call<T>>) {
        calls.into_iter().for_each(|call| panic::discard(self.shared.dismiss(call, DropReason::Evicted)));
    }

    /// Ready at once, or where callers wait in line, when there is room.
    pub(crate) fn poll_ready(&mut self, cx: &Context<'_>) -> Poll<()> {
        if self.overflow == Overflow::Wait && !matches!(self.readiness, Readiness::Ready) {
            let mut ticket = match self.readiness {
                Readiness::Waits(ticket) => Some(ticket),
                Readiness::Unknown | Readiness::Ready => None,
            };
            // CORRECTNESS: registers in the line before `Pending`; an item that leaves the queue, or its end, wakes the task.
            let polled = self.shared.poll_room(cx, &mut ticket);
            self.readiness = ticket.map_or(Readiness::Ready, Readiness::Waits);
            return polled;
        }
        Poll::Ready(())
    }

    /// Offers a request; `into_error` makes the error of its caller where it is refused.
    #[inline]
    pub(crate) fn call(&mut self, request: T, meta: OfferMeta, into_error: IntoError<T>) -> ResponseFuture<T, Res> {
        self.leave_line();
        match self.offer(request, meta, into_error) {
            Ok(id) => ResponseFuture::accepted(Arc::clone(&self.shared), id),
            Err(not_admitted) => ResponseFuture::not_admitted(not_admitted),
        }
    }

    /// Offers a request, and opens a place for the reply, in one step.
    #[inline]
    fn offer(&self, request: T, meta: OfferMeta, into_error: IntoError<T>) -> Result<ReplyId, NotAdmitted<T, Res>> {
        // CORRECTNESS: the cell of the reply is open before a worker can take the item.
        let mut locked = self.shared.lock();
        let places = locked.replies.open().map(|id| (id, locked.state.admit_simply(meta)));
        let Some((id, Some(epoch))) = places else {
            let _vacated = places.map(|(unused, _)| locked.replies.cancel(unused));
            drop(locked);
            return self.offer_at_limit(request, meta, into_error);
        };
        let waker = locked.state.push(Call { request, reply: Some(id) }, meta, epoch);
        drop(locked);
        if let Some(waker) = waker {
            wake(waker);
        }
        Ok(id)
    }

    /// As [`offer`](Self::offer), where there may be no room.
    #[cold]
    fn offer_at_limit(
        &self,
        request: T,
        meta: OfferMeta,
        into_error: IntoError<T>,
    ) -> Result<ReplyId, NotAdmitted<T, Res>> {
        // The cell is opened first and the item is offered second, under two locks: a worker that takes the item finds its cell.
        let Some(id) = self.shared.lock().replies.open() else {
            self.shared.lock().state.intake.admission.refuse(DropReason::Full, 1);
            return Err(NotAdmitted::rejected(into_error(Rejected::new(request, DropReason::Full))));
        };
        let entry = Entry { item: Call { request, reply: Some(id) }, meta };
        if self.overflow == Overflow::Wait {
            return match self.shared.offer_unless_wait(entry) {
                Ok(()) => Ok(id),
                Err(entry) => Err(NotAdmitted::waits(&self.shared, entry, id, into_error)),
            };
        }
        match self.shared.offer_at_limit(entry, |calls| self.evict(calls)) {
            Ok(()) => Ok(id),
            Err(rejected) => {
                let _vacated = self.shared.lock().replies.cancel(id);
                Err(NotAdmitted::rejected(into_error(rejected.map(|call| call.request))))
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

/// A clone shares the queue, and never the readiness.
impl<T, Res> Clone for Caller<T, Res> {
    fn clone(&self) -> Self {
        self.shared.add_sender();
        Self::new(Arc::clone(&self.shared), self.overflow)
    }
}

impl<T, Res> Drop for Caller<T, Res> {
    fn drop(&mut self) {
        // CANCEL: a caller that was promised room passes it on to the next in line before the last one closes the queue.
        self.leave_line();
        self.shared.remove_sender();
    }
}

impl<T, Res> fmt::Debug for Caller<T, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("totals", &self.shared.totals())
            .field("readiness", &self.readiness)
            .finish_non_exhaustive()
    }
}
