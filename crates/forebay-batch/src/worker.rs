use crate::{
    IntoRequest, NotReady, Respond,
    in_flight::{Completed, InFlight},
    limit::InFlightLimit,
    next::{Look, Next, Rest, earlier},
    pending::PendingBatch,
    scheduler::{Dropped, Scheduler},
    settle::Settler,
    shared::Sealed,
    spooling::Spooling,
};
use forebay_core::{BoxError, DropReason, Settle, panic, time::saturating_add};
use forebay_intake::{Abandoned, Evicted, Timer, now};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::{
    fmt,
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};
use tower_service::Service;

/// Sends the batches of a [`Batch`](crate::Batch): a future that ends when the last handle is dropped and everything is sent.
///
/// It may be spawned on any tokio runtime that has its timer enabled, or polled by hand. While there is nothing to do, it
/// is not woken and no timer runs.
///
/// CANCEL: a worker that is dropped counts all that it and the batcher hold as dropped by shutdown, and the callers get an
/// [`Abandoned`](crate::Abandoned).
#[must_use = "a worker does nothing unless it is polled"]
pub struct Worker<T, S, Se, P, R>
where
    S: Service<P::Request>,
    P: IntoRequest<T>,
    R: Respond<S::Response>,
{
    inner: S,
    into_request: P,
    pub(crate) settler: Settler<T, Se, R, R::Reply>,
    pub(crate) scheduler: Scheduler<T, R::Reply>,
    pub(crate) state: State<T, R::Reply>,
    /// The batches that are with the inner service.
    pub(crate) in_flight: FuturesUnordered<InFlight<S::Future, T, R::Reply>>,
    /// How many of them there may be.
    limit: InFlightLimit,
    /// The batches that are on their way into a spool.
    pub(crate) spooling: Spooling<T, R::Reply>,
    /// How long the inner service may keep one batch waiting for its readiness.
    ready_timeout: Duration,
    timer: Timer,
}

/// What the worker does now, beside the batches that are in flight.
#[expect(clippy::large_enum_variant, reason = "a worker has one, and a box would be an allocation for each batch")]
pub(crate) enum State<T, A> {
    /// It has no batch to send.
    Idle,
    /// It holds a batch and waits for the inner service to be ready, at most until `give_up`.
    Readying { batch: PendingBatch<T, A>, give_up: Instant },
}

/// What one look at everything has led to.
pub(crate) enum Progress {
    /// Something was sent or settled: the worker looks again.
    Made,
    /// There is nothing to do before this instant, or before the worker is woken.
    Waits(Option<Instant>),
    /// There is nothing to do ever again.
    Ended,
}

// === impl Worker ===

impl<T, S, Se, P, R> Worker<T, S, Se, P, R>
where
    S: Service<P::Request>,
    P: IntoRequest<T>,
    R: Respond<S::Response>,
{
    pub(crate) fn new(
        inner: S,
        into_request: P,
        settler: Settler<T, Se, R, R::Reply>,
        scheduler: Scheduler<T, R::Reply>,
        limit: InFlightLimit,
        spooling: Spooling<T, R::Reply>,
        ready_timeout: Duration,
    ) -> Self {
        let (state, in_flight, timer) = (State::Idle, FuturesUnordered::new(), Timer::default());
        Self { inner, into_request, settler, scheduler, state, in_flight, limit, spooling, ready_timeout, timer }
    }

    /// Looks at everything once: what has come back, what may be sent, what is due.
    fn look(&mut self, now: Instant, cx: &mut Context<'_>) -> Progress
    where
        S::Error: Into<BoxError>,
        Se: Settle<S::Response>,
    {
        let look = &mut self.settler.shared.look(now, &mut self.limit);
        // ## in flight => (settled | parked | split): `settle.rs` says which.
        // CORRECTNESS: polled until it is pending or empty, so that each batch in flight has registered this task.
        while let Poll::Ready(Some(completed)) = self.in_flight.poll_next_unpin(cx) {
            if let Some(completed) = completed {
                self.settler.complete(completed, &mut self.scheduler, look);
            }
        }
        self.settle_dropped();
        if self.spooling.is_on() {
            self.spool(now, cx);
        }
        // What has come back may have moved the limit.
        look.in_flight = self.limit.in_force(look.batching.in_flight(), now);
        let look = &*look;
        let has_room = self.in_flight.len() < look.in_flight;
        let (mut batch, give_up) = match mem::replace(&mut self.state, State::Idle) {
            // ## Idle => (Readying | Idle | ended)
            State::Idle if has_room => match self.next(look, cx.waker()) {
                Next::Send(batch) => (batch, saturating_add(now, self.ready_timeout)),
                Next::Rest(rest) => return self.rest(rest, None),
            },
            // ## Readying => (Readying | Idle): callers may have dropped their futures meanwhile, or it is too late for items.
            State::Readying { batch, give_up } if has_room => match self.without_unwanted(batch, now) {
                Some(batch) => (batch, give_up),
                None => return Progress::Made,
            },
            // ## (Idle | Readying) => (the same | ended): as many are in flight as may be.
            state @ (State::Idle | State::Readying { .. }) => {
                self.state = state;
                return self.watch(look, None, cx.waker());
            }
        };
        // CORRECTNESS: the instance that was polled ready is the one that is called; nothing awaits in between.
        let result = match panic::catch(|| self.inner.poll_ready(cx).map_err(Into::into)) {
            // ## Readying => Readying
            Ok(Poll::Pending) if now < give_up => {
                let late = batch.deadline.filter(|deadline| *deadline > now);
                self.state = State::Readying { batch, give_up };
                // CORRECTNESS: the inner service has registered this task; an abort or a discard has to reach it as well.
                return self.watch(look, earlier(Some(give_up), late), cx.waker());
            }
            // ## Readying => (in flight | Idle)
            Ok(Poll::Ready(Ok(()))) => match self.call(&mut batch) {
                Ok(future) => {
                    self.in_flight.push(InFlight::new(future, batch, self.limit.start(now)));
                    return Progress::Made;
                }
                Err(reason) => Err(reason),
            },
            // ## Readying => Idle: the batch has failed without being sent.
            failed => {
                self.scheduler.sent(&mut batch);
                match failed {
                    Ok(Poll::Ready(Err(error))) => Ok(Err(error)),
                    Ok(_) => Ok(Err(NotReady::new().into())),
                    Err(_reported) => Err(DropReason::Panicked),
                }
            }
        };
        self.settler.complete(Completed { batch, result, attempt: None }, &mut self.scheduler, look);
        self.settle_dropped();
        Progress::Made
    }

    /// Calls the inner service, which is ready.
    fn call(&mut self, batch: &mut PendingBatch<T, R::Reply>) -> Result<S::Future, DropReason> {
        let items = if P::RETAINS { batch.items.clone() } else { batch.items.take() };
        self.scheduler.sent(batch);
        // A batch has its items until it is sent.
        let items = items.ok_or(DropReason::Failed)?;
        let (inner, into_request) = (&mut self.inner, &self.into_request);
        panic::catch(|| inner.call(into_request.request(items))).map_err(|_reported| DropReason::Panicked)
    }

    /// The batch that the scheduler sends next.
    fn next(&mut self, look: &Look, waker: &Waker) -> Next<T, R::Reply> {
        let next = self.scheduler.next(look, &mut Sealed::new(&self.settler.shared, waker));
        self.settle_dropped();
        next
    }

    /// Watches for what has to be seen while no batch may be sent, at the latest until `give_up`.
    fn watch(&mut self, look: &Look, give_up: Option<Instant>, waker: &Waker) -> Progress {
        let rest = self.scheduler.watch(look, &mut Sealed::new(&self.settler.shared, waker));
        self.settle_dropped();
        self.rest(rest, give_up)
    }

    fn rest(&mut self, rest: Rest, give_up: Option<Instant>) -> Progress {
        match rest {
            Rest::Wait(due) => Progress::Waits(earlier(due, give_up)),
            Rest::End if self.in_flight.is_empty() && self.spooling.is_empty() => Progress::Ended,
            Rest::End => Progress::Waits(None),
            Rest::Abort => self.give_up_all(),
            Rest::Discard(reason) => self.discard(reason),
        }
    }

    fn without_unwanted(
        &mut self,
        batch: PendingBatch<T, R::Reply>,
        now: Instant,
    ) -> Option<PendingBatch<T, R::Reply>> {
        let batch = self.scheduler.without_unwanted(batch, now);
        self.settle_dropped();
        batch
    }

    /// Settles what the scheduler has dropped on the way, or gives it to the spool.
    fn settle_dropped(&mut self) {
        let dropped = self.spooling.take(self.scheduler.take_dropped());
        self.settler.drop_all::<S::Response>(dropped);
    }

    /// Settles what was spooled, and spools what there is no room or no time for.
    fn spool(&mut self, now: Instant, cx: &mut Context<'_>) {
        // ## spooling => settled
        while let Poll::Ready(Some(spooled)) = self.spooling.poll_next(cx) {
            self.settler.spooled::<S::Response>(spooled);
        }
        let shared = Arc::clone(&self.settler.shared);
        // ## (queued | Readying | in flight | parked) => spooling: a shutdown has no time left for them.
        if shared.spools_rest() {
            let all = self.take_all().into_iter().chain(Sealed::new(&shared, cx.waker()).take_all(now));
            for batch in all {
                let error = Abandoned::new(batch.seen()).into();
                self.spooling.push(Dropped::undelivered(batch, DropReason::Shutdown, error));
            }
            return;
        }
        // ## queued => spooling: the queue fills faster than the server takes.
        while self.spooling.has_room() {
            let held = self.spooling.held();
            let Some(batch) = Sealed::new(&shared, cx.waker()).spill(held, now) else { break };
            let error = Evicted::new().into();
            self.spooling.push(Dropped::undelivered(batch, DropReason::Full, error));
        }
    }
}

impl<T, S, Se, P, R> Future for Worker<T, S, Se, P, R>
where
    S: Service<P::Request>,
    S::Error: Into<BoxError>,
    Se: Settle<S::Response>,
    P: IntoRequest<T>,
    R: Respond<S::Response>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        /// How many looks one poll takes at most, so that a service that is always ready does not starve other tasks.
        const LOOKS: usize = 64;

        let this = self.get_mut();
        for _ in 0..LOOKS {
            // User code is guarded where it runs. A panic that was missed there has dropped the batch in hand, which has settled
            // itself; the worker goes on with the next one.
            let progress = panic::catch(|| this.look(now(), cx)).unwrap_or_else(|_reported| {
                let in_flight: Vec<_> = Pin::new(&this.in_flight).iter_pin_ref().filter_map(InFlight::batch).collect();
                this.scheduler.recount(&in_flight);
                Progress::Made
            });
            match progress {
                // CORRECTNESS: a write that was not polled has registered no task.
                Progress::Waits(_) if this.spooling.has_new() => {}
                Progress::Made => {}
                Progress::Ended => return Poll::Ready(()),
                Progress::Waits(due) => {
                    // CORRECTNESS: armed again whenever the instant has changed, and pending only once it has registered.
                    if this.timer.poll(due, cx).is_pending() {
                        return Poll::Pending;
                    }
                }
            }
        }
        // CORRECTNESS: there may be more to do, so the worker wakes itself before it gives the thread to other tasks.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

// Nothing in it is pinned: the inner service is called where it is, and its futures are pinned by their set.
impl<T, S, Se, P, R> Unpin for Worker<T, S, Se, P, R>
where
    S: Service<P::Request>,
    P: IntoRequest<T>,
    R: Respond<S::Response>,
{
}

impl<T, S, Se, P, R> fmt::Debug for Worker<T, S, Se, P, R>
where
    S: Service<P::Request>,
    P: IntoRequest<T>,
    R: Respond<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("in_flight", &self.in_flight.len()).finish_non_exhaustive()
    }
}
