//! Where tasks run, and the pointers that threads share: the real ones, or those of a model checker.

#[cfg(any(loom, shuttle))]
pub(crate) use self::model::{AtomicBool, BuildHasher, Published, Runtime, Strong, Weak};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use self::real::{AtomicBool, BuildHasher, Published, Runtime, Strong, Weak};
pub(crate) use forebay_core::support::clock::{Timer, now};

#[cfg(not(any(loom, shuttle)))]
mod real {
    use forebay_core::{ConfigError, support::clock::Timer};
    use std::{future::Future, time::Duration};
    use tokio::runtime::Handle;

    pub(crate) use arc_swap::ArcSwap as Published;
    pub(crate) use std::sync::{Arc as Strong, Weak, atomic::AtomicBool};

    /// Seeded at random in each process. An attacker that finds collisions all the same is held by the cap on entries.
    pub(crate) type BuildHasher = foldhash::quality::RandomState;

    /// Where close hooks and the sweeper run: on the runtime of the thread, else on the one of `build()`.
    #[derive(Clone, Debug)]
    pub(crate) struct Runtime(Handle);

    impl Runtime {
        /// The runtime that was given, else that of the thread.
        pub(crate) fn new(given: Option<Handle>) -> Result<Self, ConfigError> {
            let Some(handle) = given.or_else(|| Handle::try_current().ok()) else {
                let allowed = "a Tokio runtime: build inside one, or give its handle";
                return Err(ConfigError::new("runtime", "missing", allowed));
            };
            if Timer::on(&handle, Duration::ZERO).is_ticking() {
                return Ok(Self(handle));
            }
            Err(ConfigError::new("runtime", "one without a timer", "a runtime with `enable_time`"))
        }

        fn handle(&self) -> Handle {
            Handle::try_current().unwrap_or_else(|_outside| self.0.clone())
        }

        /// CANCEL: a runtime that shuts down drops the task, at once if it is down already.
        pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
            // A task reports its own end: the handle is not needed.
            drop(self.handle().spawn(task));
        }

        pub(crate) fn timer(&self, after: Duration) -> Timer {
            Timer::on(&self.handle(), after)
        }
    }
}

#[cfg(any(loom, shuttle))]
mod model {
    use forebay_core::support::clock::Timer;
    use std::{future::Future, time::Duration};

    pub(crate) use forebay_core::support::lock::model::{Published, Strong, Weak};
    #[cfg(loom)]
    pub(crate) use loom::sync::atomic::AtomicBool;
    #[cfg(shuttle)]
    pub(crate) use shuttle::sync::atomic::AtomicBool;

    #[cfg(loom)]
    use loom::future::block_on;
    #[cfg(shuttle)]
    use shuttle::future::block_on;

    /// The same in every run, since a run is replayed.
    pub(crate) type BuildHasher = foldhash::quality::FixedState;

    #[derive(Clone, Debug)]
    pub(crate) struct Runtime;

    impl Runtime {
        /// Runs the task at once: the checker puts the other threads between its steps.
        pub(crate) fn spawn(&self, task: impl Future<Output = ()>) {
            block_on(task);
        }

        pub(crate) fn timer(&self, after: Duration) -> Timer {
            Timer::after(after)
        }
    }
}
