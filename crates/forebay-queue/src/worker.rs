use crate::{
    call::CallQueue,
    in_hand::{Done, InHand, Item},
    parked::Parking,
    pass::Pass,
    receive::{CallReceiver, Next, Orders, Rest},
};
use forebay_core::{BoxError, DropReason, Settle, SettleByVerdict, panic};
use forebay_intake::{Registration, Ticket, now};
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
    /// A panic of the inner service, of the settler, or of any user value that is dropped costs the item in hand at most;
    /// the worker goes on.
    ///
    /// CANCEL: a worker that is dropped settles the item it has in hand as dropped by shutdown, and so does the last worker
    /// with all that is queued. A drain returns them, as far as they can be recovered.
    #[must_use = "a worker does nothing unless it is polled"]
    #[project = WorkerProj]
    pub struct Worker<T, S, Se = SettleByVerdict>
    where
        S: Service<T>,
    {
        inner: S,
        settle: Se,
        receiver: CallReceiver<T, S::Response>,
        // Says whether it may take an item.
        pass: Pass,
        #[pin]
        state: WorkerState<T, S::Future>,
    }

    impl<T, S, Se> PinnedDrop for Worker<T, S, Se>
    where
        S: Service<T>,
    {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            match this.state.project() {
                StateProj::Idle { waiter } => this.receiver.leave(waiter.take(), None),
                // CORRECTNESS: the item has no fate yet. From where its fate is counted to where the state is set again, no user code
                // runs outside of a catch, so that no panic leaves a counted item here.
                StateProj::Busy { item, stage } => {
                    let done = Done::without_result(DropReason::Shutdown, stage.take(), item);
                    this.receiver.leave(None, Some((item, done)));
                }
            }
        }
    }
}

pin_project! {
    /// What a worker does.
    #[project = StateProj]
    enum WorkerState<T, F> {
        /// Waits for an item, in line if it has looked for one.
        Idle { waiter: Option<Ticket> },
        /// Has an item in hand, which stays in its place until it has its fate.
        Busy { item: Item, #[pin] stage: Stage<T, F> },
    }
}

pin_project! {
    /// How far the inner service is with the item in hand.
    #[project = StageProj]
    #[project_replace = StageOwned]
    enum Stage<T, F> {
        /// It is not ready yet, and has not got the request.
        Ready { request: T },
        /// It was called. A copy is kept where the queue parks.
        Called { copy: Option<T> },
        /// It works on the request.
        Running { #[pin] future: F, copy: Option<T> },
    }
}

// === impl Worker ===

impl<T, S, Se> Worker<T, S, Se>
where
    S: Service<T>,
{
    /// Is one receiver of the queue; its maker has counted it.
    pub(crate) fn new(inner: S, shared: Arc<CallQueue<T, S::Response>>, settle: Se, orders: Orders<T>) -> Self {
        let pass = Pass::new(orders.gate.as_ref());
        Self { inner, settle, receiver: CallReceiver::new(shared, orders), pass, state: WorkerState::IDLE }
    }
}

#[cfg(not(loom))]
impl<T, S, Se> Worker<T, S, Se>
where
    T: Send + 'static,
    S: Service<T> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Into<BoxError>,
    S::Future: Send,
    Se: Settle<S::Response> + Clone + Send + 'static,
{
    /// Spawns so many workers on the runtime of the thread, this one among them.
    pub(crate) fn spawn(self, workers: usize) {
        // They end by themselves when the last queue is dropped, and settle what they hold when they are aborted.
        for _ in 1..workers {
            drop(tokio::spawn(self.clone()));
        }
        drop(tokio::spawn(self));
    }
}

impl<T, S, Se> Clone for Worker<T, S, Se>
where
    S: Service<T> + Clone,
    Se: Clone,
{
    fn clone(&self) -> Self {
        let (shared, orders) = (Arc::clone(&self.receiver.shared), self.receiver.orders.clone());
        let (inner, settle) = (self.inner.clone(), self.settle.clone());
        // Counted only now, as the user code above may panic.
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
        /// Items in one poll, so that a queue that never empties does not keep other tasks waiting.
        const STEPS: u32 = 128;

        let mut this = self.project();
        let mut registration = Registration::without_clone(cx.waker());
        let (mut waiter, mut done) = match this.state.as_mut().project() {
            // ## Idle => (Idle | Busy | ended)
            StateProj::Idle { waiter } => (waiter.take(), None),
            // ## Busy => Idle: the caller has left while the item waited for the inner service to be ready.
            StateProj::Busy { item, stage } if stage.unsent().is_some() && this.receiver.is_cancelled(item) => {
                this.receiver.lose(DropReason::Cancelled, stage.take(), item);
                this.state.set(WorkerState::IDLE);
                (None, None)
            }
            // ## Busy => (Busy | Idle | ended)
            StateProj::Busy { .. } => (None, ready!(this.work(cx, &mut registration))),
        };
        let mut steps = 0;
        loop {
            steps += 1;
            if this.pass.is_limited() {
                ready!(this.pass(cx, &mut waiter, &mut done));
            }
            // The item stays in the state until the ledger has its fate: carried along, it would be copied with each step, and each
            // copy waits for the one before (`rivals --area queue`, a call through: 258 ns in place, 287 ns carried, 2026-11-30).
            let ended = match this.state.as_mut().project() {
                StateProj::Busy { item, .. } => done.take().map(|done| (&*item, done)),
                StateProj::Idle { .. } => None,
            };
            match this.receiver.next(waiter.take(), ended, &mut registration) {
                Next::Item(request, item) => {
                    this.state.set(WorkerState::Busy { item, stage: Stage::Ready { request } });
                    if steps >= STEPS {
                        break;
                    }
                    // An item that is taken is started in the same step.
                    done = ready!(this.work(cx, &mut registration));
                }
                Next::Rest(rest) => {
                    this.state.set(WorkerState::IDLE);
                    match rest {
                        Rest::Skipped if steps < STEPS => {}
                        Rest::Skipped => break,
                        Rest::Wait(ticket) if this.receiver.is_due(cx) => waiter = Some(ticket),
                        Rest::Wait(ticket) => {
                            this.state.set(WorkerState::Idle { waiter: Some(ticket) });
                            return Poll::Pending;
                        }
                        Rest::End => return Poll::Ready(()),
                    }
                }
            }
        }
        // The worker stays runnable: its executor polls it again after the tasks that have waited meanwhile.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<T, S, Se> WorkerProj<'_, T, S, Se>
where
    S: Service<T>,
    S::Error: Into<BoxError>,
    Se: Settle<S::Response>,
{
    /// Ready when the worker may take an item. If it may not, what is `done` ends by itself, and the worker waits in line no longer.
    #[cold]
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        waiter: &mut Option<Ticket>,
        done: &mut Option<Done<T, S::Response>>,
    ) -> Poll<()> {
        if self.pass.is_withdrawn() {
            if let (StateProj::Busy { item, .. }, Some(done)) = (self.state.as_mut().project(), done.take()) {
                self.receiver.finish(item, done);
            }
            self.state.set(WorkerState::IDLE);
            if let Some(ticket) = waiter.take() {
                self.receiver.leave_line(ticket);
            }
        }
        self.pass.poll(cx)
    }

    /// Goes on with the item in hand. `Ready` has its end, which the item waits for in its place; or `None` if it is parked or
    /// has ended already, and leaves an idle worker.
    #[inline(always)]
    fn work(
        &mut self,
        cx: &mut Context<'_>,
        registration: &mut Registration<'_>,
    ) -> Poll<Option<Done<T, S::Response>>> {
        let StateProj::Busy { item, mut stage } = self.state.as_mut().project() else {
            debug_assert!(false, "an idle worker has no item to work on");
            return Poll::Ready(None);
        };
        let too_late = stage.unsent().is_some_and(|request| self.receiver.is_too_late(request));
        let (inner, parking) = (&mut *self.inner, self.receiver.orders.parking.as_ref());
        let begins = (self.pass.is_limited() && stage.unsent().is_some()).then(now);
        let polled =
            if too_late { Ok(Poll::Pending) } else { panic::catch(|| stage.as_mut().poll(inner, parking, cx)) };
        if let Some(began) = begins.filter(|_| stage.unsent().is_none()) {
            self.pass.start(began);
        }
        // CORRECTNESS: a timer is set only where the inner service has registered for its own progress, or will not be called.
        let expires = match (&polled, stage.unsent()) {
            (Ok(Poll::Pending), Some(request)) => too_late || self.receiver.poll_deadline(request, cx).is_ready(),
            _ => false,
        };
        if let (Ok(Poll::Pending), false) = (&polled, expires) {
            ready!(self.receiver.poll_abandoned(registration));
        }
        // CORRECTNESS: the waker is cloned, and retired ones are dropped, while the state still has the item: a waker that
        // panics then takes no item along without a fate.
        registration.prepare();
        let request = stage.take();
        let lost = match polled {
            Ok(Poll::Ready(result)) => {
                match self.receiver.conclude(&self.pass.settling(self.settle), result, request, item) {
                    None => None,
                    done => return Poll::Ready(done),
                }
            }
            Ok(Poll::Pending) if expires => Some((DropReason::Expired, request)),
            Ok(Poll::Pending) => Some((DropReason::Shutdown, request)),
            // What a panic leaves half done is the inner service's own state.
            Err(_reported) => Some((DropReason::Panicked, request)),
        };
        if let Some((reason, request)) = lost {
            self.pass.forget();
            self.receiver.lose(reason, request, item);
        }
        self.state.set(WorkerState::IDLE);
        Poll::Ready(None)
    }
}

impl<T, S, Se> fmt::Debug for Worker<T, S, Se>
where
    S: Service<T>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("state", &self.state).finish_non_exhaustive()
    }
}

// === impl Stage ===

impl<T, F> Stage<T, F> {
    /// The request, while the item waits for the inner service to be ready.
    fn unsent(&self) -> Option<&T> {
        match self {
            Self::Ready { request } => Some(request),
            Self::Called { .. } | Self::Running { .. } => None,
        }
    }

    /// Makes the inner service ready, calls it, and polls its future. Only an item in hand does so: an idle worker reserves
    /// nothing there.
    #[inline(always)]
    fn poll<S>(
        mut self: Pin<&mut Self>,
        inner: &mut S,
        parking: Option<&Parking<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<S::Response, BoxError>>
    where
        S: Service<T, Future = F>,
        S::Error: Into<BoxError>,
        F: Future<Output = Result<S::Response, S::Error>>,
    {
        loop {
            match self.as_mut().project() {
                StageProj::Running { future, .. } => return future.poll(cx).map(|result| result.map_err(Into::into)),
                // ## Ready => Running
                StageProj::Ready { request } => {
                    // CORRECTNESS: the instance that was polled ready is the one called; nothing awaits between the two.
                    if let Err(error) = ready!(inner.poll_ready(cx)) {
                        return Poll::Ready(Err(error.into()));
                    }
                    let copy = parking.map(|parking| parking.keep(request));
                    // CORRECTNESS: from here on a panic finds a request that the inner service may have seen. The copy is in the
                    // state meanwhile: its `Drop` is user code too, and a second panic while unwinding would end the process.
                    if let StageOwned::Ready { request } = self.as_mut().project_replace(Self::Called { copy }) {
                        let future = inner.call(request);
                        let copy = self.as_mut().take().into_request();
                        self.set(Self::Running { future, copy });
                    }
                }
                StageProj::Called { .. } => {
                    debug_assert!(false, "a worker takes the item of a call that has panicked");
                    return Poll::Pending;
                }
            }
        }
    }

    /// What is left in hand of the request. The inner future is dropped here, before the slot of its item is free: work in flight
    /// counts.
    #[inline(always)]
    fn take(mut self: Pin<&mut Self>) -> InHand<T> {
        match self.as_mut().project() {
            StageProj::Running { copy, .. } => {
                let copy = copy.take();
                // A panic of its `Drop` changes nothing of what it has returned, and an assignment writes the new value all the same.
                let _reported = panic::catch(|| self.set(Self::Called { copy: None }));
                InHand::Sent(copy)
            }
            StageProj::Called { copy } => InHand::Sent(copy.take()),
            StageProj::Ready { .. } => match self.project_replace(Self::Called { copy: None }) {
                StageOwned::Ready { request } => InHand::Unsent(request),
                StageOwned::Called { copy } | StageOwned::Running { copy, .. } => InHand::Sent(copy),
            },
        }
    }
}

// === impl WorkerState ===

impl<T, F> WorkerState<T, F> {
    const IDLE: Self = Self::Idle { waiter: None };
}

impl<T, F> fmt::Debug for WorkerState<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle { .. } => "Idle",
            Self::Busy { stage: Stage::Ready { .. }, .. } => "Ready",
            Self::Busy { .. } => "Running",
        })
    }
}
