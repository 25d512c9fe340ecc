//! The clock and the timer of tokio, or those of a model checker.

#[cfg(any(loom, shuttle))]
pub use self::model::{Timer, now};
#[cfg(not(any(loom, shuttle)))]
pub use self::real::{Timer, now};

#[cfg(not(any(loom, shuttle)))]
mod real {
    use crate::panic::catch;
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

    /// The time, which tests may pause.
    #[must_use]
    pub fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Ends after a while; never, where the runtime has no timer or has shut down.
    #[derive(Debug)]
    pub struct Timer(Option<Pin<Box<Sleep>>>);

    impl Timer {
        /// Ends after `wait`, by the timer of the runtime of this thread, if there is one.
        #[must_use]
        pub fn after(wait: Duration) -> Self {
            Self(Handle::try_current().ok().and_then(|handle| Self::on(&handle, wait).0))
        }

        /// Ends after `wait`, by the timer of this runtime.
        #[must_use]
        pub fn on(handle: &Handle, wait: Duration) -> Self {
            let _inside = handle.enter();
            // `sleep` panics in a runtime that was built without `enable_time`.
            Self(catch(|| Box::pin(sleep(wait))).ok())
        }

        /// Whether it will ever end.
        #[must_use]
        pub fn is_ticking(&self) -> bool {
            self.0.is_some()
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
        future::Future,
        pin::Pin,
        sync::OnceLock,
        task::{Context, Poll},
        time::{Duration, Instant},
    };

    /// Time stands still: what a deadline does is tested with a paused clock, not here.
    #[expect(clippy::disallowed_methods, reason = "one instant is needed to begin with")]
    pub fn now() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    /// Never ends.
    #[derive(Debug)]
    pub struct Timer;

    impl Timer {
        /// Never ends.
        pub fn after(_: Duration) -> Self {
            Self
        }
    }

    impl Future for Timer {
        type Output = ();

        fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
}
