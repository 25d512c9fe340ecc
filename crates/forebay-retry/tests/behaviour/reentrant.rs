//! User code never runs or drops under a lock of this crate: it may call back into the throttle and the budget.
//!
//! The locks are not reentrant: code that takes one while it is held waits for ever. A waker that runs code when it is cloned
//! cannot be written without `unsafe`; no waker is stored by this crate.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::ms;
use forebay_core::{BoxError, Observe, Outcome};
use forebay_retry::{Attempt, Backoff, Budget, Deadline, GaveUp, Jitter, Policy, RetryEvent, RetryLayer, Throttle};
use std::{
    future::Future,
    hash::{Hash, Hasher},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};
use tower::{Layer, Service, ServiceExt};

/// The handles that user code may have, and how often it used them.
#[derive(Clone)]
struct Handles {
    throttle: Throttle,
    budget: Budget,
    entered: Arc<AtomicUsize>,
}

impl Handles {
    fn new() -> Self {
        let throttle = Throttle::builder().spread(0.0).build().unwrap();
        Self { throttle, budget: Budget::default(), entered: Arc::default() }
    }

    /// Takes each lock in every way that there is.
    fn enter(&self) {
        self.entered.fetch_add(1, SeqCst);
        self.throttle.hint("unrelated", ms(10));
        assert!(self.throttle.held("another").is_none());
        self.throttle.release("unrelated");
        assert!(self.budget.available() >= 0.0 && self.throttle.len() < 10);
    }

    fn waker(&self) -> Waker {
        Waker::from(Arc::new(Entering(self.clone())))
    }
}

/// Enters when it is dropped, and as a waker, a key or an observer when it is used.
struct Entering(Handles);

impl Drop for Entering {
    fn drop(&mut self) {
        self.0.enter();
    }
}

impl Wake for Entering {
    fn wake(self: Arc<Self>) {
        self.0.enter();
    }
}

impl Observe<RetryEvent> for Entering {
    fn observe(&self, _: &RetryEvent) {
        self.0.enter();
    }
}

/// A request whose key enters when it is hashed, and which enters when it is cloned and dropped.
struct Request(Entering);

impl Clone for Request {
    fn clone(&self) -> Self {
        self.0.0.enter();
        Self(Entering(self.0.0.clone()))
    }
}

impl Hash for Request {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.0.enter();
        "the key".hash(state);
    }
}

impl PartialEq for Request {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Request {}

/// Enters in every method.
struct Policies(Handles);

impl Policy<Request, Entering, BoxError> for Policies {
    fn copy(&self, request: &Request) -> Option<Request> {
        self.0.enter();
        Some(request.clone())
    }

    fn stamp(&self, _: &mut Request, _: Attempt) {
        self.0.enter();
    }

    fn deadline(&self, _: &Request) -> Option<Deadline> {
        self.0.enter();
        None
    }

    fn cost(&self, _: &Result<Entering, BoxError>) -> f64 {
        self.0.enter();
        1.0
    }

    fn give_up(&self, _: &mut Entering, _: GaveUp) {
        self.0.enter();
    }
}

/// Always busy; its responses enter when they are dropped.
#[derive(Clone)]
struct Busy(Handles);

impl Service<Request> for Busy {
    type Response = Entering;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Entering, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.enter();
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        drop(request);
        std::future::ready(Ok(Entering(self.0.clone())))
    }
}

/// Runs on a thread of its own, so that a deadlock is a failure and not a test that never ends.
fn ends(test: impl FnOnce() + Send + 'static) {
    let (ended, has_ended) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        ended.send(()).unwrap();
    });
    let result = has_ended.recv_timeout(Duration::from_secs(60));
    assert_ne!(result, Err(std::sync::mpsc::RecvTimeoutError::Timeout), "a lock was held over user code");
    thread.join().unwrap();
}

fn block_on(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(test);
}

#[test]
fn f22_keys_policies_observers_requests_and_responses_may_call_back() {
    ends(|| {
        block_on(async {
            let handles = Handles::new();
            let classifier = {
                let handles = handles.clone();
                move |_: &Result<Entering, BoxError>| {
                    handles.enter();
                    Outcome::Retryable { after: Some(ms(5)) }
                }
            };
            let layer = RetryLayer::builder(classifier)
                .budget(handles.budget.clone())
                .policy(Policies(handles.clone()))
                .throttle_by(handles.throttle.clone(), |request: &Request| request)
                .observe(Entering(handles.clone()));
            let service = layer.build().unwrap().layer(Busy(handles.clone()));
            for _ in 0..40 {
                // The budget runs out on the way, so that every end is met.
                let response = service.clone().oneshot(Request(Entering(handles.clone()))).await;
                assert!(response.is_ok());
            }
            assert!(handles.entered.load(SeqCst) > 40 * 10, "{:?}", handles.entered);
        });
    });
}

#[test]
fn f22_wakers_may_call_back_when_they_are_woken_and_dropped() {
    ends(|| {
        block_on(async {
            let handles = Handles::new();
            let backoff = Backoff::constant(ms(50)).jitter(Jitter::None);
            let failing = |_: &Result<(), BoxError>| Outcome::RETRYABLE;
            let layer = RetryLayer::builder(failing).backoff(backoff).throttle(handles.throttle.clone());
            let layer = layer.budget(handles.budget.clone()).build().unwrap();
            let service = layer.layer(tower::service_fn(|()| async { Err::<(), BoxError>("away".into()) }));
            let poll = |future: std::pin::Pin<&mut dyn Future<Output = Result<(), BoxError>>>| {
                // The waker is dropped here, except for what was registered.
                let waker = handles.waker();
                future.poll(&mut Context::from_waker(&waker)).is_pending()
            };

            // Held back by the throttle, polled by three wakers, and woken.
            handles.throttle.hint(&(), ms(100));
            let mut held = pin!(service.clone().oneshot(()));
            assert!((0..3).all(|_| poll(held.as_mut())));
            tokio::time::sleep(ms(101)).await;
            let woken = handles.entered.load(SeqCst);
            assert!(woken >= 3, "two that were replaced were dropped, and the last one woken: {woken}");

            // Waits for its backoff, polled by three wakers, and cancelled.
            assert!((0..3).all(|_| poll(held.as_mut())));
            let mut cancelled = Box::pin(service.oneshot(()));
            assert!((0..3).all(|_| poll(cancelled.as_mut())));
            drop(cancelled);
            assert!(handles.entered.load(SeqCst) > woken + 3, "{:?}", handles.entered);
        });
    });
}
