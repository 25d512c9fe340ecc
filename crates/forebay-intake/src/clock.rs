//! The clock of age limits, and the timer of parked items, flushes and drains.
//!
//! Under the model checker time stands still until a test moves it.

#[cfg(loom)]
pub use self::model::{Timer, advance, now};
#[cfg(not(loom))]
pub use self::real::{Timer, now, within};

#[cfg(not(loom))]
mod real {
    use crate::alarm::Alarm;
    use forebay_core::{panic::catch, time::saturating_add};
    use std::{
        fmt,
        future::{Future, poll_fn},
        pin::{Pin, pin},
        task::{Context, Poll},
        time::{Duration, Instant},
    };
    use tokio::{runtime::Handle, time::Sleep};

    /// The time of tokio's clock, which tests may pause.
    #[must_use]
    pub fn now() -> Instant {
        tokio::time::Instant::now().into_std()
    }

    /// The output of `future`, or `None` if it is not ready after `wait`; with or without a runtime.
    ///
    /// # Cancellation
    ///
    /// Dropping it drops `future`.
    pub async fn within<F: Future>(wait: Duration, future: F) -> Option<F::Output> {
        let (mut future, mut timer) = (pin!(future), Timer::default());
        let due = saturating_add(now(), wait);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => timer.poll(Some(due), cx).map(|()| None),
        })
        .await
    }

    /// A timer, made when it is first needed: tokio's, or that of a thread where no runtime keeps time.
    #[derive(Default)]
    pub struct Timer(Kind);

    #[derive(Default)]
    enum Kind {
        #[default]
        None,
        Tokio(Pin<Box<Sleep>>),
        Thread(Alarm),
    }

    impl Timer {
        /// Ready at `due`, when it also wakes the task; never where there is no `due`.
        pub fn poll(&mut self, due: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
            let Some(due) = due else {
                self.0 = Kind::None;
                return Poll::Pending;
            };
            if matches!(self.0, Kind::None) {
                self.0 = Kind::new(due);
            }
            if let Kind::Tokio(sleep) = &mut self.0 {
                let at = tokio::time::Instant::from_std(due);
                // Tokio panics if the runtime of the timer has ended.
                let polled = catch(|| {
                    if sleep.deadline() != at {
                        sleep.as_mut().reset(at);
                    }
                    sleep.as_mut().poll(cx)
                });
                match polled {
                    Ok(polled) => return polled,
                    Err(_ended) => self.0 = Kind::Thread(Alarm::default()),
                }
            }
            if now() >= due {
                return Poll::Ready(());
            }
            let Kind::Thread(alarm) = &mut self.0 else { return Poll::Pending };
            // CORRECTNESS: where no thread can be started, the task polls again at once: that costs time, and loses no wake-up.
            if alarm.set(due, cx.waker()).is_err() {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        }
    }

    impl Kind {
        fn new(due: Instant) -> Self {
            if Handle::try_current().is_err() {
                return Self::Thread(Alarm::default());
            }
            // Tokio panics if the runtime was built without timers.
            match catch(|| Box::pin(tokio::time::sleep_until(due.into()))) {
                Ok(sleep) => Self::Tokio(sleep),
                Err(_untimed) => Self::Thread(Alarm::default()),
            }
        }
    }

    impl fmt::Debug for Timer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_tuple("Timer").field(&!matches!(self.0, Kind::None)).finish()
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
        /// The number of a timer, the time at which it is due, and the task to wake then.
        sleepers: Vec<(u64, Duration, Waker)>,
        timers: u64,
    }

    /// Wakes the task that polled it last, at the time that was set last; it has a number once it was polled.
    #[derive(Debug, Default)]
    pub struct Timer(Option<u64>);

    /// The instant from which the model counts; any would do.
    fn start() -> Instant {
        static START: OnceLock<Instant> = OnceLock::new();
        *START.get_or_init(Instant::now)
    }

    /// The time as the test has set it.
    #[must_use]
    pub fn now() -> Instant {
        start() + TIME.lock().unwrap().passed
    }

    /// Moves the time, and wakes every task that is due by then.
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
        /// Ready at `due`, when it also wakes the task; never where there is no `due`.
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
