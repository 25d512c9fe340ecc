//! One name for the locks of the standard library and of loom, so that no logic is written twice.

use std::sync::{PoisonError, TryLockError};

#[cfg(not(loom))]
pub use std::sync::{Mutex, MutexGuard};

#[cfg(loom)]
pub use loom::sync::{Mutex, MutexGuard};

#[cfg(not(loom))]
pub(crate) use std::sync::atomic;

#[cfg(loom)]
pub(crate) use loom::sync::atomic;

/// How often a thread looks at a taken lock before it sleeps. A lock under constant use is free at about every third look,
/// and a thread that sleeps makes each release call the kernel.
#[cfg(not(loom))]
const LOOKS: u32 = 16;

/// The spins between two looks: about half a microsecond, in which the other thread has the lock's cache line to itself.
#[cfg(not(loom))]
const PAUSES: u32 = 64;

/// Locks `mutex`, also after a panic: no user code runs under it, so that what it guards is whole.
///
/// A thread that finds it taken looks again a few times, some microseconds in all, before it sleeps. Locks of an intake are
/// held for nanoseconds, and sleeping takes longer than that. While one thread stays off the lock for so long, another that
/// hands over many items in a row has the guarded state in its own cache.
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
    // Several looks add only steps for the model checker, and no new order of them.
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
    fn a_lock_can_be_taken_after_a_panic_and_by_every_thread_in_turn() {
        let count = Arc::new(Mutex::new(0_u32));
        let poisoner = Arc::clone(&count);
        let panicked = thread::spawn(move || {
            let _guard = lock(&poisoner);
            panic!("while it holds the lock");
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
