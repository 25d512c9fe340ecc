use crate::{
    Abandoned, Panicked,
    answers::{Answer, Index},
    intake::Held,
    job::{Calls, Job},
    shared::Discarded,
    state::Empty,
    wait::Ticket,
    wakes::Wakes,
};
use forebay_core::{BoxError, DropReason, Fate, Seen, Settle, SettleByVerdict};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
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
    shared: Arc<Calls<T, Res>>,
    /// In line for an item.
    idle: Option<Ticket>,
    /// Where a worker with an item in flight hears that it is to be let go.
    busy: Option<Ticket>,
    /// Taken, and waiting for the inner service to be ready.
    next: Option<T>,
    answer: Option<Index>,
    /// The slot of the item, from when it is taken until it is settled.
    held: Option<Held>,
    /// Empty but for a moment; kept, so that nothing is dropped on the way.
    expired: Discarded<Job<T>>,
}

// === impl Worker ===

impl<T, S, Se> Worker<T, S, Se>
where
    S: Service<T>,
{
    /// Is one receiver of the queue; its maker has counted it.
    pub(crate) fn new(inner: S, shared: Arc<Calls<T, S::Response>>, settle: Se) -> Self {
        let expired = Discarded::new();
        let hands = Hands { shared, idle: None, busy: None, next: None, answer: None, held: None, expired };
        Self { inner, settle, hands, running: None }
    }
}

impl<T, S, Se> Clone for Worker<T, S, Se>
where
    S: Service<T> + Clone,
    Se: Clone,
{
    fn clone(&self) -> Self {
        self.hands.shared.add_receiver();
        Self::new(self.inner.clone(), Arc::clone(&self.hands.shared), self.settle.clone())
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
                isolate(|| running.poll(cx).map(|result| Ok(result.map_err(Into::into))))
            } else if this.hands.next.is_some() {
                // ## Taken => (Taken | Running | Idle): only an item in hand makes the inner service ready, so that an
                // idle worker reserves nothing there.
                let (inner, next, mut running) = (&mut *this.inner, &mut this.hands.next, this.running.as_mut());
                isolate(|| match ready!(inner.poll_ready(cx)) {
                    Err(error) => Poll::Ready(Ok(Err(error.into()))),
                    Ok(()) => {
                        let Some(request) = next.take() else { return Poll::Pending };
                        running.set(Some(inner.call(request)));
                        let Some(running) = running.as_mut().as_pin_mut() else { return Poll::Pending };
                        running.poll(cx).map(|result| Ok(result.map_err(Into::into)))
                    }
                })
            } else if ready!(this.hands.poll_take(None, cx)) {
                // ## Idle => (Idle | Taken | ended)
                continue;
            } else {
                return Poll::Ready(());
            };
            let result = match result {
                Poll::Ready(result) => result,
                Poll::Pending => {
                    // CORRECTNESS: registers for the end of the queue only now, when the inner service has registered
                    // for its own progress.
                    ready!(this.hands.poll_abandoned(cx));
                    Err(DropReason::Shutdown)
                }
            };
            let (fate, result) = this.hands.fate_of(this.settle, result);
            // The inner future goes before its slot is free: in-flight work counts. A panic while it is dropped changes
            // nothing of what it has answered.
            let _dropped = isolate(|| {
                this.running.set(None);
                Poll::Ready(Ok(()))
            });
            // ## Idle => (Idle | Taken | ended)
            if !ready!(this.hands.poll_take(Some((fate, result)), cx)) {
                return Poll::Ready(());
            }
        }
    }
}

/// Runs code of the inner service; a panic in it stays with the item.
#[inline]
fn isolate<R>(run: impl FnOnce() -> Poll<Result<R, DropReason>>) -> Poll<Result<R, DropReason>> {
    // What a panic leaves half done is the inner service's own state, and that of the item, which is gone. The panic
    // itself was reported by the panic hook.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(Poll::Ready(Err(DropReason::Panicked)))
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
    /// Settles and answers what is `done`, and takes the next item in hand, in one step; `false` at the end.
    #[inline]
    fn poll_take(&mut self, done: Option<(Fate, Answer<Res>)>, cx: &Context<'_>) -> Poll<bool> {
        let now = self.shared.now();
        let (mut wakes, mut caller, mut unwanted) = (Wakes::None, None, None);
        let mut locked = self.shared.lock();
        if let (Some((fate, answer)), Some(held)) = (done, self.held.take()) {
            locked.state.settle(held, fate, &mut wakes);
            if let Some(index) = self.answer.take() {
                match locked.aside.answer(index, answer) {
                    Ok(waker) => caller = waker,
                    Err(answer) => unwanted = Some(answer),
                }
            }
        }
        let taken = match locked.state.next(now, &mut self.expired, &mut wakes) {
            Some((job, held)) => {
                locked.state.stop_waiting(&mut self.idle);
                self.next = Some(job.request);
                self.answer = job.answer;
                self.held = Some(held);
                Poll::Ready(true)
            }
            None if locked.state.wait(&mut self.idle, cx.waker()) == Empty::ForNow => Poll::Pending,
            None => Poll::Ready(false),
        };
        drop(locked);
        wakes.wake();
        if let Some(caller) = caller {
            caller.wake();
        }
        // Whoever asked has gone; the fate of the item is in the ledger all the same.
        drop(unwanted);
        if !self.expired.is_empty() {
            self.discard_expired();
        }
        taken
    }

    #[cold]
    fn discard_expired(&mut self) {
        for job in self.expired.drain(..) {
            drop(self.shared.discard(job, DropReason::Expired));
        }
    }

    /// Ready when what is in flight is to be let go.
    fn poll_abandoned(&mut self, cx: &Context<'_>) -> Poll<()> {
        self.shared.poll_abandoned(cx, &mut self.busy)
    }

    /// What the result of the inner service, or the want of one, means for the item and its caller.
    #[inline]
    fn fate_of(
        &mut self,
        settle: &impl Settle<Res>,
        result: Result<Result<Res, BoxError>, DropReason>,
    ) -> (Fate, Result<Res, BoxError>) {
        let reason = match result {
            Ok(result) => match isolate(|| Poll::Ready(Ok(settle.settle(&result, 1).fate_of_one()))) {
                Poll::Ready(Ok(fate)) => {
                    self.next = None;
                    return (fate, result);
                }
                Poll::Ready(Err(_)) | Poll::Pending => DropReason::Panicked,
            },
            Err(reason) => reason,
        };
        let error: BoxError = match reason {
            DropReason::Panicked => Panicked::new().into(),
            _ => Abandoned::new(self.seen()).into(),
        };
        self.next = None;
        (Fate::Dropped(reason), Err(error))
    }

    fn seen(&self) -> Seen {
        if self.next.is_some() { Seen::No } else { Seen::Maybe }
    }
}

impl<T, Res> Drop for Hands<T, Res> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            self.shared.settle(held, Fate::Dropped(DropReason::Shutdown));
            self.shared.answer(self.answer, Err(Abandoned::new(self.seen()).into()));
        }
        if let Some(ticket) = self.idle {
            self.shared.stop_receiving(ticket);
        }
        if let Some(ticket) = self.busy {
            self.shared.lock().state.stop_being_busy(ticket);
        }
        for job in self.shared.remove_receiver() {
            drop(self.shared.discard(job, DropReason::Shutdown));
        }
    }
}
