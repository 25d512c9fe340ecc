//! A timer without a runtime: a thread that sleeps.

use crate::clock::now;
use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    task::Waker,
    thread,
    time::Instant,
};

/// Wakes a task at an instant. Its thread starts with the first instant, and ends with it.
#[derive(Debug, Default)]
pub(crate) struct Alarm(Option<Arc<Sleeper>>);

#[derive(Debug, Default)]
struct Sleeper {
    state: Mutex<AlarmState>,
    /// Notified after each change of the state.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct AlarmState {
    /// When to wake, and which task; `None` after that.
    next: Option<(Instant, Waker)>,
    /// Whether the alarm was dropped, so that the thread ends.
    over: bool,
}

// === impl Alarm ===

impl Alarm {
    /// Wakes `waker` at `due`, in the place of what was set before.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub(crate) fn set(&mut self, due: Instant, waker: &Waker) -> io::Result<()> {
        let next = (due, waker.clone());
        if let Some(sleeper) = &self.0 {
            // CORRECTNESS: bound to a name, so that the old waker, which is code of an executor, is dropped without the lock.
            let _old = sleeper.lock().next.replace(next);
            sleeper.changed.notify_one();
            return Ok(());
        }
        let state = Mutex::new(AlarmState { next: Some(next), over: false });
        let sleeper = Arc::new(Sleeper { state, changed: Condvar::new() });
        let thread = Arc::clone(&sleeper);
        thread::Builder::new().name("forebay-timer".to_owned()).spawn(move || thread.run())?;
        self.0 = Some(sleeper);
        Ok(())
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(sleeper) = self.0.take() {
            // CORRECTNESS: the waker that the thread was to wake is user code: it leaves the lock in a name, and is dropped after it.
            let _old = {
                let mut state = sleeper.lock();
                state.over = true;
                state.next.take()
            };
            sleeper.changed.notify_one();
        }
    }
}

// === impl Sleeper ===

impl Sleeper {
    fn lock(&self) -> MutexGuard<'_, AlarmState> {
        // No user code runs under the lock, so what it guards is whole after a panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.over {
            let wait = state.next.as_ref().map(|(due, _)| due.saturating_duration_since(now()));
            state = match wait {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(wait) if !wait.is_zero() => {
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
                Some(_) => {
                    let due = state.next.take();
                    drop(state);
                    // CORRECTNESS: a waker is code of an executor: it is woken without the lock, and its panic does not end the
                    // alarm.
                    let _reported = forebay_core::panic::catch(|| due.into_iter().for_each(|(_, waker)| waker.wake()));
                    self.lock()
                }
            };
        }
    }
}
