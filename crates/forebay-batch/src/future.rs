//! The futures of a [`Batch`](crate::Batch).

use crate::{
    callers::Replies,
    describe::{Label, Sorting},
    shared::Shared,
    state::{Entry, Place},
};
use forebay_core::{BoxError, Priority, Seen};
use forebay_intake::{Abandoned, Offer, Rejected, Ticket};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// The answer to one item.
///
/// Dropped before the batch of its item is sent, the item is dropped as [cancelled](forebay_core::DropReason::Cancelled), unless
/// [`run_cancelled`](crate::BatchBuilder::run_cancelled) says otherwise; dropped later, the item meets its fate all the same. An
/// item that still waits in line for room ([`Overflow::Wait`](forebay_intake::Overflow::Wait)) was never offered.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T, A> {
    state: State<T, A>,
}

/// The future of [`Batch::emit_or_wait`](crate::Batch::emit_or_wait).
#[must_use = "futures do nothing unless polled"]
pub struct EmitOrWait<'a, T, A> {
    shared: &'a Shared<T, A>,
    sorting: &'a Sorting<T>,
    /// Not offered yet. Until it has to wait it is alone here, so that it is moved once.
    offer: Option<Offer<T>>,
    line: Option<InLine<&'a Shared<T, A>, T, A>>,
}

enum State<T, A> {
    /// `None` once the error was handed out.
    Rejected(Option<Rejected<T>>),
    Waits(InLine<Open<T, A>, T, A>),
    Accepted(Expected<A>),
}

/// An answer that is to come; fetched, or forgotten on drop.
struct Expected<A> {
    place: Place<A>,
}

/// An item that waits for room.
struct InLine<S: AsRef<Shared<T, A>>, T, A> {
    shared: S,
    entry: Option<Entry<T>>,
    ticket: Option<Ticket>,
    priority: Priority,
    answer: std::marker::PhantomData<fn() -> A>,
}

/// Keeps the batcher open.
struct Open<T, A>(Arc<Shared<T, A>>);

// === impl ResponseFuture ===

impl<T, A> ResponseFuture<T, A> {
    pub(crate) fn accepted(place: Place<A>) -> Self {
        Self { state: State::Accepted(Expected { place }) }
    }

    pub(crate) fn rejected(rejected: Rejected<T>) -> Self {
        Self { state: State::Rejected(Some(rejected)) }
    }

    pub(crate) fn waits(shared: &Arc<Shared<T, A>>, entry: Entry<T>) -> Self {
        shared.add_handle();
        Self { state: State::Waits(InLine::new(Open(Arc::clone(shared)), entry)) }
    }
}

impl<T: Send + 'static, A> Future for ResponseFuture<T, A> {
    type Output = Result<A, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        loop {
            match &mut this.state {
                State::Accepted(expected) => return expected.poll(cx),
                State::Rejected(rejected) => {
                    let error = rejected.take().map(BoxError::from);
                    return Poll::Ready(Err(error.unwrap_or_else(|| Abandoned::new(Seen::No).into())));
                }
                State::Waits(line) => {
                    this.state = match ready!(line.poll(cx)) {
                        Ok(place) => State::Accepted(Expected { place }),
                        Err(rejected) => State::Rejected(Some(rejected)),
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
            State::Rejected(_) => "rejected",
            State::Waits(_) => "waits",
            State::Accepted(_) => "accepted",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}

// === impl Expected ===

impl<A> Expected<A> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<A, BoxError>> {
        let Some((replies, slot)) = &self.place else {
            debug_assert!(false, "polled after it was ready");
            return Poll::Pending;
        };
        let answer = ready!(replies.poll(*slot, cx.waker()));
        self.place = None;
        Poll::Ready(answer)
    }
}

impl<A> Drop for Expected<A> {
    fn drop(&mut self) {
        if let Some((replies, slot)) = self.place.take() {
            Replies::forget(&replies, slot);
        }
    }
}

// === impl EmitOrWait ===

impl<'a, T, A> EmitOrWait<'a, T, A> {
    #[inline]
    pub(crate) fn new(shared: &'a Shared<T, A>, sorting: &'a Sorting<T>, offer: Offer<T>) -> Self {
        Self { shared, sorting, offer: Some(offer), line: None }
    }

    #[inline(never)]
    fn poll_in_line(&mut self, cx: &Context<'_>, label: Option<Label>) -> Poll<Result<(), Rejected<T>>> {
        if let (Some(offer), Some(label)) = (self.offer.take(), label) {
            self.line = Some(InLine::new(self.shared, Entry { item: offer.item, label, asks: false }));
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
        let label = this.offer.as_ref().map(|offer| this.sorting.label(offer));
        if let Some(label) = label
            && this.shared.offer_simply(&mut this.offer, label)
        {
            return Poll::Ready(Ok(()));
        }
        this.poll_in_line(cx, label)
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

// === impl InLine ===

impl<S: AsRef<Shared<T, A>>, T, A> InLine<S, T, A> {
    fn new(shared: S, entry: Entry<T>) -> Self {
        let priority = entry.label.candidate.priority;
        Self { shared, entry: Some(entry), ticket: None, priority, answer: std::marker::PhantomData }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Place<A>, Rejected<T>>> {
        self.shared.as_ref().poll_offer(cx, &mut self.entry, &mut self.ticket)
    }
}

impl<S: AsRef<Shared<T, A>>, T, A> Drop for InLine<S, T, A> {
    fn drop(&mut self) {
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

// === impl Open ===

impl<T, A> AsRef<Shared<T, A>> for Open<T, A> {
    fn as_ref(&self) -> &Shared<T, A> {
        &self.0
    }
}

impl<T, A> Drop for Open<T, A> {
    fn drop(&mut self) {
        self.0.remove_handle();
    }
}
