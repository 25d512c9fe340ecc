//! The futures of a [`Queue`](crate::Queue) and of a [`SharedQueue`](crate::SharedQueue).

use crate::{
    Abandoned, Rejected,
    call::{Call, CallQueue},
    entry::Entry,
    replies::ReplyId,
    routed::Routed,
};
use forebay_core::{BoxError, Priority, Seen};
use forebay_intake::{IntakeOwner, Registration, Ticket};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// The reply to one item.
///
/// # Cancellation
///
/// Dropping it cancels the item: one that the inner service has not begun is dropped as
/// [cancelled](forebay_core::DropReason::Cancelled) when its turn comes, unless the queue
/// [runs such items as well](crate::QueueBuilder::run_cancelled); until then it holds its slot. One that was begun runs to
/// its end. One that still waits in line for room ([`Overflow::Wait`](crate::Overflow::Wait)) was never offered.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T, Res> {
    state: CallState<T, Res>,
}

/// The reply to one request of a [`SharedQueue`](crate::SharedQueue).
///
/// # Cancellation
///
/// As that of a [`ResponseFuture`].
#[must_use = "futures do nothing unless polled"]
pub struct SharedResponseFuture<T, S>
where
    S: Service<T>,
{
    future: ResponseFuture<Routed<T, S>, S::Response>,
}

enum CallState<T, Res> {
    /// The item was admitted, and the caller waits for the reply.
    Accepted(PendingReply<T, Res>),
    /// The item was refused, or waits for room.
    NotAdmitted(NotAdmitted<T, Res>),
}

/// A call whose item was not admitted at once.
///
/// Its size does not depend on the item, since futures are moved: only an item that waits for room is in a box.
pub(crate) enum NotAdmitted<T, Res> {
    /// `None` once the error was returned.
    Rejected(Option<BoxError>),
    /// The item waits in line.
    Waits(Box<WaitingForRoom<T, Res>>),
}

/// Makes the error of a caller whose request was refused.
pub(crate) type IntoError<T> = fn(Rejected<T>) -> BoxError;

/// A reply that the caller waits for; it is fetched, or abandoned on drop.
struct PendingReply<T, Res> {
    shared: Arc<CallQueue<T, Res>>,
    place: Place,
}

/// Where the caller waits.
#[derive(Clone, Copy)]
enum Place {
    /// In a cell without a waker.
    New(ReplyId),
    /// In a cell with a waker.
    Registered(ReplyId),
    /// The reply was fetched, or its cell given back.
    Over,
}

/// An item that waits for room. It keeps the queue open.
pub(crate) struct WaitingForRoom<T, Res> {
    reply: PendingReply<T, Res>,
    /// `None` once the item was admitted or handed back.
    entry: Option<Entry<Call<T>>>,
    /// The place in line, while there is one.
    ticket: Option<Ticket>,
    /// The lane whose line the item waits in.
    priority: Priority,
    into_error: IntoError<T>,
}

// === impl ResponseFuture ===

impl<T, Res> ResponseFuture<T, Res> {
    #[inline]
    pub(crate) fn accepted(shared: Arc<CallQueue<T, Res>>, id: ReplyId) -> Self {
        Self { state: CallState::Accepted(PendingReply { shared, place: Place::New(id) }) }
    }

    #[inline]
    pub(crate) fn not_admitted(not_admitted: NotAdmitted<T, Res>) -> Self {
        Self { state: CallState::NotAdmitted(not_admitted) }
    }
}

impl<T, Res> Future for ResponseFuture<T, Res> {
    type Output = Result<Res, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                CallState::Accepted(reply) => return reply.poll(cx),
                // ## NotAdmitted => (NotAdmitted | Accepted | ended)
                CallState::NotAdmitted(waiting) => this.state = CallState::Accepted(ready!(waiting.poll(cx))?),
            }
        }
    }
}

// Nothing in it is pinned: the item is only ever moved.
impl<T, Res> Unpin for ResponseFuture<T, Res> {}

impl<T, Res> fmt::Debug for ResponseFuture<T, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            CallState::Accepted(_) => "accepted",
            CallState::NotAdmitted(NotAdmitted::Rejected(_)) => "rejected",
            CallState::NotAdmitted(NotAdmitted::Waits(_)) => "waits",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}

// === impl SharedResponseFuture ===

impl<T, S> SharedResponseFuture<T, S>
where
    S: Service<T>,
{
    pub(crate) fn new(future: ResponseFuture<Routed<T, S>, S::Response>) -> Self {
        Self { future }
    }
}

impl<T, S> Future for SharedResponseFuture<T, S>
where
    S: Service<T>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().future).poll(cx)
    }
}

// As that of a queue, which it is.
impl<T, S> Unpin for SharedResponseFuture<T, S> where S: Service<T> {}

impl<T, S> fmt::Debug for SharedResponseFuture<T, S>
where
    S: Service<T>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedResponseFuture").field(&self.future).finish()
    }
}

// === impl NotAdmitted ===

impl<T, Res> NotAdmitted<T, Res> {
    pub(crate) fn rejected(error: BoxError) -> Self {
        Self::Rejected(Some(error))
    }

    /// Waits in line with an item that was not offered yet.
    pub(crate) fn waits(
        shared: &Arc<CallQueue<T, Res>>,
        entry: Entry<Call<T>>,
        id: ReplyId,
        into_error: IntoError<T>,
    ) -> Self {
        shared.add_sender();
        let priority = entry.meta.priority;
        let reply = PendingReply { shared: Arc::clone(shared), place: Place::New(id) };
        Self::Waits(Box::new(WaitingForRoom { reply, entry: Some(entry), ticket: None, priority, into_error }))
    }

    #[cold]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<PendingReply<T, Res>, BoxError>> {
        match self {
            Self::Rejected(error) => Poll::Ready(Err(error.take().unwrap_or_else(|| Abandoned::new(Seen::No).into()))),
            Self::Waits(line) => line.poll(cx),
        }
    }
}

// === impl Place ===

impl Place {
    fn take(&mut self) -> Option<ReplyId> {
        match std::mem::replace(self, Self::Over) {
            Self::New(id) | Self::Registered(id) => Some(id),
            Self::Over => None,
        }
    }
}

// === impl PendingReply ===

impl<T, Res> PendingReply<T, Res> {
    #[inline]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Res, BoxError>> {
        // On the first poll the reply is hardly ever there, so a clone of the waker is needed; later the same task polls, and the
        // stored one does.
        let (id, mut registration) = match self.place {
            Place::New(id) => (id, Registration::new(cx.waker())),
            Place::Registered(id) => (id, Registration::without_clone(cx.waker())),
            // Polled after it was ready: no reply is left.
            Place::Over => return Poll::Ready(Err(Abandoned::new(Seen::Maybe).into())),
        };
        loop {
            // CORRECTNESS: the worker replies under the same lock, so it either sees this waker or the reply is here.
            let polled = self.shared.lock().replies.poll(id, &mut registration);
            if polled.is_pending() && registration.is_short() {
                registration.prepare();
                continue;
            }
            self.place = if polled.is_ready() { Place::Over } else { Place::Registered(id) };
            return polled;
        }
    }
}

impl<T, Res> Drop for PendingReply<T, Res> {
    fn drop(&mut self) {
        if let Some(id) = self.place.take() {
            // CANCEL: the worker skips the item, or drops its reply. CORRECTNESS: bound to a name, so that what was in the cell is
            // dropped without the lock.
            let _vacated = self.shared.lock().replies.abandon(id);
        }
    }
}

// === impl WaitingForRoom ===

impl<T, Res> WaitingForRoom<T, Res> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<PendingReply<T, Res>, BoxError>> {
        let shared = &self.reply.shared;
        Poll::Ready(match ready!(shared.poll_offer(cx, &mut self.entry, &mut self.ticket)) {
            Ok(()) => {
                let place = std::mem::replace(&mut self.reply.place, Place::Over);
                Ok(PendingReply { shared: Arc::clone(shared), place })
            }
            Err(rejected) => {
                // The queue has closed: no worker will ever reply into this cell.
                if let Some(id) = self.reply.place.take() {
                    let _vacated = shared.lock().replies.cancel(id);
                }
                Err((self.into_error)(rejected.map(|call| call.request)))
            }
        })
    }
}

impl<T, Res> Drop for WaitingForRoom<T, Res> {
    fn drop(&mut self) {
        // CANCEL: room that was promised to this sender goes to the next in line.
        let shared = &self.reply.shared;
        if let Some(ticket) = self.ticket {
            shared.stop_waiting(ticket, self.priority);
        }
        if let Some(id) = self.reply.place.take() {
            // CANCEL: the item was never offered, so no worker replies.
            let _vacated = shared.lock().replies.cancel(id);
        }
        shared.remove_sender();
    }
}
