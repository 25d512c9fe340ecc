//! The future of a [`Queue`](crate::Queue).

use crate::{
    Abandoned, Rejected,
    answers::Index,
    job::{Calls, Job},
    state::Entry,
};
use forebay_core::{BoxError, Priority, Seen};
use forebay_intake::{Registration, Ticket};
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

/// The answer to one item.
///
/// Dropping it cancels the item: one that the inner service has not begun is dropped as
/// [cancelled](forebay_core::DropReason::Cancelled) when its turn comes, unless the queue
/// [runs such items as well](crate::QueueBuilder::run_cancelled); until then it holds its slot. One that was begun runs to
/// its end. One that still waits in line for room ([`Overflow::Wait`](crate::Overflow::Wait)) was never offered.
#[must_use = "futures do nothing unless polled"]
pub struct ResponseFuture<T, Res> {
    state: State<T, Res>,
}

enum State<T, Res> {
    Accepted(Expected<T, Res>),
    Late(Late<T, Res>),
}

/// A call that did not get in at once.
///
/// Small, whatever the item is, as futures are moved about: only who has to wait for room has a box, with the item in it.
pub(crate) enum Late<T, Res> {
    /// `None` once the error was handed out.
    Rejected(Option<BoxError>),
    Waits(Box<InLine<T, Res>>),
}

/// An answer that is to come; fetched, or forgotten on drop.
struct Expected<T, Res> {
    shared: Arc<Calls<T, Res>>,
    place: Place,
}

/// Where an answer is to come.
#[derive(Clone, Copy)]
enum Place {
    /// No waker was left there.
    New(Index),
    /// A waker was left there.
    Registered(Index),
    /// It was fetched, or given back.
    Over,
}

/// An item that waits for room. It keeps the queue open.
pub(crate) struct InLine<T, Res> {
    expected: Expected<T, Res>,
    entry: Option<Entry<Job<T>>>,
    ticket: Option<Ticket>,
    priority: Priority,
}

// === impl ResponseFuture ===

impl<T, Res> ResponseFuture<T, Res> {
    #[inline]
    pub(crate) fn accepted(shared: Arc<Calls<T, Res>>, index: Index) -> Self {
        Self { state: State::Accepted(Expected { shared, place: Place::New(index) }) }
    }

    #[inline]
    pub(crate) fn late(late: Late<T, Res>) -> Self {
        Self { state: State::Late(late) }
    }
}

impl<T: Send + 'static, Res> Future for ResponseFuture<T, Res> {
    type Output = Result<Res, BoxError>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let State::Late(late) = &mut this.state {
            this.state = State::Accepted(ready!(late.poll(cx))?);
        }
        match &mut this.state {
            State::Accepted(expected) => expected.poll(cx),
            State::Late(_) => Poll::Pending,
        }
    }
}

// Nothing in it is pinned: the item is only ever moved.
impl<T, Res> Unpin for ResponseFuture<T, Res> {}

impl<T, Res> fmt::Debug for ResponseFuture<T, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::Accepted(_) => "accepted",
            State::Late(Late::Rejected(_)) => "rejected",
            State::Late(Late::Waits(_)) => "waits",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}

// === impl Late ===

impl<T: Send + 'static, Res> Late<T, Res> {
    pub(crate) fn rejected(rejected: Rejected<T>) -> Self {
        Self::Rejected(Some(rejected.into()))
    }

    /// Waits in line with an item that was not offered yet.
    pub(crate) fn waits(shared: &Arc<Calls<T, Res>>, entry: Entry<Job<T>>, index: Index) -> Self {
        shared.add_sender();
        let priority = entry.meta.priority;
        let expected = Expected { shared: Arc::clone(shared), place: Place::New(index) };
        Self::Waits(Box::new(InLine { expected, entry: Some(entry), ticket: None, priority }))
    }

    #[cold]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Expected<T, Res>, BoxError>> {
        match self {
            Self::Rejected(error) => Poll::Ready(Err(error.take().unwrap_or_else(|| Abandoned::new(Seen::No).into()))),
            Self::Waits(line) => line.poll(cx).map_err(BoxError::from),
        }
    }
}

// === impl Place ===

impl Place {
    fn take(&mut self) -> Option<Index> {
        match std::mem::replace(self, Self::Over) {
            Self::New(index) | Self::Registered(index) => Some(index),
            Self::Over => None,
        }
    }
}

// === impl Expected ===

impl<T, Res> Expected<T, Res> {
    #[inline]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Res, BoxError>> {
        // At first the answer is hardly ever there, and later the same task waits for it: the clone is made where it is needed.
        let (index, mut registration) = match self.place {
            Place::New(index) => (index, Registration::new(cx.waker())),
            Place::Registered(index) => (index, Registration::without_clone(cx.waker())),
            Place::Over => {
                debug_assert!(false, "polled after it was ready");
                return Poll::Pending;
            }
        };
        loop {
            // CORRECTNESS: the worker answers under the same lock, so it either sees this waker or the answer is here.
            let polled = self.shared.lock().aside.poll(index, &mut registration);
            if polled.is_pending() && registration.is_short() {
                registration.prepare();
                continue;
            }
            self.place = if polled.is_ready() { Place::Over } else { Place::Registered(index) };
            return polled;
        }
    }
}

impl<T, Res> Drop for Expected<T, Res> {
    fn drop(&mut self) {
        if let Some(index) = self.place.take() {
            // Bound to a name, so that it is dropped without the lock.
            let _unwanted = self.shared.lock().aside.forget(index);
        }
    }
}

// === impl InLine ===

impl<T, Res> InLine<T, Res> {
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Result<Expected<T, Res>, Rejected<T>>> {
        let shared = &self.expected.shared;
        let entered = ready!(shared.poll_offer(cx, &mut self.entry, &mut self.ticket));
        Poll::Ready(match entered {
            Ok(()) => {
                let place = std::mem::replace(&mut self.expected.place, Place::Over);
                Ok(Expected { shared: Arc::clone(shared), place })
            }
            Err(rejected) => {
                if let Some(index) = self.expected.place.take() {
                    let _unused = shared.lock().aside.cancel(index);
                }
                Err(rejected.map(|job| job.request))
            }
        })
    }
}

impl<T, Res> Drop for InLine<T, Res> {
    fn drop(&mut self) {
        let shared = &self.expected.shared;
        if let Some(ticket) = self.ticket {
            shared.stop_waiting(ticket, self.priority);
        }
        if let Some(index) = self.expected.place.take() {
            // It was never offered, so nobody will answer.
            let _unused = shared.lock().aside.cancel(index);
        }
        shared.remove_sender();
    }
}
