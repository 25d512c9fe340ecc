//! The clock of an age limit, and the timer of what waits for another attempt.

#[cfg(loom)]
pub(crate) use self::model::{Timer, now};
#[cfg(not(loom))]
pub(crate) use self::real::{Timer, now};

#[cfg(not(loom))]
mod real {
    use std::{
        fmt,
        future::Future,
        pin::Pin,
        task::{Context, Poll},
        time::Instant,
    };
    use tokio::time::Sleep;

    /// The time, which tests may pause.
    #[expect(clippy::unnecessary_wraps, reason = "the model checker has no clock")]
    pub(crate) fn now() -> Option<Instant> {
        Some(tokio::time::Instant::now().into_std())
    }

    /// Made when it is first needed.
    #[derive(Default)]
    pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

    impl Timer {
        /// Ready when `due` has come; wakes the task then. Never, where there is no `due`.
        pub(crate) fn poll(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
            let Some(due) = due.map(tokio::time::Instant::from_std) else {
                self.0 = None;
                return Poll::Pending;
            };
            let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            if sleep.deadline() != due {
                sleep.as_mut().reset(due);
            }
            sleep.as_mut().poll(cx)
        }
    }

    impl fmt::Debug for Timer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("Timer").field(&self.0.is_some()).finish()
        }
    }
}

/// The model checker has no clock: nothing grows old under it, and nothing is ever due.
#[cfg(loom)]
mod model {
    use std::{
        task::{Context, Poll},
        time::Instant,
    };

    pub(crate) fn now() -> Option<Instant> {
        None
    }

    #[derive(Debug, Default)]
    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn poll(&mut self, _: Option<Instant>, _: &mut Context<'_>) -> Poll<()> {
            Poll::Pending
        }
    }
}
