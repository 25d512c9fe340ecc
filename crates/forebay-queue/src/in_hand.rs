use crate::{
    Abandoned, Panicked,
    answers::{Answer, Answers, Index},
    job::Job,
    parked::{Attempt, Delays},
    shared::Locked,
    trace,
};
use forebay_core::{BoxError, DropReason, Fate, Seen, panic};
use forebay_intake::{Held, WakerSet};
use std::task::Waker;

/// The request of an item that a worker has taken off the queue.
pub(crate) enum InHand<T> {
    /// The inner service has not got it.
    Unsent(T),
    /// The inner service has got it. A copy is kept where the queue parks.
    Sent(Option<T>),
}

/// What a worker knows of the item in hand, beside its request.
pub(crate) struct Item {
    /// Held until the item has its fate, or is parked with it.
    pub(crate) held: Held,
    /// Where the caller waits; `None` if the item was offered without a call.
    pub(crate) answer: Option<Index>,
    /// The waits that are left to an item that was parked before; `None` on a first attempt.
    pub(crate) delays: Option<Delays>,
}

/// An item that has its fate, before the ledger and its caller know.
///
/// One lock serves its end and the start of the next item, so a worker carries it there.
pub(crate) struct Done<T, Res> {
    held: Held,
    fate: Fate,
    answer: Option<Index>,
    result: Answer<Res>,
    /// A request that was let go, for a drain to return.
    unsent: Option<T>,
    /// How an attempt after the first has ended; `None` if there was none.
    attempt: Option<Attempt>,
}

// === impl InHand ===

impl<T> InHand<T> {
    /// Whether the inner service may have seen the request.
    fn seen(&self) -> Seen {
        match self {
            Self::Unsent(_) => Seen::No,
            Self::Sent(_) => Seen::Maybe,
        }
    }

    /// The request, as far as it can be sent again.
    #[inline]
    pub(crate) fn into_request(self) -> Option<T> {
        match self {
            Self::Unsent(request) => Some(request),
            Self::Sent(copy) => copy,
        }
    }
}

// === impl Item ===

impl Item {
    /// Leaves an item that must not be used any more.
    #[inline]
    pub(crate) fn take(&mut self) -> Self {
        Self { delays: self.delays.take(), ..*self }
    }
}

// === impl Done ===

impl<T, Res> Done<T, Res> {
    /// The result is final.
    #[inline]
    pub(crate) fn with_result(
        fate: Fate,
        attempt: Attempt,
        result: Answer<Res>,
        request: Option<T>,
        item: Item,
    ) -> Self {
        if let Some(request) = request {
            panic::discard(request);
        }
        Self::new(fate, result, item, attempt)
    }

    /// There is no result: the inner service has panicked, was let go, or was not asked.
    #[cold]
    pub(crate) fn without_result(reason: DropReason, request: InHand<T>, item: Item) -> Self {
        let error: BoxError = match reason {
            DropReason::Panicked => {
                trace::panicked();
                Panicked::new().into()
            }
            _ => Abandoned::new(request.seen()).into(),
        };
        let attempt = if reason == DropReason::Cancelled { Attempt::Withdrawn } else { Attempt::Failed };
        let mut done = Self::new(Fate::Dropped(reason), Err(error), item, attempt);
        let request = request.into_request();
        if reason == DropReason::Shutdown {
            done.unsent = request;
        } else {
            panic::discard(request);
        }
        done
    }

    /// Another attempt was due, but the queue was abandoned.
    pub(crate) fn let_go(job: Job<T>, held: Held, result: Answer<Res>) -> Self {
        let Job { request, answer } = job;
        Self { held, fate: Fate::Dropped(DropReason::Shutdown), answer, result, unsent: Some(request), attempt: None }
    }

    #[inline]
    fn new(fate: Fate, result: Answer<Res>, item: Item, attempt: Attempt) -> Self {
        let Item { held, answer, delays } = item;
        let attempt = delays.is_some().then_some(attempt);
        if let Some(delays) = delays {
            panic::discard(delays);
        }
        Self { held, fate, answer, result, unsent: None, attempt }
    }
}

// === impl Locked ===

impl<T, Res> Locked<Job<T>, Answers<Res>> {
    /// Counts the fate of an item and answers its caller: who is to be woken for it, or the answer that no caller wants, both
    /// for the time after the lock.
    #[inline]
    pub(crate) fn finish(&mut self, done: Done<T, Res>, wakes: &mut WakerSet) -> Result<Option<Waker>, Answer<Res>> {
        let Done { held, fate, answer, result, unsent, attempt } = done;
        self.state.settle(held, fate, wakes);
        if let Some(request) = unsent {
            // CORRECTNESS: in one step with its fate. A drain that sees the item settled ends at once, and then returns what
            // is recovered.
            self.state.recovered.push(Job { request, answer: None });
        }
        if let Some(attempt) = attempt {
            self.state.unparked(attempt, wakes);
        }
        match answer {
            Some(index) => self.aside.answer(index, result),
            None => Err(result),
        }
    }
}
