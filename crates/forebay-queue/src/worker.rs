use crate::{
    Abandoned, Panicked,
    answers::{Answer, Index},
    clock::{self, Timer},
    intake::Held,
    job::{Calls, Job},
    parked::{Delays, Parked, Parking},
    shared::Discarded,
    state::Empty,
    trace,
    wait::Ticket,
    wakes::Wakes,
};
use forebay_core::{BoxError, DropReason, Fate, Seen, Settle, SettleByVerdict, Settlement, time::saturating_add};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
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
    parking: Option<Parking<T>>,
    /// A request like the one the inner service has, for another attempt.
    kept: Option<T>,
    /// The waits that an item has left that was parked before.
    delays: Option<Delays>,
    /// Where those who wait learn what became of the attempt; `None` if it is a first one.
    attempt: Option<Attempt>,
    timer: Timer,
    /// The slot of the item, from when it is taken until it is settled.
    held: Option<Held>,
    /// Empty but for a moment; kept, so that nothing is dropped on the way.
    expired: Discarded<Job<T>>,
}

/// An item in hand that was parked before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    UnderWay,
    Taken,
    Failed,
}

/// What a worker has of an item that has met its fate: that, and the answer.
type Done<Res> = Option<(Fate, Answer<Res>)>;

// === impl Worker ===

impl<T, S, Se> Worker<T, S, Se>
where
    S: Service<T>,
{
    /// Is one receiver of the queue; its maker has counted it.
    pub(crate) fn new(inner: S, shared: Arc<Calls<T, S::Response>>, settle: Se, parking: Option<Parking<T>>) -> Self {
        let hands = Hands {
            shared,
            idle: None,
            busy: None,
            next: None,
            answer: None,
            parking,
            kept: None,
            delays: None,
            attempt: None,
            timer: Timer::default(),
            held: None,
            expired: Discarded::new(),
        };
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
        let (shared, parking) = (Arc::clone(&self.hands.shared), self.hands.parking.clone());
        Self::new(self.inner.clone(), shared, self.settle.clone(), parking)
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
        for _ in 0..STEPS {
            let result = if let Some(running) = this.running.as_mut().as_pin_mut() {
                // ## Running => (Running | Idle)
                isolate(|| running.poll(cx).map(|result| Ok(result.map_err(Into::into))))
            } else if this.hands.next.is_some() {
                // ## Taken => (Taken | Running | Idle): only an item in hand makes the inner service ready, so that an
                // idle worker reserves nothing there.
                let (inner, hands, mut running) = (&mut *this.inner, &mut *this.hands, this.running.as_mut());
                isolate(|| match ready!(inner.poll_ready(cx)) {
                    Err(error) => Poll::Ready(Ok(Err(error.into()))),
                    Ok(()) => {
                        let Some(request) = hands.next.take() else { return Poll::Pending };
                        hands.kept = hands.parking.as_ref().map(|parking| parking.keep(&request));
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
            let done = this.hands.conclude(this.settle, result);
            // The inner future goes before its slot is free: in-flight work counts. A panic while it is dropped changes
            // nothing of what it has answered.
            let _dropped = isolate(|| {
                this.running.set(None);
                Poll::Ready(Ok(()))
            });
            // ## Idle => (Idle | Taken | ended)
            if !ready!(this.hands.poll_take(done, cx)) {
                return Poll::Ready(());
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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
    fn poll_take(&mut self, done: Done<Res>, cx: &mut Context<'_>) -> Poll<bool> {
        let taken = self.poll_take_once(done, cx);
        if taken.is_pending() && self.parking.is_some() { self.poll_take_parked(cx) } else { taken }
    }

    /// Nothing can be taken now: waits also for what is parked.
    #[cold]
    fn poll_take_parked(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            // CORRECTNESS: it stands in line already, so whoever parks an item after this look wakes it.
            let due = self.shared.lock().state.next_due();
            ready!(self.timer.poll(due, cx));
            if let Poll::Ready(taken) = self.poll_take_once(None, cx) {
                return Poll::Ready(taken);
            }
        }
    }

    #[inline]
    fn poll_take_once(&mut self, done: Done<Res>, cx: &Context<'_>) -> Poll<bool> {
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
        if let Some(attempt) = self.attempt.take() {
            locked.state.unparked(attempt == Attempt::Taken, &mut wakes);
        }
        let parked = if locked.state.has_parked() { locked.state.unpark(clock::now(), &mut wakes) } else { None };
        if let Some(Parked { item, held, delays }) = parked {
            locked.state.stop_waiting(&mut self.idle);
            (self.next, self.answer, self.held) = (Some(item.request), item.answer, Some(held));
            (self.delays, self.attempt) = (Some(delays), Some(Attempt::UnderWay));
            drop(locked);
            wakes.wake();
            caller.into_iter().for_each(Waker::wake);
            drop(unwanted);
            return Poll::Ready(true);
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

    /// What the result of the inner service, or the want of one, means for the item and its caller; `None` if the item
    /// waits for another attempt.
    #[inline]
    fn conclude(&mut self, settle: &impl Settle<Res>, result: Result<Result<Res, BoxError>, DropReason>) -> Done<Res> {
        let result = match result {
            Ok(result) => result,
            Err(reason) => return Some(self.lost(reason)),
        };
        let Poll::Ready(Ok(settlement)) = isolate(|| Poll::Ready(Ok(settle.settle(&result, 1)))) else {
            return Some(self.lost(DropReason::Panicked));
        };
        if self.parking.is_some() && self.waits_for(&settlement) {
            return None;
        }
        self.next = None;
        Some((settlement.fate_of_one(), result))
    }

    /// There is no result: the inner service has panicked, or was let go.
    #[cold]
    fn lost(&mut self, reason: DropReason) -> (Fate, Answer<Res>) {
        let error: BoxError = match reason {
            DropReason::Panicked => {
                trace::panicked();
                Panicked::new().into()
            }
            _ => Abandoned::new(self.seen()).into(),
        };
        self.forget(Attempt::Failed);
        self.next = None;
        (Fate::Dropped(reason), Err(error))
    }

    /// Whether the item was parked for another attempt.
    fn waits_for(&mut self, settlement: &Settlement) -> bool {
        let Settlement::Retry { after, .. } = settlement else {
            self.forget(Attempt::Taken);
            return false;
        };
        self.attempt = self.attempt.map(|_| Attempt::Failed);
        let parked = self.park(*after);
        if !parked {
            self.forget(Attempt::Failed);
        }
        parked
    }

    /// The item is done with, and so is what was kept for another attempt.
    fn forget(&mut self, attempt: Attempt) {
        self.attempt = self.attempt.map(|_| attempt);
        // A panic of a request that is dropped stays with it.
        let _dropped = isolate(|| {
            (self.kept, self.delays) = (None, None);
            Poll::Ready(Ok(()))
        });
    }

    /// Lets the item wait for another attempt; `false` if it has had all that it gets.
    fn park(&mut self, hint: Option<Duration>) -> bool {
        let Some(parking) = &self.parking else { return false };
        let mut delays = self.delays.take();
        // Code of the user, as is the iterator.
        let wait = isolate(|| Poll::Ready(Ok(delays.get_or_insert_with(|| parking.delays()).next())));
        let (Poll::Ready(Ok(Some(wait))), Some(delays)) = (wait, delays) else { return false };
        // One that was never called is still here itself.
        let (Some(request), Some(held)) = (self.kept.take().or_else(|| self.next.take()), self.held.take()) else {
            return false;
        };
        let (now, hint) = (clock::now(), hint.unwrap_or_default().min(parking.max_hint));
        let parked = Parked { item: Job { request, answer: self.answer.take() }, held, delays };
        let (mut evicted, mut wakes) = (Vec::new(), Wakes::None);
        let mut locked = self.shared.lock();
        let hint = locked.state.max_age.map_or(hint, |most| hint.min(most));
        let due = saturating_add(now, wait.max(hint));
        let refused = locked.state.park(parked, due, parking.max_bytes, &mut evicted, &mut wakes);
        drop(locked);
        wakes.wake();
        evicted.into_iter().for_each(|job| drop(self.shared.discard(job, DropReason::Evicted)));
        let Err(Parked { item, held, .. }) = refused else { return true };
        // The queue was abandoned: what it came back with is final.
        (self.answer, self.held) = (item.answer, Some(held));
        false
    }

    fn seen(&self) -> Seen {
        if self.next.is_some() { Seen::No } else { Seen::Maybe }
    }
}

impl<T, Res> Drop for Hands<T, Res> {
    fn drop(&mut self) {
        let mut lost = 0;
        if let Some(held) = self.held.take() {
            lost += 1;
            self.shared.settle(held, Fate::Dropped(DropReason::Shutdown));
            self.shared.answer(self.answer, Err(Abandoned::new(self.seen()).into()));
        }
        if self.attempt.is_some() {
            let mut wakes = Wakes::None;
            self.shared.lock().state.unparked(false, &mut wakes);
            wakes.wake();
        }
        if let Some(ticket) = self.idle {
            self.shared.stop_receiving(ticket);
        }
        if let Some(ticket) = self.busy {
            self.shared.lock().state.stop_being_busy(ticket);
        }
        let queued = self.shared.remove_receiver();
        lost += queued.len();
        for job in queued {
            drop(self.shared.discard(job, DropReason::Shutdown));
        }
        if lost > 0 {
            trace::closed(lost);
        }
    }
}
