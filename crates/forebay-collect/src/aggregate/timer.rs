use super::shared::Desk;
use futures_util::task::AtomicWaker;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tokio::time::{Instant, Sleep, sleep_until};

/// Ends keys when they expire; a future that ends when the aggregator is closed.
///
/// Without it keys expire when the next event comes. It needs a tokio runtime with a timer. No timer runs while no key is
/// open. Of several tickers of one aggregator the one that was polled last does the work.
///
/// Dropping it leaves everything as it is; [`Aggregator::ticker`](crate::Aggregator::ticker) makes another one.
#[must_use = "a ticker does nothing unless it is polled"]
pub struct Ticker {
    desk: Arc<dyn Desk>,
    waker: Arc<AtomicWaker>,
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Ticker ===

impl Ticker {
    pub(crate) fn new(desk: Arc<dyn Desk>, waker: Arc<AtomicWaker>) -> Self {
        Self { desk, waker, sleep: None }
    }
}

impl Future for Ticker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // CORRECTNESS: registered before it looks, so that a key which is opened in between, and whoever closes the
        // aggregator, wakes it.
        this.waker.register(cx.waker());
        loop {
            if this.desk.is_closed() {
                return Poll::Ready(());
            }
            let Some(next) = this.desk.tick(Instant::now()) else {
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
            // Made anew: one that has ended must not be polled again.
            this.sleep = None;
        }
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").field("sleeps", &self.sleep.is_some()).finish_non_exhaustive()
    }
}
