//! Locks, counted pointers and published values: the real ones, or those of a model checker.
//!
//! Everything that two threads of the registry touch goes through this module, so that loom and shuttle see each step.

#[cfg(any(loom, shuttle))]
pub(crate) use self::model::{BuildHasher, Flag, Mutex, Published, Strong, Weak};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use self::real::{BuildHasher, Flag, Mutex, Published, Strong, Weak};

#[cfg(not(any(loom, shuttle)))]
mod real {
    use arc_swap::{ArcSwap, Guard};
    use std::sync::{
        Arc, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    };

    /// Seeded at random in each process; an attacker who finds collisions all the same is held by the cap on entries.
    pub(crate) type BuildHasher = foldhash::quality::RandomState;
    /// A counted pointer; the counts are the leases.
    pub(crate) type Strong<T> = Arc<T>;
    /// Sees the end of the counted pointers.
    pub(crate) use std::sync::Weak;

    /// A mark that many set and one takes away.
    #[derive(Debug)]
    pub(crate) struct Flag(AtomicBool);

    impl Flag {
        pub(crate) fn new(set: bool) -> Self {
            Self(AtomicBool::new(set))
        }

        // CORRECTNESS: relaxed, since nothing is read through it. A mark that is seen late makes a client look unused
        // that somebody has just got; then its count says so, or it drains until that lease ends.
        #[inline]
        pub(crate) fn set(&self) {
            self.0.store(true, Ordering::Relaxed);
        }

        pub(crate) fn take(&self) -> bool {
            self.0.swap(false, Ordering::Relaxed)
        }
    }

    /// A lock that outlives a panic of the user's code under it: every change of ours is whole before that code runs.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(std::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(std::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    /// A value that is read without a lock and replaced as a whole.
    #[derive(Debug)]
    pub(crate) struct Published<T>(ArcSwap<T>);

    impl<T> Published<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(ArcSwap::from_pointee(value))
        }

        #[inline]
        pub(crate) fn load(&self) -> Guard<Arc<T>> {
            self.0.load()
        }

        /// The old value comes back, to be dropped where no lock is held.
        #[must_use]
        pub(crate) fn replace(&self, value: T) -> Arc<T> {
            self.0.swap(Arc::new(value))
        }
    }
}

#[cfg(any(loom, shuttle))]
mod model {
    #[cfg(loom)]
    use loom::sync::{
        self as checked,
        atomic::{AtomicBool, AtomicUsize},
    };
    #[cfg(shuttle)]
    use shuttle::sync::{
        self as checked,
        atomic::{AtomicBool, AtomicUsize},
    };
    use std::{
        ops::Deref,
        sync::{
            Arc, PoisonError,
            atomic::Ordering::{Relaxed, SeqCst},
        },
    };

    /// The same in every run, since a run is replayed.
    pub(crate) type BuildHasher = foldhash::quality::FixedState;

    #[derive(Debug)]
    pub(crate) struct Flag(AtomicBool);

    impl Flag {
        pub(crate) fn new(set: bool) -> Self {
            Self(AtomicBool::new(set))
        }

        pub(crate) fn set(&self) {
            self.0.store(true, Relaxed);
        }

        pub(crate) fn take(&self) -> bool {
            self.0.swap(false, Relaxed)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(checked::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checked::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> checked::MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }

    #[derive(Debug)]
    pub(crate) struct Published<T>(checked::Mutex<Arc<T>>);

    impl<T> Published<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checked::Mutex::new(Arc::new(value)))
        }

        pub(crate) fn load(&self) -> Arc<T> {
            Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
        }

        pub(crate) fn replace(&self, value: T) -> Arc<T> {
            std::mem::replace(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner), Arc::new(value))
        }
    }

    /// `std`'s counts, each step of which the checker may put another thread before.
    #[derive(Debug)]
    pub(crate) struct Strong<T> {
        value: Option<Arc<T>>,
        step: Arc<AtomicUsize>,
    }

    #[derive(Debug)]
    pub(crate) struct Weak<T> {
        value: std::sync::Weak<T>,
        step: Arc<AtomicUsize>,
    }

    impl<T> Strong<T> {
        pub(crate) fn new(value: T) -> Self {
            Self { value: Some(Arc::new(value)), step: Arc::new(AtomicUsize::new(0)) }
        }

        fn value(this: &Self) -> &Arc<T> {
            match &this.value {
                Some(value) => value,
                None => unreachable!("only `into_inner` takes it, and it takes `this` along"),
            }
        }

        pub(crate) fn downgrade(this: &Self) -> Weak<T> {
            Weak { value: Arc::downgrade(Self::value(this)), step: Arc::clone(&this.step) }
        }

        pub(crate) fn into_inner(mut this: Self) -> Option<T> {
            this.step.fetch_add(1, SeqCst);
            this.value.take().and_then(Arc::into_inner)
        }

        pub(crate) fn ptr_eq(this: &Self, other: &Self) -> bool {
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
                // The checker has found something and takes no more steps; what it found is what is to be shown.
                #[expect(clippy::mem_forget, reason = "the checker is about to stop")]
                std::mem::forget(self.value.take());
            } else if self.value.is_some() {
                self.step.fetch_add(1, SeqCst);
            }
        }
    }

    impl<T> Weak<T> {
        pub(crate) fn upgrade(&self) -> Option<Strong<T>> {
            self.step.fetch_add(1, SeqCst);
            let value = self.value.upgrade()?;
            Some(Strong { value: Some(value), step: Arc::clone(&self.step) })
        }

        pub(crate) fn strong_count(&self) -> usize {
            self.value.strong_count()
        }
    }

    impl<T> Clone for Weak<T> {
        fn clone(&self) -> Self {
            Self { value: self.value.clone(), step: Arc::clone(&self.step) }
        }
    }
}
