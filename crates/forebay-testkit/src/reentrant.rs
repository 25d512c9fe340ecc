use cooked_waker::{IntoWaker, Wake, WakeRef};
use std::{
    cell::Cell,
    fmt,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Waker},
};
use tower_service::Service;

/// Wakers that call back on each of their operations: when they are cloned, woken by value or by reference, and dropped.
///
/// A waker is code of its executor. Where it owns its task, dropping the last one drops the task and all that the task holds,
/// among it perhaps a handle to the layer that drops the waker. A layer that touches a waker under its lock deadlocks then.
/// See [`laws::no_waker_runs_under_a_lock`](crate::laws::no_waker_runs_under_a_lock).
#[derive(Clone, Default)]
pub struct Reentrant(Arc<Inner>);

#[derive(Default)]
struct Inner {
    callback: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
    operations: AtomicUsize,
}

/// What is behind one of the wakers.
struct Task(Reentrant);

thread_local! {
    /// How many calls back this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

// === impl Reentrant ===

impl Reentrant {
    /// A call back may wake, and so call back again; deeper than this nothing new is to be seen.
    const MOST_DEEP: usize = 3;

    /// From now on each operation of a waker calls `callback`, on the thread on which it happens.
    pub fn call_back(&self, callback: impl Fn() + Send + Sync + 'static) {
        let before = self.replace(Some(Arc::new(callback)));
        drop(before);
    }

    /// From now on the wakers call nothing back, and what they would have called is dropped.
    pub fn release(&self) {
        let before = self.replace(None);
        drop(before);
    }

    /// A new waker, which wakes another task than those before.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Box::new(Task(self.clone())).into_waker()
    }

    /// Polls `future` with a [new waker](Self::waker), which is dropped afterwards.
    pub fn poll<F: Future + Unpin>(&self, future: &mut F) -> Poll<F::Output> {
        Pin::new(future).poll(&mut Context::from_waker(&self.waker()))
    }

    /// Asks `service` whether it is ready, with a [new waker](Self::waker), which is dropped afterwards.
    pub fn poll_ready<Req, S: Service<Req>>(&self, service: &mut S) -> Poll<Result<(), S::Error>> {
        service.poll_ready(&mut Context::from_waker(&self.waker()))
    }

    /// How many operations have called back so far.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.0.operations.load(SeqCst)
    }

    fn replace(&self, callback: Option<Arc<dyn Fn() + Send + Sync>>) -> Option<Arc<dyn Fn() + Send + Sync>> {
        std::mem::replace(&mut *self.0.callback.lock().unwrap_or_else(PoisonError::into_inner), callback)
    }

    fn operation(&self) {
        // A clone of it, so that it runs without a lock of ours.
        let callback = self.0.callback.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(callback) = callback else { return };
        self.0.operations.fetch_add(1, SeqCst);
        let depth = DEPTH.get();
        if depth < Self::MOST_DEEP {
            DEPTH.set(depth + 1);
            callback();
            DEPTH.set(depth);
        }
    }
}

impl fmt::Debug for Reentrant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reentrant").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

// === impl Task ===

impl Clone for Task {
    fn clone(&self) -> Self {
        self.0.operation();
        Self(self.0.clone())
    }
}

impl WakeRef for Task {
    fn wake_by_ref(&self) {
        self.0.operation();
    }
}

impl Wake for Task {}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.operation();
    }
}
