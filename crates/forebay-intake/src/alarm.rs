//! A timer for where there is no runtime: a thread that sleeps.

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
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Who is to be woken, and when; `None` after that.
    next: Option<(Instant, Waker)>,
    /// The alarm is gone: the thread ends.
    over: bool,
}

// === impl Alarm ===

impl Alarm {
    /// Wakes `waker` at `due`, and nothing that was set before.
    ///
    /// # Errors
    ///
    /// Where no thread can be had.
    pub(crate) fn set(&mut self, due: Instant, waker: &Waker) -> io::Result<()> {
        let next = (due, waker.clone());
        if let Some(sleeper) = &self.0 {
            // Bound to a name: a waker that is dropped may run the code of an executor, and does so without the lock.
            let _old = sleeper.lock().next.replace(next);
            sleeper.changed.notify_one();
            return Ok(());
        }
        let state = Mutex::new(State { next: Some(next), over: false });
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
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing of a user runs under the lock, so what it guards is whole.
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
                    // A waker is the code of an executor: its panic is not to end the alarm.
                    let _reported = forebay_core::panic::catch(|| due.into_iter().for_each(|(_, waker)| waker.wake()));
                    self.lock()
                }
            };
        }
    }
}
