use crate::{
    Abandoned, Evicted, Expired,
    answers::{Answer, Answers, Index},
    handle::Aside,
    shared::Shared,
    wakes::Wakes,
};
use forebay_core::{BoxError, DropReason, Seen, panic};

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
    /// The answer is here: its caller is woken, and an answer that nobody wants is dropped, both without the lock.
    pub(crate) fn answer(&self, index: Option<Index>, answer: Answer<Res>) {
        let Some(index) = index else { return };
        let answered = self.lock().aside.answer(index, answer);
        match answered {
            Ok(waker) => Wakes::one(waker).wake(),
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

impl<T, Res: Send> Aside<Job<T>, T> for Answers<Res> {
    fn discard(shared: &Calls<T, Res>, jobs: Vec<Job<T>>) -> Vec<T> {
        jobs.into_iter().map(|job| shared.discard(job, DropReason::Shutdown)).collect()
    }
}
