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
/// open.
#[must_use = "a ticker does nothing unless it is polled"]
pub struct Ticker(Timekeeper);

/// Sleeps until the oldest key expires.
pub(crate) struct Timekeeper {
    desk: Arc<dyn Desk>,
    waker: Arc<AtomicWaker>,
    sleep: Option<Pin<Box<Sleep>>>,
}

// === impl Timekeeper ===

impl Timekeeper {
    pub(crate) fn new(desk: Arc<dyn Desk>, waker: Arc<AtomicWaker>) -> Self {
        Self { desk, waker, sleep: None }
    }

    /// Never ready: it goes on for as long as it is polled.
    pub(crate) fn keep_time(&mut self, cx: &mut Context<'_>) {
        // CORRECTNESS: registered before it looks, so that a key which is opened in between wakes it.
        self.waker.register(cx.waker());
        loop {
            let Some(next) = self.desk.tick(Instant::now()) else {
                self.sleep = None;
                return;
            };
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(next)));
            if sleep.deadline() != next {
                sleep.as_mut().reset(next);
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return;
            }
            // Made anew: one that has ended must not be polled again.
            self.sleep = None;
        }
    }
}

// === impl Ticker ===

impl Ticker {
    pub(crate) fn new(desk: Arc<dyn Desk>, waker: Arc<AtomicWaker>) -> Self {
        Self(Timekeeper::new(desk, waker))
    }
}

impl Future for Ticker {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.keep_time(cx);
        // CORRECTNESS: asked after the waker was registered; whoever closes the aggregator afterwards wakes it.
        if self.0.desk.is_closed() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Ticker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticker").field("sleeps", &self.0.sleep.is_some()).finish_non_exhaustive()
    }
}
