use crate::BoxError;
use std::{
    fmt,
    future::{Future, pending, ready},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};
use tower_service::Service;

/// An inner service that is as strict as the contract of [`Service`] allows.
///
/// Readiness belongs to one instance, takes one of the shared slots, and is given back when that instance is dropped;
/// a clone is born without it. A `call` without readiness panics, and is counted in [`Watch::violations`] for layers
/// that isolate panics. `tower::service_fn` is always ready, and hides each of these mistakes.
pub struct Probe<Req, Res = Req> {
    shared: Arc<Shared>,
    handler: Arc<Handler<Req, Res>>,
    granted: bool,
}

/// Reads what happened to a [`Probe`] and all its clones.
#[derive(Clone, Debug)]
pub struct Watch(Arc<Shared>);

/// The future of a [`Probe`]; counted while it lives.
pub struct ProbeFuture<Res> {
    running: Pin<Box<dyn Future<Output = Result<Res, BoxError>> + Send>>,
    shared: Arc<Shared>,
    done: bool,
}

type Handler<Req, Res> = dyn Fn(Req) -> Pin<Box<dyn Future<Output = Result<Res, BoxError>> + Send>> + Send + Sync;

#[derive(Debug)]
struct Shared {
    slots: usize,
    state: Mutex<State>,
    calls: AtomicUsize,
    running: AtomicUsize,
    cancelled: AtomicUsize,
    violations: AtomicUsize,
    polls: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    reserved: usize,
    waiting: Vec<Waker>,
    failed: Option<&'static str>,
}

// === impl Probe ===

impl<Req, Res> Probe<Req, Res>
where
    Res: Send + 'static,
{
    /// A probe with any number of slots that responds with what `handler` returns.
    pub fn new<F, Fut>(handler: F) -> Self
    where
        F: Fn(Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Res, BoxError>> + Send + 'static,
    {
        Self::with_slots(usize::MAX, handler)
    }

    /// A probe of which at most `slots` instances are ready at a time; the others wait.
    pub fn with_slots<F, Fut>(slots: usize, handler: F) -> Self
    where
        F: Fn(Req) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Res, BoxError>> + Send + 'static,
    {
        let shared = Shared {
            slots,
            state: Mutex::default(),
            calls: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            cancelled: AtomicUsize::new(0),
            violations: AtomicUsize::new(0),
            polls: AtomicUsize::new(0),
        };
        let handler = move |request| -> Pin<Box<dyn Future<Output = _> + Send>> { Box::pin(handler(request)) };
        Self { shared: Arc::new(shared), handler: Arc::new(handler), granted: false }
    }

    /// A probe whose calls never end.
    #[must_use]
    pub fn hanging() -> Self {
        Self::new(|_| pending())
    }

    /// What happens to this probe and all its clones.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.shared))
    }
}

impl<Req: Send + 'static> Probe<Req, Req> {
    /// A probe that responds with the request.
    #[must_use]
    pub fn echo() -> Self {
        Self::new(|request| ready(Ok(request)))
    }
}

impl<Req, Res> Service<Req> for Probe<Req, Res> {
    type Response = Res;
    type Error = BoxError;
    type Future = ProbeFuture<Res>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.shared.polls.fetch_add(1, SeqCst);
        // CORRECTNESS: cloned before the lock is taken, since the clone of a waker is code of its executor.
        let waker = cx.waker().clone();
        let mut state = self.shared.state();
        if let Some(why) = state.failed {
            return Poll::Ready(Err(why.into()));
        }
        if !self.granted {
            if state.reserved == self.shared.slots {
                state.waiting.push(waker);
                return Poll::Pending;
            }
            state.reserved += 1;
            self.granted = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if !self.granted {
            self.shared.violations.fetch_add(1, SeqCst);
        }
        assert!(self.granted, "`call` on an instance that was never ready");
        self.granted = false;
        self.shared.release();
        self.shared.calls.fetch_add(1, SeqCst);
        self.shared.running.fetch_add(1, SeqCst);
        let shared = Arc::clone(&self.shared);
        ProbeFuture { running: (self.handler)(request), shared, done: false }
    }
}

/// A clone shares the slots, never the readiness.
impl<Req, Res> Clone for Probe<Req, Res> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), handler: Arc::clone(&self.handler), granted: false }
    }
}

impl<Req, Res> Drop for Probe<Req, Res> {
    fn drop(&mut self) {
        if self.granted {
            self.shared.release();
        }
    }
}

impl<Req, Res> fmt::Debug for Probe<Req, Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("granted", &self.granted).finish_non_exhaustive()
    }
}

// === impl ProbeFuture ===

impl<Res> Future for ProbeFuture<Res> {
    type Output = Result<Res, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = self.running.as_mut().poll(cx);
        self.done = result.is_ready();
        result
    }
}

impl<Res> Drop for ProbeFuture<Res> {
    fn drop(&mut self) {
        self.shared.running.fetch_sub(1, SeqCst);
        if !self.done {
            self.shared.cancelled.fetch_add(1, SeqCst);
        }
    }
}

impl<Res> fmt::Debug for ProbeFuture<Res> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProbeFuture").field("done", &self.done).finish_non_exhaustive()
    }
}

// === impl Watch ===

impl Watch {
    /// Readiness that was given and neither used nor given back.
    #[must_use]
    pub fn reserved(&self) -> usize {
        self.0.state().reserved
    }

    /// Requests that reached the probe.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.0.calls.load(SeqCst)
    }

    /// Futures that are alive.
    #[must_use]
    pub fn running(&self) -> usize {
        self.0.running.load(SeqCst)
    }

    /// Futures that were dropped before they ended.
    #[must_use]
    pub fn cancelled(&self) -> usize {
        self.0.cancelled.load(SeqCst)
    }

    /// Calls on instances that were never ready.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.0.violations.load(SeqCst)
    }

    /// How often readiness was asked for.
    #[must_use]
    pub fn polls(&self) -> usize {
        self.0.polls.load(SeqCst)
    }

    /// From now on `poll_ready` fails with `why`; every waiter is woken.
    pub fn fail(&self, why: &'static str) {
        let waiting = {
            let mut state = self.0.state();
            state.failed = Some(why);
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Takes back [`fail`](Self::fail).
    pub fn recover(&self) {
        self.0.state().failed = None;
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // The probe panics on purpose, and its counts must stay readable then.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(&self) {
        let waiting = {
            let mut state = self.state();
            state.reserved -= 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}
