//! The clock, the timer and the place where tasks run: all that the registry wants from a runtime.

use std::{future::Future, pin::Pin};

/// Something to be run to its end.
pub(crate) type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

#[cfg(any(loom, shuttle))]
pub(crate) use self::model::{Edge, Timer, now};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use self::real::{Edge, Timer, now};

#[cfg(not(any(loom, shuttle)))]
mod real {
    use super::Task;
    use std::{
        future::Future,
        panic::{AssertUnwindSafe, catch_unwind},
        pin::Pin,
        sync::OnceLock,
        task::{Context, Poll},
        time::{Duration, Instant},
    };
    use tokio::{
        runtime::Handle,
        time::{Sleep, sleep},
    };

    /// The time, which tests may pause.
    pub(crate) fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Where close hooks and the sweeper run.
    #[derive(Debug, Default)]
    pub(crate) struct Edge {
        captured: OnceLock<Handle>,
    }

    /// Ends after a while; never, where there is no timer.
    #[derive(Debug)]
    pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

    // === impl Edge ===

    impl Edge {
        /// The runtime is the first one that is seen.
        pub(crate) fn unbound() -> Self {
            Self::default()
        }

        pub(crate) fn new(handle: Option<Handle>) -> Self {
            let edge = Self::unbound();
            if let Some(handle) = handle {
                edge.captured.get_or_init(|| handle);
            }
            edge
        }

        /// The runtime this thread is in, else the first one that was seen.
        pub(crate) fn handle(&self) -> Option<Handle> {
            match Handle::try_current() {
                Ok(current) => {
                    self.captured.get_or_init(|| current.clone());
                    Some(current)
                }
                // Not in a runtime, or in a thread that is ending.
                Err(_) => self.captured.get().cloned(),
            }
        }

        pub(crate) fn is_here(&self) -> bool {
            self.handle().is_some()
        }

        /// Whether a task that waits for a timer can be spawned.
        pub(crate) fn keeps_time(&self) -> bool {
            self.is_here()
        }

        /// `false` where there is no runtime; then the task is dropped.
        pub(crate) fn spawn(&self, task: Task) -> bool {
            let Some(handle) = self.handle() else { return false };
            // The task reports its own end, and no one waits for it: the handle is not needed.
            drop(handle.spawn(task));
            true
        }

        pub(crate) fn timer(&self, after: Duration) -> Timer {
            let Some(handle) = self.handle() else { return Timer(None) };
            // A runtime that was built without `enable_time` panics here; what was to be timed goes on untimed.
            let made = catch_unwind(AssertUnwindSafe(|| {
                let _inside = handle.enter();
                Box::pin(sleep(after))
            }));
            Timer(made.ok())
        }
    }

    // === impl Timer ===

    impl Future for Timer {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let Some(sleep) = &mut self.0 else { return Poll::Pending };
            // A timer whose runtime has shut down panics; what was to be timed goes on untimed.
            match catch_unwind(AssertUnwindSafe(|| sleep.as_mut().poll(cx))) {
                Ok(polled) => polled,
                Err(_) => {
                    self.0 = None;
                    Poll::Pending
                }
            }
        }
    }
}

#[cfg(any(loom, shuttle))]
mod model {
    use super::Task;
    use std::{
        future::Future,
        pin::Pin,
        sync::OnceLock,
        task::{Context, Poll},
        time::{Duration, Instant},
    };

    #[cfg(loom)]
    use loom::future::block_on;
    #[cfg(shuttle)]
    use shuttle::future::block_on;

    /// Time stands still: what a deadline does is tested with a paused clock, not here.
    #[expect(clippy::disallowed_methods, reason = "one instant is needed to begin with")]
    pub(crate) fn now() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    #[derive(Debug)]
    pub(crate) struct Edge;

    #[derive(Debug)]
    pub(crate) struct Timer;

    impl Edge {
        pub(crate) fn unbound() -> Self {
            Self
        }

        pub(crate) fn is_here(&self) -> bool {
            true
        }

        pub(crate) fn keeps_time(&self) -> bool {
            false
        }

        /// A task that is run at once, by whoever spawns it: the checker puts the other threads between its steps.
        pub(crate) fn spawn(&self, task: Task) -> bool {
            block_on(task);
            true
        }

        pub(crate) fn timer(&self, _: Duration) -> Timer {
            Timer
        }
    }

    impl Future for Timer {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
}
