//! The futures of a [`Batch`](crate::Batch).

use crate::{
    batch_queue::{Entry, ReplyPlace},
    router::{Route, Router},
    shared::Shared,
};
use forebay_core::{BoxError, Priority, Seen};
use forebay_intake::{Abandoned, IntakeOwner, Offer, Rejected, Ticket};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// The reply to one item.
///
/// # Cancellation
///
/// If it is dropped before the batch of its item is sent, the item is dropped as [cancelled](forebay_core::DropReason::Cancelled),
/// unless [`run_cancelled`](crate::BatchBuilder::run_cancelled) says otherwise; if it is dropped later, the item meets its fate all
/// the same. An item that still waits in line for room ([`Overflow::Wait`](forebay_intake::Overflow::Wait)) was never offered.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T, A> {
    state: CallState<T, A>,
}

/// The future of [`Batch::emit_or_wait`](crate::Batch::emit_or_wait).
///
/// # Cancellation
///
/// If it is dropped while it waits, the item is dropped with it, and nothing was offered.
#[must_use = "futures do nothing unless polled"]
pub struct EmitOrWait<'a, T, A> {
    shared: &'a Shared<T, A>,
    router: &'a Router<T>,
    /// What was not offered yet. Until it has to wait it is kept by itself, so that it is moved once.
    offer: Option<Offer<T>>,
    /// Where it waits, once it has to.
    line: Option<WaitingForRoom<&'a Shared<T, A>, T, A>>,
}

/// How far a call has come.
enum CallState<T, A> {
    /// `None` once the error was handed out.
    Rejected(Option<Rejected<T>>),
    /// The item waits for room.
    Waits(WaitingForRoom<KeepOpen<T, A>, T, A>),
    /// The item was admitted.
    Accepted(PendingReply<A>),
}

/// A reply that is not there yet; it is fetched, or forgotten on drop.
struct PendingReply<A> {
    /// `None` once it was fetched.
    place: ReplyPlace<A>,
}

/// An item that waits for room.
struct WaitingForRoom<S: AsRef<Shared<T, A>>, T, A> {
    shared: S,
    /// `None` once it was admitted or handed back.
    entry: Option<Entry<T>>,
    /// The place in line, while there is one.
    ticket: Option<Ticket>,
    /// The lane that the item waits for.
    priority: Priority,
    reply: std::marker::PhantomData<fn() -> A>,
}

/// Keeps the batcher open.
struct KeepOpen<T, A>(Arc<Shared<T, A>>);

// === impl ResponseFuture ===

impl<T, A> ResponseFuture<T, A> {
    pub(crate) fn accepted(place: ReplyPlace<A>) -> Self {
        Self { state: CallState::Accepted(PendingReply { place }) }
    }

    pub(crate) fn rejected(rejected: Rejected<T>) -> Self {
        Self { state: CallState::Rejected(Some(rejected)) }
    }

    pub(crate) fn waits(shared: &Arc<Shared<T, A>>, entry: Entry<T>) -> Self {
        shared.add_handle();
        Self { state: CallState::Waits(WaitingForRoom::new(KeepOpen(Arc::clone(shared)), entry)) }
    }
}

impl<T: Send + 'static, A> Future for ResponseFuture<T, A> {
    type Output = Result<A, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                CallState::Accepted(reply) => return reply.poll(cx),
                CallState::Rejected(rejected) => {
                    let error = rejected.take().map(BoxError::from);
                    return Poll::Ready(Err(error.unwrap_or_else(|| Abandoned::new(Seen::No).into())));
                }
                CallState::Waits(line) => {
                    this.state = match ready!(line.poll(cx)) {
                        Ok(place) => CallState::Accepted(PendingReply { place }),
                        Err(rejected) => CallState::Rejected(Some(rejected)),
                    };
                }
            }
        }
    }
}

// Nothing in it is pinned: the item is only ever moved.
impl<T, A> Unpin for ResponseFuture<T, A> {}

impl<T, A> fmt::Debug for ResponseFuture<T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            CallState::Rejected(_) => "rejected",
            CallState::Waits(_) => "waits",
            CallState::Accepted(_) => "accepted",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}

// === impl PendingReply ===

impl<A> PendingReply<A> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<A, BoxError>> {
        let Some((replies, cell)) = &self.place else {
            debug_assert!(false, "polled after it was ready");
            return Poll::Pending;
        };
        let reply = ready!(replies.poll(*cell, cx.waker()));
        self.place = None;
        Poll::Ready(reply)
    }
}

impl<A> Drop for PendingReply<A> {
    fn drop(&mut self) {
        // CANCEL: the item is not sent if no request holds it yet; otherwise its reply is dropped when it arrives.
        if let Some((replies, cell)) = self.place.take() {
            replies.forget(cell);
        }
    }
}

// === impl EmitOrWait ===

impl<'a, T, A> EmitOrWait<'a, T, A> {
    #[inline]
    pub(crate) fn new(shared: &'a Shared<T, A>, router: &'a Router<T>, offer: Offer<T>) -> Self {
        Self { shared, router, offer: Some(offer), line: None }
    }

    #[inline(never)]
    fn poll_in_line(&mut self, cx: &Context<'_>, route: Option<Route>) -> Poll<Result<(), Rejected<T>>> {
        if let (Some(offer), Some(route)) = (self.offer.take(), route) {
            self.line = Some(WaitingForRoom::new(self.shared, Entry { item: offer.item, route, asks: false }));
        }
        let Some(line) = &mut self.line else {
            debug_assert!(false, "polled after it was ready");
            return Poll::Pending;
        };
        line.poll(cx).map_ok(drop)
    }
}

impl<T, A> Future for EmitOrWait<'_, T, A> {
    type Output = Result<(), Rejected<T>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let route = this.offer.as_ref().map(|offer| this.router.route(offer));
        if let Some(route) = route
            && this.shared.offer_simply(&mut this.offer, route)
        {
            return Poll::Ready(Ok(()));
        }
        this.poll_in_line(cx, route)
    }
}

// Nothing in it is pinned: the item is only ever moved.
impl<T, A> Unpin for EmitOrWait<'_, T, A> {}

impl<T, A> fmt::Debug for EmitOrWait<'_, T, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = self.line.as_ref().is_some_and(|line| line.ticket.is_some());
        f.debug_struct("EmitOrWait").field("waits", &waits).finish_non_exhaustive()
    }
}

// === impl WaitingForRoom ===

impl<S: AsRef<Shared<T, A>>, T, A> WaitingForRoom<S, T, A> {
    fn new(shared: S, entry: Entry<T>) -> Self {
        let priority = entry.route.meta.priority;
        Self { shared, entry: Some(entry), ticket: None, priority, reply: std::marker::PhantomData }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<ReplyPlace<A>, Rejected<T>>> {
        self.shared.as_ref().poll_offer(cx, &mut self.entry, &mut self.ticket)
    }
}

impl<S: AsRef<Shared<T, A>>, T, A> Drop for WaitingForRoom<S, T, A> {
    fn drop(&mut self) {
        // CANCEL: room that was promised to this sender goes to the next in line.
        if let Some(ticket) = self.ticket {
            self.shared.as_ref().stop_waiting(ticket, self.priority);
        }
    }
}

impl<T, A> AsRef<Self> for Shared<T, A> {
    fn as_ref(&self) -> &Self {
        self
    }
}

// === impl KeepOpen ===

impl<T, A> AsRef<Shared<T, A>> for KeepOpen<T, A> {
    fn as_ref(&self) -> &Shared<T, A> {
        &self.0
    }
}

impl<T, A> Drop for KeepOpen<T, A> {
    fn drop(&mut self) {
        // A caller in line counts as a handle: the batcher does not close before its item is in.
        self.0.remove_handle();
    }
}
