//! The clock, the timer, and what is read without a lock: tokio's and arc-swap's, or those of a model.

#[cfg(any(loom, shuttle))]
pub(crate) use self::model::{Published, Timer, now};
#[cfg(not(any(loom, shuttle)))]
pub(crate) use self::real::{Published, Timer, now};

#[cfg(not(any(loom, shuttle)))]
mod real {
    use forebay_core::panic::catch;
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

    /// The time, which tests may pause.
    pub(crate) fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// Ends after a while; never, where there is no timer.
    #[derive(Debug)]
    pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

    impl Timer {
        pub(crate) fn after(wait: Duration) -> Self {
            // A runtime that was built without `enable_time` panics: the fetch goes on untimed.
            Self(Handle::try_current().ok().and_then(|_inside| catch(|| Box::pin(sleep(wait))).ok()))
        }
    }

    impl Future for Timer {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            let Some(sleep) = &mut self.0 else { return Poll::Pending };
            // A timer whose runtime has shut down panics: the fetch goes on untimed.
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
        future::Pending,
        sync::OnceLock,
        time::{Duration, Instant},
    };

    pub(crate) use forebay_core::support::lock::model::Published;

    /// Time stands still: what a deadline does is tested with a paused clock, not here.
    #[expect(clippy::disallowed_methods, reason = "one instant is needed to begin with")]
    pub(crate) fn now() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn after(_: Duration) -> Pending<()> {
            std::future::pending()
        }
    }
}
