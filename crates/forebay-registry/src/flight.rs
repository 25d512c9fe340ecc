//! One piece of work that many wait for, driven by whoever of them polls.

use crate::{
    circle::{self, Name},
    panics::guarded,
    sync::Mutex,
};
use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

/// Work that ends with an `R`.
pub(crate) type Work<R> = Pin<Box<dyn Future<Output = R> + Send>>;

/// One piece of work that many wait for; each of them gets a clone of where it landed.
///
/// There is no leader whose end could strand the others: the work belongs to the flight, each waiter polls it, and a
/// waiter that stops polling without being dropped holds up nobody.
pub(crate) struct Flight<R, T> {
    stage: Mutex<Stage<R, T>>,
    bell: Arc<Bell>,
}

/// Wakes all who wait.
///
/// It is what the work gets as its waker, and apart from the flight: who keeps a waker for long (a timer, a channel)
/// must not keep what the flight has brought.
struct Bell {
    waiters: Mutex<Waiters>,
}

struct Waiters {
    seats: Vec<Option<Waker>>,
    free: Vec<usize>,
}

enum Stage<R, T> {
    /// The work rests, until somebody polls it.
    Resting(Work<R>),
    /// A thread polls the work. `again`: someone was woken meanwhile, and left the poll to that thread.
    Polling { again: bool },
    /// There is no work to poll: somebody else will say where the flight lands.
    Awaited,
    /// It has landed here.
    Landed(T),
}

/// Where a poll found the flight.
pub(crate) enum Polled<T> {
    Pending,
    Landed(T),
    /// The work waits for itself; the path that leads back to it.
    Circle(Arc<str>),
}

/// A place among those who wait.
#[derive(Debug, Default)]
pub(crate) struct Seat(Option<usize>);

// === impl Flight ===

impl<R, T> Flight<R, T> {
    pub(crate) fn of(work: Work<R>) -> Arc<Self> {
        Self::new(Stage::Resting(work))
    }

    pub(crate) fn awaited() -> Arc<Self> {
        Self::new(Stage::Awaited)
    }

    fn new(stage: Stage<R, T>) -> Arc<Self> {
        let waiters = Mutex::new(Waiters { seats: Vec::new(), free: Vec::new() });
        Arc::new(Self { stage: Mutex::new(stage), bell: Arc::new(Bell { waiters }) })
    }

    /// Ends the flight, unless it has landed before, and wakes everybody.
    ///
    /// Whatever is dropped here may run the code of users; no lock may be held by the caller.
    pub(crate) fn land(&self, at: T) {
        let old = {
            let mut stage = self.stage.lock();
            if matches!(*stage, Stage::Landed(_)) {
                return;
            }
            mem::replace(&mut *stage, Stage::Landed(at))
        };
        // CORRECTNESS: after the landing. Who takes a seat looks at the stage afterwards, so everybody either sees the
        // landing or is woken here.
        self.bell.ring();
        drop(old);
    }

    /// Gives up a seat.
    ///
    /// Nobody has to be woken instead: a wake of the work goes to all who wait, so each of them that lives was told.
    pub(crate) fn leave(&self, seat: &mut Seat) {
        self.bell.leave(seat);
    }
}

impl<R, T: Clone> Flight<R, T> {
    /// Polls the work, or waits for the thread that does.
    ///
    /// `land` is run once, by the one who polled the work to its end; `Err` is the text of a panic.
    pub(crate) fn poll(
        &self,
        seat: &mut Seat,
        cx: &mut Context<'_>,
        name: &Name,
        land: impl FnOnce(Result<R, Arc<str>>) -> T,
    ) -> Polled<T> {
        match circle::enter(std::ptr::from_ref(self).addr(), name) {
            Ok(_entered) => match self.poll_entered(seat, cx, land) {
                Poll::Ready(at) => Polled::Landed(at),
                Poll::Pending => Polled::Pending,
            },
            // It may have landed while its work is still in the poll that leads here.
            Err(path) => match &*self.stage.lock() {
                Stage::Landed(at) => Polled::Landed(at.clone()),
                Stage::Resting(_) | Stage::Polling { .. } | Stage::Awaited => Polled::Circle(path),
            },
        }
    }

    fn poll_entered(
        &self,
        seat: &mut Seat,
        cx: &mut Context<'_>,
        land: impl FnOnce(Result<R, Arc<str>>) -> T,
    ) -> Poll<T> {
        /// Polls of the work in one poll of a waiter. Two pieces of work that wait for each other on two threads ask each
        /// other again and again; a poll that yields lets other tasks run, and one of the two comes upon the circle.
        const POLLS: usize = 4;

        self.bell.sit(seat, cx.waker());
        let mut work = {
            let mut stage = self.stage.lock();
            match mem::replace(&mut *stage, Stage::Polling { again: false }) {
                Stage::Resting(work) => work,
                Stage::Polling { .. } => {
                    // CORRECTNESS: the wake that brought us here is spent. The polling thread looks at `again` before
                    // it rests, so the poll that we owe happens even if it and we are dropped afterwards.
                    *stage = Stage::Polling { again: true };
                    return Poll::Pending;
                }
                Stage::Awaited => {
                    *stage = Stage::Awaited;
                    return Poll::Pending;
                }
                Stage::Landed(at) => {
                    *stage = Stage::Landed(at.clone());
                    return Poll::Ready(at);
                }
            }
        };

        let waker = Waker::from(Arc::clone(&self.bell));
        let mut polls = 0;
        loop {
            polls += 1;
            let polled = guarded(|| work.as_mut().poll(&mut Context::from_waker(&waker)));
            match polled {
                Ok(Poll::Pending) => {
                    let mut stage = self.stage.lock();
                    if let Stage::Landed(at) = &*stage {
                        let at = at.clone();
                        drop(stage);
                        discard(work);
                        return Poll::Ready(at);
                    }
                    let asked_again = matches!(*stage, Stage::Polling { again: true });
                    if !asked_again || polls >= POLLS {
                        *stage = Stage::Resting(work);
                        drop(stage);
                        if asked_again {
                            // CORRECTNESS: the poll that was left to this thread is still owed. It is given back to all
                            // that wait, after the work rests, so that whichever of them comes first finds it.
                            self.bell.ring();
                            cx.waker().wake_by_ref();
                        }
                        return Poll::Pending;
                    }
                    *stage = Stage::Polling { again: false };
                }
                Ok(Poll::Ready(end)) => {
                    discard(work);
                    return Poll::Ready(self.arrive(land(Ok(end))));
                }
                Err(panic) => {
                    discard(work);
                    return Poll::Ready(self.arrive(land(Err(panic))));
                }
            }
        }
    }

    /// The flight lands at `at`, unless it has landed elsewhere.
    fn arrive(&self, at: T) -> T {
        self.land(at.clone());
        match &*self.stage.lock() {
            Stage::Landed(first) => first.clone(),
            Stage::Resting(_) | Stage::Polling { .. } | Stage::Awaited => at,
        }
    }
}

/// A future that misbehaves when it is dropped hurts nobody else.
fn discard<R>(work: Work<R>) {
    // The text of such a panic has no one to go to: the work has ended, and its end is reported.
    let _ended: Result<(), Arc<str>> = guarded(|| drop(work));
}

// === impl Bell ===

impl Bell {
    /// Keeps `waker` at `seat`.
    fn sit(&self, seat: &mut Seat, waker: &Waker) {
        // A waker that is dropped may run the code of an executor, and so is dropped outside the lock.
        let _old = {
            let mut waiters = self.waiters.lock();
            let at = *seat.0.get_or_insert_with(|| {
                waiters.free.pop().unwrap_or_else(|| {
                    waiters.seats.push(None);
                    waiters.seats.len() - 1
                })
            });
            match waiters.seats.get_mut(at) {
                Some(Some(same)) if same.will_wake(waker) => None,
                Some(place) => place.replace(waker.clone()),
                None => None,
            }
        };
    }

    fn leave(&self, seat: &mut Seat) {
        let Some(at) = seat.0.take() else { return };
        let _old = {
            let mut waiters = self.waiters.lock();
            waiters.free.push(at);
            waiters.seats.get_mut(at).and_then(Option::take)
        };
    }

    /// What woke the work wakes all who wait: whoever comes first polls it.
    fn ring(&self) {
        let waiting: Vec<_> = self.waiters.lock().seats.iter_mut().filter_map(Option::take).collect();
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}
