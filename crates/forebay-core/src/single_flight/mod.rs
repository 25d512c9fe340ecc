//! One piece of work that many callers wait for, driven by whichever of them polls.
//!
//! Support for the crates of this family, and no part of the stable interface.
//!
//! There is no leader whose end could strand the others: the work belongs to the [`InFlight`], each waiter polls it, and a
//! waiter that stops polling without being dropped holds up none of the others. No waker is cloned, woken or dropped, and no
//! result is cloned or dropped, while a lock is held.

mod circle;
mod notifier;

pub use self::{
    circle::Name,
    notifier::{Notifier, WaiterId},
};

use crate::{
    panic::{self, Panic},
    support::lock::Mutex,
};
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

/// Work that ends with an `R`.
pub type Work<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// One piece of work that ends with an `R`; each of its waiters gets a clone of a `T` that is made of it.
pub struct InFlight<R, T> {
    /// What the error of a circle calls the work.
    name: Name,
    /// Where the work is now.
    stage: Mutex<Stage<R, T>>,
    /// The wakers of all waiters. It is apart from the stage: a timer or a channel that keeps the waker of the work for long
    /// must not keep the result.
    notifier: Arc<Notifier>,
}

/// What a poll of an [`InFlight`] returns.
#[derive(Debug)]
pub enum Polled<T> {
    /// The waiter is woken when the next poll makes sense.
    Pending,
    /// The result.
    Ready(T),
    /// The work waits for itself; the names along the path that leads back to it.
    Circle(Arc<str>),
}

enum Stage<R, T> {
    /// The work rests until a waiter polls it.
    Resting(Work<R>),
    /// A thread polls the work. `again`: another waiter was woken meanwhile, and left its poll to that thread.
    Polling { again: bool },
    /// There is no work to poll: `complete` will be called.
    Awaited,
    /// The result is there.
    Completed(Arc<T>),
}

// === impl InFlight ===

impl<R, T> InFlight<R, T> {
    /// Work that the waiters drive.
    #[must_use]
    pub fn of(work: Work<R>, name: Name) -> Arc<Self> {
        Self::new(Stage::Resting(work), name)
    }

    /// A result without work: its holder calls [`complete`](Self::complete).
    #[must_use]
    pub fn awaited() -> Arc<Self> {
        Self::new(Stage::Awaited, Arc::new(()))
    }

    fn new(stage: Stage<R, T>, name: Name) -> Arc<Self> {
        Arc::new(Self { name, stage: Mutex::new(stage), notifier: Notifier::new() })
    }

    /// Sets the result and wakes all waiters; returns the result that stands, which is the first one.
    ///
    /// It may drop the work, which is user code: the caller holds no lock.
    pub fn complete(&self, result: T) -> Arc<T> {
        let result = Arc::new(result);
        let old = {
            let mut stage = self.stage.lock();
            if let Stage::Completed(first) = &*stage {
                // A local declared before the guard is dropped after it: so is `result`.
                return Arc::clone(first);
            }
            mem::replace(&mut *stage, Stage::Completed(Arc::clone(&result)))
        };
        // CORRECTNESS: after the result is set. A waiter stores its waker before it looks at the stage, so it sees the result or
        // is woken here.
        self.notifier.notify_all();
        panic::discard(old);
        result
    }

    fn completed(&self) -> Option<Arc<T>> {
        match &*self.stage.lock() {
            Stage::Completed(result) => Some(Arc::clone(result)),
            Stage::Resting(_) | Stage::Polling { .. } | Stage::Awaited => None,
        }
    }
}

impl<R, T: Clone> InFlight<R, T> {
    /// Polls the work, or waits for the thread that polls it.
    ///
    /// `complete` runs once, for the waiter that polled the work to its end, and without a lock.
    ///
    /// # Cancellation
    ///
    /// A waiter that leaves drops its [`WaiterId`]; the work rests until another one polls it.
    pub fn poll(
        &self,
        waiter: &mut WaiterId,
        cx: &mut Context<'_>,
        complete: impl FnOnce(Result<R, Panic>) -> T,
    ) -> Polled<T> {
        match circle::enter(std::ptr::from_ref(self).addr(), &self.name) {
            Ok(_entered) => match self.poll_entered(waiter, cx, complete) {
                Poll::Ready(result) => Polled::Ready(T::clone(&result)),
                Poll::Pending => Polled::Pending,
            },
            // The result may be there while the work is still in the poll that leads here.
            Err(path) => match self.completed() {
                Some(result) => Polled::Ready(T::clone(&result)),
                None => Polled::Circle(path),
            },
        }
    }

    fn poll_entered(
        &self,
        waiter: &mut WaiterId,
        cx: &mut Context<'_>,
        complete: impl FnOnce(Result<R, Panic>) -> T,
    ) -> Poll<Arc<T>> {
        /// Polls of the work in one poll of a waiter. Two pieces of work that wait for each other on two threads ask each
        /// other again and again; a poll that yields lets other tasks run, and one of the two finds the circle.
        const POLLS: usize = 4;

        self.notifier.register(waiter, cx.waker());
        let work = {
            let mut stage = self.stage.lock();
            match mem::replace(&mut *stage, Stage::Polling { again: false }) {
                Stage::Resting(work) => work,
                Stage::Polling { .. } => {
                    // CORRECTNESS: the wake-up that led here is spent. The polling thread looks at `again` before the work
                    // rests, so the poll happens even if that thread's waiter and this one are dropped afterwards.
                    *stage = Stage::Polling { again: true };
                    return Poll::Pending;
                }
                Stage::Awaited => {
                    *stage = Stage::Awaited;
                    return Poll::Pending;
                }
                Stage::Completed(result) => {
                    *stage = Stage::Completed(Arc::clone(&result));
                    return Poll::Ready(result);
                }
            }
        };

        let mut work = Some(work);
        let waker = Waker::from(Arc::clone(&self.notifier));
        for polls in 1.. {
            if let Poll::Ready(end) = panic::catch_poll(Pin::new(&mut work), &mut Context::from_waker(&waker)) {
                return Poll::Ready(self.complete(complete(end)));
            }
            let mut stage = self.stage.lock();
            if let Stage::Completed(result) = &*stage {
                let result = Arc::clone(result);
                drop(stage);
                panic::discard(work);
                return Poll::Ready(result);
            }
            let again = matches!(*stage, Stage::Polling { again: true });
            if again && polls < POLLS {
                *stage = Stage::Polling { again: false };
                continue;
            }
            if let Some(work) = work {
                *stage = Stage::Resting(work);
            }
            drop(stage);
            if again {
                // CORRECTNESS: the poll that was left to this thread is still owed. After the work rests, all waiters are woken,
                // and whichever polls first finds it.
                self.notifier.notify_all();
                cx.waker().wake_by_ref();
            }
            break;
        }
        Poll::Pending
    }
}

impl<R, T> fmt::Debug for InFlight<R, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
