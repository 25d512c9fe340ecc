//! The clock, the timer, where tasks run, and the pointers that threads share: the real ones, or those of a model checker.

#[cfg(any(loom, shuttle))]
pub(crate) use self::model::{AtomicBool, BuildHasher, Published, Runtime, Strong, Timer, Weak, now};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use self::real::{AtomicBool, BuildHasher, Published, Runtime, Strong, Timer, Weak, now};

#[cfg(not(any(loom, shuttle)))]
mod real {
    use forebay_core::{ConfigError, panic::catch};
    use std::{
        future::Future,
        pin::Pin,
        task::{Context, Poll},
        time::{Duration, Instant},
    };
    use tokio::{
        runtime::Handle,
        time::{Sleep, sleep},
    };

    pub(crate) use arc_swap::ArcSwap as Published;
    pub(crate) use std::sync::{Arc as Strong, Weak, atomic::AtomicBool};

    /// Seeded at random in each process. An attacker that finds collisions all the same is held by the cap on entries.
    pub(crate) type BuildHasher = foldhash::quality::RandomState;

    /// The time, which tests may pause.
    pub(crate) fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Where close hooks and the sweeper run: on the runtime of the thread, else on the one of `build()`.
    #[derive(Clone, Debug)]
    pub(crate) struct Runtime(Handle);

    /// Ends after a while; never, where the runtime has no timer or has shut down.
    #[derive(Debug)]
    pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

    impl Runtime {
        /// The runtime that was given, else that of the thread.
        pub(crate) fn new(given: Option<Handle>) -> Result<Self, ConfigError> {
            let Some(handle) = given.or_else(|| Handle::try_current().ok()) else {
                let allowed = "a Tokio runtime: build inside one, or give its handle";
                return Err(ConfigError::new("runtime", "missing", allowed));
            };
            match Timer::on(&handle, Duration::ZERO) {
                Timer(Some(_)) => Ok(Self(handle)),
                Timer(None) => Err(ConfigError::new("runtime", "one without a timer", "a runtime with `enable_time`")),
            }
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

    impl Timer {
        fn on(handle: &Handle, after: Duration) -> Self {
            let _inside = handle.enter();
            // `sleep` panics in a runtime without a timer.
            Self(catch(|| Box::pin(sleep(after))).ok())
        }
    }

    impl Future for Timer {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let Some(sleep) = &mut self.0 else { return Poll::Pending };
            // A timer whose runtime has shut down panics: what it was to cut off goes on.
            catch(|| sleep.as_mut().poll(cx)).unwrap_or_else(|_shut_down| {
                self.0 = None;
                Poll::Pending
            })
        }
    }
}

#[cfg(any(loom, shuttle))]
mod model {
    use std::{
        future::{Future, Pending},
        sync::OnceLock,
        time::{Duration, Instant},
    };

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

    /// Time stands still: what a deadline does is tested with a paused clock, not here.
    #[expect(clippy::disallowed_methods, reason = "one instant is needed to begin with")]
    pub(crate) fn now() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    #[derive(Clone, Debug)]
    pub(crate) struct Runtime;

    pub(crate) type Timer = Pending<()>;

    impl Runtime {
        /// Runs the task at once: the checker puts the other threads between its steps.
        pub(crate) fn spawn(&self, task: impl Future<Output = ()>) {
            block_on(task);
        }

        pub(crate) fn timer(&self, _: Duration) -> Timer {
            std::future::pending()
        }
    }
}
