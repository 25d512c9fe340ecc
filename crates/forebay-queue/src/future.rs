//! The future of a [`Queue`](crate::Queue).

use crate::{Abandoned, Offer, Rejected, Sender, wait::Ticket, worker::Job};
use forebay_core::{BoxError, Priority, Seen};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::sync::oneshot;

/// Where the answer to one item goes.
pub(crate) type Reply<Res> = oneshot::Sender<Result<Res, BoxError>>;

/// Where the answer to one item comes from.
pub(crate) type Answer<Res> = oneshot::Receiver<Result<Res, BoxError>>;

/// The answer to one item.
///
/// Dropping it does not take the item back: what was accepted is worked off, and has its fate in the ledger. Only an
/// item that still waits in line for room ([`Overflow::Wait`](crate::Overflow::Wait)) goes with it, never offered.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T, Res> {
    state: State<T, Res>,
}

enum State<T, Res> {
    Rejected(Option<Rejected<T>>),
    Waits { line: InLine<T, Res>, answer: Answer<Res> },
    Accepted(Answer<Res>),
}

/// An item that waits for room.
struct InLine<T, Res> {
    sender: Sender<Job<T, Res>>,
    offer: Option<Offer<Job<T, Res>>>,
    ticket: Option<Ticket>,
    priority: Priority,
}

// === impl ResponseFuture ===

impl<T, Res> ResponseFuture<T, Res> {
    pub(crate) fn accepted(answer: Answer<Res>) -> Self {
        Self { state: State::Accepted(answer) }
    }

    pub(crate) fn rejected(rejected: Rejected<T>) -> Self {
        Self { state: State::Rejected(Some(rejected)) }
    }

    pub(crate) fn waits(sender: Sender<Job<T, Res>>, offer: Offer<Job<T, Res>>, answer: Answer<Res>) -> Self {
        let priority = offer.priority;
        let line = InLine { sender, offer: Some(offer), ticket: None, priority };
        Self { state: State::Waits { line, answer } }
    }
}

impl<T: Send + 'static, Res> Future for ResponseFuture<T, Res> {
    type Output = Result<Res, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            this.state = match &mut this.state {
                State::Accepted(answer) => {
                    // A worker answers every item it takes; without an answer the queue ended with the item in it.
                    let answer = ready!(Pin::new(answer).poll(cx));
                    return Poll::Ready(answer.unwrap_or_else(|_gone| Err(Abandoned::new(Seen::Maybe).into())));
                }
                State::Waits { line, answer } => match ready!(line.poll(cx)) {
                    Ok(()) => {
                        // The sender of this half went with the offer; a closed one stands in for it here.
                        let closed = oneshot::channel().1;
                        State::Accepted(std::mem::replace(answer, closed))
                    }
                    Err(rejected) => State::Rejected(Some(rejected.map(|job| job.request))),
                },
                State::Rejected(rejected) => {
                    let error = rejected.take().map(Rejected::into_error);
                    return Poll::Ready(Err(error.unwrap_or_else(|| Abandoned::new(Seen::No).into())));
                }
            };
        }
    }
}

// Nothing in it is pinned: the item is only ever moved.
impl<T, Res> Unpin for ResponseFuture<T, Res> {}

impl<T, Res> fmt::Debug for ResponseFuture<T, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Rejected(_) => "rejected",
            State::Waits { .. } => "waits",
            State::Accepted(_) => "accepted",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}

// === impl InLine ===

impl<T, Res> InLine<T, Res> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<(), Rejected<Job<T, Res>>>> {
        self.sender.shared().poll_offer(cx, &mut self.offer, &mut self.ticket)
    }
}

impl<T, Res> Drop for InLine<T, Res> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.sender.shared().stop_waiting(ticket, self.priority);
        }
    }
}
