use crate::{Abandoned, Evicted, Expired, Panicked, Receiver, future::Reply, shared::Discarded, state::Held};
use forebay_core::{BoxError, DropReason, Fate, Seen, Settle, SettleByVerdict};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll, ready},
};
use tower_service::Service;

/// A request in a [`Queue`](crate::Queue), and where its answer goes.
///
/// It is opaque; a drained queue hands the request back with [`into_request`](Self::into_request).
pub struct Job<T, Res> {
    pub(crate) request: T,
    pub(crate) reply: Option<Reply<Res>>,
}

pin_project! {
    /// Takes items off a queue and gives them to the inner service, one at a time; a future that ends with the queue.
    ///
    /// A clone works beside it, with a clone of the inner service.
    ///
    /// A panic of the inner service costs the item it had in its hands; the worker goes on. CANCEL: a worker that is
    /// dropped settles the item it has in its hands as dropped by shutdown, and so does the last worker with all that is
    /// queued.
    #[must_use = "a worker does nothing unless it is polled"]
    pub struct Worker<T, S, Se = SettleByVerdict>
    where
        S: Service<T>,
    {
        inner: S,
        settle: Se,
        hands: Hands<T, S::Response>,
        #[pin]
        running: Option<S::Future>,
    }
}

/// The end of the queue, and the item that was taken off it.
struct Hands<T, Res> {
    receiver: Receiver<Job<T, Res>>,
    /// Taken, and waiting for the inner service to be ready.
    next: Option<T>,
    reply: Option<Reply<Res>>,
    /// The slot of the item, from when it is taken until it is settled.
    held: Option<Held>,
}

// === impl Job ===

impl<T, Res> Job<T, Res> {
    /// The request, as it was offered. Whoever waits for its answer gets the error [`Abandoned`].
    #[must_use]
    pub fn into_request(self) -> T {
        self.request
    }

    /// The item leaves without having been worked off, and its fate is in the ledger: its caller must know.
    pub(crate) fn discard(self, reason: DropReason) {
        let error: BoxError = match reason {
            DropReason::Evicted => Evicted::new().into(),
            DropReason::Expired => Expired::new().into(),
            _ => Abandoned::new(Seen::No).into(),
        };
        answer(self.reply, Err(error));
    }
}

impl<T: fmt::Debug, Res> fmt::Debug for Job<T, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.request).finish()
    }
}

fn answer<Res>(reply: Option<Reply<Res>>, result: Result<Res, BoxError>) {
    if let Some(reply) = reply {
        // Whoever asked may have gone; the item's fate is in the ledger all the same.
        drop(reply.send(result));
    }
}

// === impl Worker ===

impl<T, S, Se> Worker<T, S, Se>
where
    S: Service<T>,
{
    pub(crate) fn new(inner: S, receiver: Receiver<Job<T, S::Response>>, settle: Se) -> Self {
        let hands = Hands { receiver, next: None, reply: None, held: None };
        Self { inner, settle, hands, running: None }
    }
}

impl<T, S, Se> Clone for Worker<T, S, Se>
where
    S: Service<T> + Clone,
    Se: Clone,
{
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.hands.receiver.clone(), self.settle.clone())
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
        let mut this = self.project();
        loop {
            let result = if let Some(running) = this.running.as_mut().as_pin_mut() {
                // ## Running => (Running | Idle)
                match isolate(|| running.poll(cx)) {
                    Ok(Poll::Ready(result)) => Ok(result.map_err(Into::into)),
                    Ok(Poll::Pending) => {
                        // CORRECTNESS: registers for the end of the queue only now, when the inner future has
                        // registered for its own progress.
                        ready!(this.hands.poll_abandoned(cx));
                        Err(DropReason::Shutdown)
                    }
                    Err(panicked) => Err(panicked),
                }
            } else if this.hands.next.is_some() {
                // ## Taken => (Taken | Running | Idle): only an item in hand makes the inner service ready, so that an
                // idle worker reserves nothing there.
                match isolate(|| this.inner.poll_ready(cx)) {
                    Ok(Poll::Ready(Ok(()))) => {
                        let Some(request) = this.hands.next.take() else { continue };
                        match isolate(|| this.inner.call(request)) {
                            Ok(running) => {
                                this.running.set(Some(running));
                                continue;
                            }
                            Err(panicked) => Err(panicked),
                        }
                    }
                    Ok(Poll::Ready(Err(error))) => Ok(Err(error.into())),
                    Ok(Poll::Pending) => {
                        ready!(this.hands.poll_abandoned(cx));
                        Err(DropReason::Shutdown)
                    }
                    Err(panicked) => Err(panicked),
                }
            } else if ready!(this.hands.poll_take(cx)) {
                // ## Idle => (Idle | Taken | ended)
                continue;
            } else {
                return Poll::Ready(());
            };
            // The inner future goes before its slot is free: in-flight work counts.
            if isolate(|| this.running.set(None)).is_err() {
                // It panicked while it was dropped; what it answered before still counts.
            }
            this.hands.finish(this.settle, result);
        }
    }
}

/// Runs code of the inner service; a panic in it stays with the item.
fn isolate<R>(run: impl FnOnce() -> R) -> Result<R, DropReason> {
    // What a panic leaves half done is the inner service's own state, and that of the item, which is gone.
    catch_unwind(AssertUnwindSafe(run)).map_err(|_reported_by_the_panic_hook| DropReason::Panicked)
}

impl<T, S, Se> fmt::Debug for Worker<T, S, Se>
where
    S: Service<T>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("busy", &self.hands.held.is_some()).finish_non_exhaustive()
    }
}

// === impl Hands ===

impl<T, Res> Hands<T, Res> {
    /// Takes the next item in hand; `false` at the end of the queue.
    fn poll_take(&mut self, cx: &Context<'_>) -> Poll<bool> {
        let mut expired = Discarded::new();
        let next = self.receiver.poll_next(cx, &mut expired);
        expired.into_iter().for_each(|job| job.discard(DropReason::Expired));
        let Some((job, held)) = ready!(next) else {
            return Poll::Ready(false);
        };
        self.next = Some(job.request);
        self.reply = job.reply;
        self.held = Some(held);
        Poll::Ready(true)
    }

    /// Ready when what is in flight is to be let go.
    fn poll_abandoned(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.receiver.poll_abandoned(cx)
    }

    /// The item has met its fate: first the ledger learns it, then the caller.
    fn finish(&mut self, settle: &impl Settle<Res>, result: Result<Result<Res, BoxError>, DropReason>) {
        let settled = result.and_then(|result| {
            let fate = isolate(|| settle.settle(&result, 1).fate_of_one())?;
            Ok((fate, result))
        });
        let (fate, result) = settled.unwrap_or_else(|reason| {
            let error: BoxError = match reason {
                DropReason::Panicked => Panicked::new().into(),
                _ => Abandoned::new(self.seen()).into(),
            };
            (Fate::Dropped(reason), Err(error))
        });
        self.next = None;
        if let Some(held) = self.held.take() {
            self.receiver.settle(held, fate);
        }
        answer(self.reply.take(), result);
    }

    fn seen(&self) -> Seen {
        if self.next.is_some() { Seen::No } else { Seen::Maybe }
    }
}

impl<T, Res> Drop for Hands<T, Res> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.receiver.settle(held, Fate::Dropped(DropReason::Shutdown));
            answer(self.reply.take(), Err(Abandoned::new(self.seen()).into()));
        }
        self.receiver.leave().into_iter().for_each(|job| job.discard(DropReason::Shutdown));
    }
}
