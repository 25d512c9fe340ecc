use crate::{
    call::CallQueue,
    in_hand::{Done, InHand, Item},
    parked::Parking,
    receive::{CallReceiver, Next, Orders},
};
use forebay_core::{BoxError, DropReason, Settle, SettleByVerdict, panic};
use forebay_intake::{Registration, Ticket};
use pin_project_lite::pin_project;
use std::{
    fmt,
    future::Future,
    mem,
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
    pub struct Worker<T, S, Se = SettleByVerdict>
    where
        S: Service<T>,
    {
        inner: S,
        settle: Se,
        receiver: CallReceiver<T, S::Response>,
        #[pin]
        state: WorkerState<T, S::Future>,
    }

    impl<T, S, Se> PinnedDrop for Worker<T, S, Se>
    where
        S: Service<T>,
    {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let (waiter, in_hand) = this.state.as_mut().take();
            let done = in_hand.map(|(request, item)| Done::without_result(DropReason::Shutdown, request, item));
            this.receiver.leave(waiter, done);
        }
    }
}

pin_project! {
    /// What a worker does.
    #[project = StateProj]
    enum WorkerState<T, F> {
        /// The inner service works on an item.
        Running { #[pin] future: F, copy: Option<T>, item: Item },
        /// No call is under way.
        Between { waits: Waits<T> },
    }
}

/// What a worker waits for between two calls. It is moved as a whole, so that a transition takes all that a state has.
enum Waits<T> {
    /// Waits for an item, in line if it has looked for one.
    Idle { waiter: Option<Ticket> },
    /// Holds an item, and waits for the inner service to be ready.
    Ready { request: T, item: Item },
}

// === impl Worker ===

impl<T, S, Se> Worker<T, S, Se>
where
    S: Service<T>,
{
    /// Is one receiver of the queue; its maker has counted it.
    pub(crate) fn new(inner: S, shared: Arc<CallQueue<T, S::Response>>, settle: Se, orders: Orders<T>) -> Self {
        Self { inner, settle, receiver: CallReceiver::new(shared, orders), state: WorkerState::IDLE }
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
        let (inner, receiver, settle) = (this.inner, this.receiver, &*this.settle);
        let mut registration = Registration::without_clone(cx.waker());
        let mut steps = 0;
        'state: loop {
            let (mut waiter, mut done) = match this.state.as_mut().project() {
                // ## Running => (Running | Idle)
                StateProj::Running { future, .. } => {
                    let polled = panic::catch(|| future.poll(cx).map(|result| result.map_err(Into::into)));
                    let lost = match &polled {
                        Ok(Poll::Ready(_)) => None,
                        Ok(Poll::Pending) => {
                            ready!(receiver.poll_abandoned(&mut registration));
                            Some(DropReason::Shutdown)
                        }
                        // What a panic leaves half done is the inner service's own state.
                        Err(_reported) => Some(DropReason::Panicked),
                    };
                    // CORRECTNESS: the waker is cloned, and retired ones are dropped, while the state still has the item: a waker
                    // that panics then takes no item along without a fate.
                    registration.prepare();
                    let (waiter, in_hand) = this.state.as_mut().take();
                    let done = match (in_hand, polled) {
                        (Some((request, item)), Ok(Poll::Ready(result))) => {
                            receiver.conclude(settle, result, request, item)
                        }
                        (Some((request, item)), _) => {
                            Some(Done::without_result(lost.unwrap_or(DropReason::Panicked), request, item))
                        }
                        (None, _) => None,
                    };
                    (waiter, done)
                }
                StateProj::Between { waits } => match mem::replace(waits, Waits::Idle { waiter: None }) {
                    // ## Idle => (Idle | Ready | ended)
                    Waits::Idle { waiter } => (waiter, None),
                    // ## Ready => Idle: its caller has left while the item waited for the inner service to be ready.
                    Waits::Ready { request, item } if receiver.is_cancelled(&item) => {
                        (None, Some(Done::without_result(DropReason::Cancelled, InHand::Unsent(request), item)))
                    }
                    // ## Ready => (Ready | Running | Idle)
                    Waits::Ready { request, item } => {
                        match start(inner, receiver, settle, request, item, cx, &mut registration) {
                            Started::Over(done) => (None, done),
                            Started::NotReady(request, item) => {
                                *waits = Waits::Ready { request, item };
                                return Poll::Pending;
                            }
                            Started::Running(future, copy, item) => {
                                this.state.set(WorkerState::Running { future, copy, item });
                                continue;
                            }
                        }
                    }
                },
            };
            // An item that is taken is started in the same step, and a state that is left in the same poll is not written.
            loop {
                steps += 1;
                let next = match receiver.next(waiter, done, cx, &mut registration) {
                    Next::Item(request, item) if steps < STEPS => (request, item),
                    Next::Skipped if steps < STEPS => {
                        (waiter, done) = (None, None);
                        continue;
                    }
                    Next::Item(request, item) => {
                        this.state.set(WorkerState::Between { waits: Waits::Ready { request, item } });
                        break 'state;
                    }
                    Next::Skipped => break 'state,
                    Next::Wait(waiter) => {
                        this.state.set(WorkerState::Between { waits: Waits::Idle { waiter: Some(waiter) } });
                        return Poll::Pending;
                    }
                    Next::End => return Poll::Ready(()),
                };
                match start(inner, receiver, settle, next.0, next.1, cx, &mut registration) {
                    Started::Over(over) => (waiter, done) = (None, over),
                    Started::NotReady(request, item) => {
                        this.state.set(WorkerState::Between { waits: Waits::Ready { request, item } });
                        return Poll::Pending;
                    }
                    Started::Running(future, copy, item) => {
                        this.state.set(WorkerState::Running { future, copy, item });
                        continue 'state;
                    }
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// What became of an item that was to be started.
enum Started<T, Res, F> {
    /// The inner service is not ready yet.
    NotReady(T, Item),
    /// The inner service works on it.
    Running(F, Option<T>, Item),
    /// It was not called; `None` if it is parked for another attempt.
    Over(Option<Done<T, Res>>),
}

/// Makes the inner service ready, and calls it. Only an item in hand does so: an idle worker reserves nothing there.
#[inline(always)]
fn start<T, S, Se>(
    inner: &mut S,
    receiver: &mut CallReceiver<T, S::Response>,
    settle: &Se,
    request: T,
    item: Item,
    cx: &mut Context<'_>,
    registration: &mut Registration<'_>,
) -> Started<T, S::Response, S::Future>
where
    S: Service<T>,
    S::Error: Into<BoxError>,
    Se: Settle<S::Response>,
{
    let polled = panic::catch(|| inner.poll_ready(cx).map(|ready| ready.map_err(Into::into)));
    match polled {
        Ok(Poll::Pending) => match receiver.poll_abandoned(registration) {
            Poll::Pending => Started::NotReady(request, item),
            Poll::Ready(()) => {
                Started::Over(Some(Done::without_result(DropReason::Shutdown, InHand::Unsent(request), item)))
            }
        },
        // CORRECTNESS: the instance that was polled ready is the one called; nothing awaits between the two.
        Ok(Poll::Ready(Ok(()))) => match call(inner, receiver.orders.parking.as_ref(), request) {
            Ok((future, copy)) => Started::Running(future, copy, item),
            Err(in_hand) => Started::Over(Some(Done::without_result(DropReason::Panicked, in_hand, item))),
        },
        Ok(Poll::Ready(Err(error))) => {
            Started::Over(receiver.conclude(settle, Err(error), InHand::Unsent(request), item))
        }
        Err(_reported) => {
            Started::Over(Some(Done::without_result(DropReason::Panicked, InHand::Unsent(request), item)))
        }
    }
}

/// Calls the inner service, which is ready, and keeps a copy of the request where the queue parks.
///
/// # Errors
///
/// What is left in hand where one of them panicked.
#[inline(always)]
fn call<T, S: Service<T>>(
    inner: &mut S,
    parking: Option<&Parking<T>>,
    request: T,
) -> Result<(S::Future, Option<T>), InHand<T>> {
    let copy = match parking.map(|parking| panic::catch(|| parking.keep(&request))) {
        None => None,
        Some(Ok(copy)) => Some(copy),
        Some(Err(_reported)) => return Err(InHand::Unsent(request)),
    };
    match panic::catch(|| inner.call(request)) {
        Ok(future) => Ok((future, copy)),
        Err(_reported) => Err(InHand::Sent(copy)),
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

// === impl WorkerState ===

impl<T, F> WorkerState<T, F> {
    const IDLE: Self = Self::Between { waits: Waits::Idle { waiter: None } };

    /// Leaves an idle worker, and returns its place in line and the item in hand.
    fn take(mut self: Pin<&mut Self>) -> (Option<Ticket>, Option<(InHand<T>, Item)>) {
        match self.as_mut().project() {
            StateProj::Running { copy, item, .. } => {
                let in_hand = (InHand::Sent(copy.take()), item.take());
                // The inner future is dropped here, before the slot of its item is free: work in flight counts. A panic of its
                // `Drop` changes nothing of what it has returned, and an assignment writes the new value all the same.
                let _reported = panic::catch(|| self.set(Self::IDLE));
                (None, Some(in_hand))
            }
            StateProj::Between { waits } => match mem::replace(waits, Waits::Idle { waiter: None }) {
                Waits::Idle { waiter } => (waiter, None),
                Waits::Ready { request, item } => (None, Some((InHand::Unsent(request), item))),
            },
        }
    }
}

impl<T, F> fmt::Debug for WorkerState<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running { .. } => "Running",
            Self::Between { waits: Waits::Ready { .. } } => "Ready",
            Self::Between { waits: Waits::Idle { .. } } => "Idle",
        })
    }
}
