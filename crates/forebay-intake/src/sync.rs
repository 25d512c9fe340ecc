//! One name for the locks of the standard library and of loom, so that no logic is written twice.

use std::sync::{PoisonError, TryLockError};

#[cfg(not(loom))]
pub use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub use loom::sync::{Mutex, MutexGuard};

/// How often the lock is looked at before the thread sleeps. A lock that is taken and given back all the time is found
/// free by about every third look; who sleeps for it makes each thread that gives it back call the kernel.
#[cfg(not(loom))]
const LOOKS: u32 = 16;

/// How long between two looks: about half a microsecond, in which the other thread does its work without us.
#[cfg(not(loom))]
const PAUSES: u32 = 64;

/// Locks `mutex`, also after a panic: no code of a user may run under it, so that what it guards is whole.
///
/// Whoever finds it taken looks again a few times, some microseconds in all, before it sleeps. Locks of an intake are held
/// for nanoseconds: sleeping takes longer than they do, and a thread that hands over many items in a row, while another
/// keeps its hands off the lock for that long, has all of it in its own cache.
#[inline]
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    match mutex.try_lock() {
        Ok(guard) => guard,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => lock_taken(mutex),
    }
}

#[cold]
#[inline(never)]
fn lock_taken<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The model checker counts every look; that there are several shows it nothing new.
    #[cfg(not(loom))]
    for _ in 0..LOOKS {
        (0..PAUSES).for_each(|_| std::hint::spin_loop());
        if let Ok(guard) = mutex.try_lock() {
            return guard;
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};

    #[test]
    fn a_lock_is_had_after_a_panic_and_by_everybody_in_turn() {
        let count = Arc::new(Mutex::new(0_u32));
        let poisoner = Arc::clone(&count);
        let panicked = thread::spawn(move || {
            let _guard = lock(&poisoner);
            panic!("with the lock in hand");
        });
        assert!(panicked.join().is_err());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1000).for_each(|_| *lock(&count) += 1));
            }
        });
        assert_eq!(*lock(&count), 4000);
    }
}
