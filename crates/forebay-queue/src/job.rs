use crate::{
    Abandoned, Evicted, Expired,
    answers::{Answer, Answers, Index},
    control::Aside,
    shared::Shared,
};
use forebay_core::{BoxError, DropReason, Seen, panic};
use forebay_intake::WakerSet;
use std::task::Waker;

/// A request in a [`Queue`](crate::Queue), and where its caller looks for the answer, if there is one.
#[derive(Debug)]
pub(crate) struct Job<T> {
    pub(crate) request: T,
    pub(crate) answer: Option<Index>,
}

/// A queue of requests, and the answers to them.
pub(crate) type Calls<T, Res> = Shared<Job<T>, Answers<Res>>;

// === impl Calls ===

impl<T, Res> Calls<T, Res> {
    /// The answer is here: its caller is woken, and an answer that no caller wants is dropped, both without the lock.
    pub(crate) fn answer(&self, index: Option<Index>, answer: Answer<Res>) {
        let Some(index) = index else { return };
        let answered = self.lock().aside.answer(index, answer);
        self.wake_or_discard(answered);
    }

    /// What is left to do of an answer, without the lock.
    #[inline]
    pub(crate) fn wake_or_discard(&self, answered: Result<Option<Waker>, Answer<Res>>) {
        match answered {
            Ok(caller) => WakerSet::one(caller).wake(),
            // No caller waits for it; the fate of the item is in the ledger all the same.
            Err(unwanted) => panic::discard(unwanted),
        }
    }

    /// An item left without having been worked off, and its fate is in the ledger: its caller must know.
    pub(crate) fn discard(&self, job: Job<T>, reason: DropReason) -> T {
        let error: BoxError = match reason {
            DropReason::Evicted => Evicted::new().into(),
            DropReason::Expired => Expired::new().into(),
            _ => Abandoned::new(Seen::No).into(),
        };
        self.answer(job.answer, Err(error));
        job.request
    }
}

impl<T, Res: Send> Aside<Job<T>> for Answers<Res> {
    type Item = T;

    fn discard(shared: &Calls<T, Res>, jobs: Vec<Job<T>>) -> Vec<T> {
        jobs.into_iter().map(|job| shared.discard(job, DropReason::Shutdown)).collect()
    }
}
