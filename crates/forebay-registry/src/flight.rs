//! One piece of work that many wait for, driven by whoever of them polls.

use crate::{panics::guarded, sync::Mutex};
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
    state: Mutex<State<R, T>>,
}

struct State<R, T> {
    stage: Stage<R, T>,
    waiters: Vec<Option<Waker>>,
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
        Arc::new(Self { state: Mutex::new(State { stage, waiters: Vec::new(), free: Vec::new() }) })
    }

    /// Ends the flight, unless it has landed before, and wakes everybody.
    ///
    /// Whatever is dropped here may run the code of users; no lock may be held by the caller.
    pub(crate) fn land(&self, at: T) {
        let (old, waiters) = {
            let mut state = self.state.lock();
            if matches!(state.stage, Stage::Landed(_)) {
                return;
            }
            (mem::replace(&mut state.stage, Stage::Landed(at)), state.take_wakers())
        };
        waiters.into_iter().for_each(Waker::wake);
        drop(old);
    }

    /// Gives up a seat.
    ///
    /// Nobody has to be woken instead: a wake of the work goes to all who wait, so each of them that lives was told.
    pub(crate) fn leave(&self, seat: &mut Seat) {
        let waker = match seat.0.take() {
            Some(at) => {
                let mut state = self.state.lock();
                state.free.push(at);
                state.waiters.get_mut(at).and_then(Option::take)
            }
            None => None,
        };
        drop(waker);
    }
}

impl<R: 'static, T: Clone + Send + 'static> Flight<R, T> {
    /// Polls the work, or waits for the thread that does.
    ///
    /// `land` is run once, by the one who polled the work to its end; `Err` is the text of a panic.
    pub(crate) fn poll(
        self: &Arc<Self>,
        seat: &mut Seat,
        cx: &mut Context<'_>,
        land: impl FnOnce(Result<R, Arc<str>>) -> T,
    ) -> Poll<T> {
        let mut work = {
            let (taken, old) = {
                let mut state = self.state.lock();
                if let Stage::Landed(at) = &state.stage {
                    return Poll::Ready(at.clone());
                }
                let old = state.sit(seat, cx.waker());
                let taken = match mem::replace(&mut state.stage, Stage::Polling { again: false }) {
                    Stage::Resting(work) => Some(work),
                    Stage::Polling { .. } => {
                        // CORRECTNESS: the wake that brought us here is spent. The polling thread looks at `again`
                        // before it rests, so the poll that we owe happens even if it and we are dropped afterwards.
                        state.stage = Stage::Polling { again: true };
                        None
                    }
                    resting @ (Stage::Awaited | Stage::Landed(_)) => {
                        state.stage = resting;
                        None
                    }
                };
                (taken, old)
            };
            drop(old);
            let Some(work) = taken else { return Poll::Pending };
            work
        };

        let waker = Waker::from(Arc::clone(self));
        loop {
            let polled = guarded(|| work.as_mut().poll(&mut Context::from_waker(&waker)));
            match polled {
                Ok(Poll::Pending) => {
                    let mut state = self.state.lock();
                    if let Stage::Landed(at) = &state.stage {
                        let at = at.clone();
                        drop(state);
                        discard(work);
                        return Poll::Ready(at);
                    }
                    let asked_again = matches!(state.stage, Stage::Polling { again: true });
                    if !asked_again {
                        state.stage = Stage::Resting(work);
                        return Poll::Pending;
                    }
                    state.stage = Stage::Polling { again: false };
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
        match &self.state.lock().stage {
            Stage::Landed(first) => first.clone(),
            Stage::Resting(_) | Stage::Polling { .. } | Stage::Awaited => at,
        }
    }
}

/// What woke the work wakes all who wait: whoever comes first polls it.
impl<R: 'static, T: Send + 'static> Wake for Flight<R, T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let waiters = self.state.lock().take_wakers();
        waiters.into_iter().for_each(Waker::wake);
    }
}

/// A future that misbehaves when it is dropped hurts nobody else.
fn discard<R>(work: Work<R>) {
    // The text of such a panic has no one to go to: the work has ended, and its end is reported.
    let _ended: Result<(), Arc<str>> = guarded(|| drop(work));
}

// === impl State ===

impl<R, T> State<R, T> {
    /// Keeps `waker` at `seat`; the one that was there is dropped by the caller, outside the lock.
    fn sit(&mut self, seat: &mut Seat, waker: &Waker) -> Option<Waker> {
        let at = *seat.0.get_or_insert_with(|| {
            self.free.pop().unwrap_or_else(|| {
                self.waiters.push(None);
                self.waiters.len() - 1
            })
        });
        match self.waiters.get_mut(at) {
            Some(Some(same)) if same.will_wake(waker) => None,
            Some(place) => place.replace(waker.clone()),
            None => None,
        }
    }

    fn take_wakers(&mut self) -> Vec<Waker> {
        self.waiters.iter_mut().filter_map(Option::take).collect()
    }
}
