//! What loom and shuttle replace: the lock, and the counted pointers of a model.
//!
//! Support for the crates of this family, and no part of the stable interface.

#[cfg(loom)]
use loom::sync as checked;
#[cfg(shuttle)]
use shuttle::sync as checked;
#[cfg(not(any(loom, shuttle)))]
use std::sync as checked;

pub use self::checked::MutexGuard;

use std::sync::PoisonError;

/// A lock that stays usable after a panic under it.
///
/// No user code runs under the locks of this family but the `Hash`, `Eq` and `Clone` of a key, and every change is whole before
/// these run.
#[derive(Debug)]
pub struct Mutex<T>(checked::Mutex<T>);

// === impl Mutex ===

impl<T> Mutex<T> {
    /// Guards `value`.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(checked::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stand-ins for what the model checkers do not have.
#[cfg(any(loom, shuttle))]
pub mod model {
    use super::Mutex;
    #[cfg(loom)]
    use loom::sync::atomic::AtomicUsize;
    #[cfg(shuttle)]
    use shuttle::sync::atomic::AtomicUsize;
    use std::{
        ops::Deref,
        sync::{Arc, atomic::Ordering::SeqCst},
    };

    /// In the place of `arc_swap::ArcSwap`.
    #[derive(Debug)]
    pub struct Published<T>(Mutex<Arc<T>>);

    /// In the place of `std::sync::Arc`: the checker can put another thread before each change of the count.
    #[derive(Debug)]
    pub struct Strong<T> {
        /// `None` once `into_inner` has taken it.
        value: Option<Arc<T>>,
        /// An access to it is a step of the checker.
        step: Arc<AtomicUsize>,
    }

    /// In the place of `std::sync::Weak`.
    #[derive(Debug)]
    pub struct Weak<T> {
        value: std::sync::Weak<T>,
        step: Arc<AtomicUsize>,
    }

    impl<T> Published<T> {
        /// Publishes `value`.
        pub fn from_pointee(value: T) -> Self {
            Self(Mutex::new(Arc::new(value)))
        }

        /// The value that is published now.
        pub fn load(&self) -> Arc<T> {
            Arc::clone(&self.0.lock())
        }

        /// Publishes `value`, and returns the one before.
        pub fn swap(&self, value: Arc<T>) -> Arc<T> {
            std::mem::replace(&mut *self.0.lock(), value)
        }
    }

    impl<T> Strong<T> {
        /// The first pointer to `value`.
        pub fn new(value: T) -> Self {
            Self { value: Some(Arc::new(value)), step: Arc::new(AtomicUsize::new(0)) }
        }

        fn value(this: &Self) -> &Arc<T> {
            match &this.value {
                Some(value) => value,
                None => unreachable!("only `into_inner` takes it, together with `this`"),
            }
        }

        /// A pointer that does not count.
        pub fn downgrade(this: &Self) -> Weak<T> {
            Weak { value: Arc::downgrade(Self::value(this)), step: Arc::clone(&this.step) }
        }

        /// The value, if this is the last pointer to it.
        pub fn into_inner(mut this: Self) -> Option<T> {
            this.step.fetch_add(1, SeqCst);
            this.value.take().and_then(Arc::into_inner)
        }

        /// Whether both point to one value.
        pub fn ptr_eq(this: &Self, other: &Self) -> bool {
            Arc::ptr_eq(Self::value(this), Self::value(other))
        }
    }

    impl<T> Clone for Strong<T> {
        fn clone(&self) -> Self {
            self.step.fetch_add(1, SeqCst);
            Self { value: self.value.clone(), step: Arc::clone(&self.step) }
        }
    }

    impl<T> Deref for Strong<T> {
        type Target = T;

        fn deref(&self) -> &T {
            Self::value(self)
        }
    }

    impl<T> Drop for Strong<T> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                // The checker has found something and takes no more steps.
                #[expect(clippy::mem_forget, reason = "the checker is about to stop")]
                std::mem::forget(self.value.take());
            } else if self.value.is_some() {
                self.step.fetch_add(1, SeqCst);
            }
        }
    }

    impl<T> Weak<T> {
        /// A counted pointer, unless the last one has ended.
        pub fn upgrade(&self) -> Option<Strong<T>> {
            self.step.fetch_add(1, SeqCst);
            let value = self.value.upgrade()?;
            Some(Strong { value: Some(value), step: Arc::clone(&self.step) })
        }

        /// How many counted pointers there are.
        pub fn strong_count(&self) -> usize {
            self.value.strong_count()
        }
    }

    impl<T> Clone for Weak<T> {
        fn clone(&self) -> Self {
            Self { value: self.value.clone(), step: Arc::clone(&self.step) }
        }
    }
}
