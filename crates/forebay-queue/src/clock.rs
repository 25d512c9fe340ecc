//! The clock of an age limit, and the timer of what waits for another attempt, or for the end.
//!
//! Under the model checker time stands still until a test moves it.

#[cfg(loom)]
pub use self::model::{Timer, advance, now};
#[cfg(not(loom))]
pub use self::real::{Timer, now};

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
    #[must_use]
    pub fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// A timer of tokio, made when it is first needed.
    #[derive(Default)]
    pub struct Timer(Option<Pin<Box<Sleep>>>);

    impl Timer {
        /// Ready when `due` has come; wakes the task then. Never, where there is no `due`.
        pub fn poll(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
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

#[cfg(loom)]
mod model {
    use loom::sync::Mutex;
    use std::{
        sync::OnceLock,
        task::{Context, Poll, Waker},
        time::{Duration, Instant},
    };

    loom::lazy_static! {
        static ref TIME: Mutex<Time> = Mutex::new(Time::default());
    }

    #[derive(Default)]
    struct Time {
        passed: Duration,
        /// Who is to be woken when, each by the number of its timer.
        sleepers: Vec<(u64, Duration, Waker)>,
        timers: u64,
    }

    /// Wakes whoever polled it last, at the time that was said last.
    #[derive(Debug, Default)]
    pub struct Timer(Option<u64>);

    /// Any instant would do.
    fn start() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    /// The time as the test has set it.
    #[must_use]
    pub fn now() -> Instant {
        start() + TIME.lock().unwrap().passed
    }

    /// So much later all that is due by then is woken.
    pub fn advance(by: Duration) {
        let mut time = TIME.lock().unwrap();
        time.passed += by;
        let passed = time.passed;
        let (due, sleepers) = std::mem::take(&mut time.sleepers).into_iter().partition(|(_, due, _)| *due <= passed);
        time.sleepers = sleepers;
        drop(time);
        let due: Vec<_> = due;
        due.into_iter().for_each(|(_, _, waker)| waker.wake());
    }

    impl Timer {
        /// Ready when `due` has come; wakes the task then. Never, where there is no `due`.
        pub fn poll(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
            if due.is_none() && self.0.is_none() {
                return Poll::Pending;
            }
            let mut time = TIME.lock().unwrap();
            let number = *self.0.get_or_insert_with(|| {
                time.timers += 1;
                time.timers
            });
            time.sleepers.retain(|(of, _, _)| *of != number);
            let Some(due) = due.map(|due| due.saturating_duration_since(start())) else { return Poll::Pending };
            if due <= time.passed {
                return Poll::Ready(());
            }
            time.sleepers.push((number, due, cx.waker().clone()));
            Poll::Pending
        }
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            if let Some(number) = self.0 {
                TIME.lock().unwrap().sleepers.retain(|(of, _, _)| *of != number);
            }
        }
    }
}
