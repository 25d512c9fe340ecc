use crate::{
    hands::{Hands, Orders},
    job::Calls,
    registration::Registration,
};
use forebay_core::{BoxError, DropReason, Settle, SettleByVerdict, panic};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};
use tower_service::Service;

pin_project! {
    /// Takes items off a queue and gives them to the inner service, one at a time; a future that ends with the queue.
    ///
    /// A clone works beside it, with a clone of the inner service.
    ///
    /// A panic of the inner service, of the settler, or of anything of the user that is dropped costs the item in hand at most;
    /// the worker goes on.
    ///
    /// CANCEL: a worker that is dropped settles the item it has in hand as dropped by shutdown, and so does the last worker
    /// with all that is queued. A drain returns them, as far as they can be recovered.
    #[must_use = "a worker does nothing unless it is polled"]
    pub struct Worker<T, S, Se = SettleByVerdict>
    where
        S: Service<T>,
    {
        inner: S,
        settle: Se,
        // Before the hands, which free the slot: in-flight work counts.
        #[pin]
        running: Option<S::Future>,
        hands: Hands<T, S::Response>,
    }
}

// === impl Worker ===

impl<T, S, Se> Worker<T, S, Se>
where
    S: Service<T>,
{
    /// Is one receiver of the queue; its maker has counted it.
    pub(crate) fn new(inner: S, shared: Arc<Calls<T, S::Response>>, settle: Se, orders: Orders<T>) -> Self {
        let hands = Hands::new(shared, orders);
        Self { inner, settle, hands, running: None }
    }
}

impl<T, S, Se> Clone for Worker<T, S, Se>
where
    S: Service<T> + Clone,
    Se: Clone,
{
    fn clone(&self) -> Self {
        let (shared, orders) = (Arc::clone(&self.hands.shared), self.hands.orders.clone());
        let (inner, settle) = (self.inner.clone(), self.settle.clone());
        // Only now, as the code of the user above may panic.
        shared.add_receiver();
        Self::new(inner, shared, settle, orders)
    }
}

impl<T, S, Se> Future for Worker<T, S, Se>
where
    S: Service<T>,
    S::Error: Into<BoxError>,
    Se: Settle<S::Response>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        /// Steps in one poll, so that a queue that never empties does not keep other tasks waiting.
        const STEPS: usize = 128;

        let mut this = self.project();
        let mut registration = Registration::without_clone(cx.waker());
        // Whether the item in hand was taken in this poll.
        let mut just_taken = false;
        for _ in 0..STEPS {
            let result = if let Some(running) = this.running.as_mut().as_pin_mut() {
                // ## Running => (Running | Idle)
                isolate(|| running.poll(cx).map(|result| result.map_err(Into::into)))
            } else if !just_taken && this.hands.is_cancelled() {
                // ## Taken => Idle: its caller has gone while it waited for the inner service to be ready.
                Poll::Ready(Err(DropReason::Cancelled))
            } else if this.hands.next.is_some() {
                // ## Taken => (Taken | Running | Idle): only an item in hand makes the inner service ready, so that an
                // idle worker reserves nothing there.
                let (inner, hands, mut running) = (&mut *this.inner, &mut *this.hands, this.running.as_mut());
                isolate(|| match ready!(inner.poll_ready(cx)) {
                    Err(error) => Poll::Ready(Err(error.into())),
                    Ok(()) => {
                        let Some(request) = hands.next.take() else { return Poll::Pending };
                        hands.kept = hands.orders.parking.as_ref().map(|parking| parking.keep(&request));
                        running.set(Some(inner.call(request)));
                        let Some(running) = running.as_mut().as_pin_mut() else { return Poll::Pending };
                        running.poll(cx).map(|result| result.map_err(Into::into))
                    }
                })
            } else if ready!(this.hands.poll_take(None, cx, &mut registration)) {
                // ## Idle => (Idle | Taken | ended)
                just_taken = true;
                continue;
            } else {
                return Poll::Ready(());
            };
            let result = match result {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    // CORRECTNESS: registers for the end of the queue only now, when the inner service has registered
                    // for its own progress.
                    ready!(this.hands.poll_abandoned(&mut registration));
                    Err(DropReason::Shutdown)
                }
            };
            let done = this.hands.conclude(this.settle, result);
            // The inner future goes before its slot is free: in-flight work counts. A panic while it is dropped changes
            // nothing of what it has answered.
            panic::discard_pinned(this.running.as_mut());
            // ## Idle => (Idle | Taken | ended)
            if !ready!(this.hands.poll_take(done, cx, &mut registration)) {
                return Poll::Ready(());
            }
            just_taken = true;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Runs code of the inner service; a panic in it stays with the item.
#[inline]
fn isolate<R>(run: impl FnOnce() -> Poll<R>) -> Poll<Result<R, DropReason>> {
    // What a panic leaves half done is the inner service's own state, and that of the item, which is gone.
    match panic::catch(run) {
        Ok(polled) => polled.map(Ok),
        Err(_reported) => Poll::Ready(Err(DropReason::Panicked)),
    }
}

impl<T, S, Se> fmt::Debug for Worker<T, S, Se>
where
    S: Service<T>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("busy", &self.hands.held.is_some()).finish_non_exhaustive()
    }
}
