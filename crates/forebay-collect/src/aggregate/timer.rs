use super::shared::AggregatorControl;
use futures_util::task::AtomicWaker;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// A future that ends keys when they expire, and completes when the aggregator is closed.
///
/// Without it keys expire when the next event arrives. It needs a tokio runtime with a timer. No timer runs while no key is
/// open. Of several tickers of one aggregator the one that was polled last is woken.
///
/// # Cancellation
///
/// Its drop changes nothing; [`Aggregator::ticker`](crate::Aggregator::ticker) makes another one.
#[must_use = "a ticker does nothing unless it is polled"]
pub struct Ticker {
    control: Arc<dyn AggregatorControl>,
    waker: Arc<AtomicWaker>,
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Ticker ===

impl Ticker {
    pub(crate) fn new(control: Arc<dyn AggregatorControl>, waker: Arc<AtomicWaker>) -> Self {
        Self { control, waker, sleep: None }
    }
}

impl Future for Ticker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // CORRECTNESS: the waker is registered before the table is read, so that a key which is opened in between, or a close,
        // wakes this task.
        this.waker.register(cx.waker());
        loop {
            if this.control.is_closed() {
                return Poll::Ready(());
            }
            let Some(next) = this.control.tick(Instant::now()) else {
                this.sleep = None;
                return Poll::Pending;
            };
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if sleep.deadline() != next {
                sleep.as_mut().reset(next);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            // A timer that has ended must not be polled again, so the next pass makes a new one.
            this.sleep = None;
        }
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").field("sleeps", &self.sleep.is_some()).finish_non_exhaustive()
    }
}
