//! The laws that every layer keeps, each as a function that panics when the layer breaks it.
//!
//! A law takes `make`, which stacks the layer on a [`Probe`], so that one line is one test:
//!
//! ```
//! use forebay_testkit::{Probe, laws};
//! use tower::{Layer, limit::ConcurrencyLimitLayer};
//!
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! laws::the_readied_instance_is_called(|probe| ConcurrencyLimitLayer::new(2).layer(probe), 7).await;
//! laws::readiness_is_stable(ConcurrencyLimitLayer::new(1).layer(Probe::<u32>::echo())).await;
//! # });
//! ```

use crate::{Probe, Reentrant, Watch};
use std::{
    error::Error,
    fmt,
    future::{Future, poll_fn},
    panic::resume_unwind,
    sync::{
        Mutex,
        mpsc::{RecvTimeoutError, channel},
    },
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};
use tower::ServiceExt;
use tower_service::Service;

/// `call` goes to the inner instance that was made ready, round after round, with clones made in between.
///
/// # Panics
///
/// When an inner instance is called that was never ready, when a call fails, or when readiness leaks.
pub async fn the_readied_instance_is_called<Req, S>(make: impl FnOnce(Probe<Req>) -> S, request: Req)
where
    Req: Clone + Send + 'static,
    S: Service<Req> + Clone,
    S::Error: fmt::Debug,
{
    let (mut service, watch) = over_echo(make);
    for round in 0..3 {
        let mut clone = service.clone();
        let held = service.ready().await.expect("ready");
        let response = held.call(request.clone());
        // A clone that was made before the call, and is used while the call runs.
        clone.ready().await.expect("clone ready").call(request.clone()).await.expect("the clone responds");
        response.await.expect("the service responds");
        assert_eq!(watch.violations(), 0, "an instance that was never ready was called in round {round}");
    }
    drop(service);
    settled(&watch).await;
}

/// Readiness, once given, stays until `call`, whatever clones do in between.
///
/// # Panics
///
/// When a second `poll_ready` is not ready after a first one was.
pub async fn readiness_is_stable<Req, S>(mut service: S)
where
    S: Service<Req> + Clone,
    S::Error: fmt::Debug,
{
    let mut contender = service.clone();
    service.ready().await.expect("ready");
    for _ in 0..3 {
        // The law says nothing about whether the contender gets readiness.
        let _either = poll_once(&mut contender).await;
        tokio::task::yield_now().await;
        let again = poll_once(&mut service).await;
        assert!(matches!(again, Poll::Ready(Ok(()))), "readiness was taken back");
    }
}

/// A ready service that is dropped, or cloned, leaves no readiness of the inner service behind.
///
/// # Panics
///
/// When the inner service is still reserved afterwards, or a clone calls on readiness that is not its own.
pub async fn clones_share_slots_not_grants<Req, S>(make: impl FnOnce(Probe<Req>) -> S, request: Req)
where
    Req: Clone + Send + 'static,
    S: Service<Req> + Clone,
    S::Error: fmt::Debug,
{
    let (mut service, watch) = over_echo(make);
    service.ready().await.expect("ready");
    let mut clone = service.clone();
    drop(service);
    clone.ready().await.expect("clone ready").call(request).await.expect("the clone responds");
    assert_eq!(watch.violations(), 0, "a clone took over readiness");
    drop(clone);
    settled(&watch).await;
}

/// Dropping a ready service gives its readiness back.
///
/// # Panics
///
/// When the inner service is still reserved afterwards.
pub async fn dropping_a_ready_service_gives_back<Req, S>(make: impl FnOnce(Probe<Req>) -> S)
where
    Req: Send + 'static,
    S: Service<Req>,
    S::Error: fmt::Debug,
{
    let (mut service, watch) = over_echo(make);
    service.ready().await.expect("ready");
    drop(service);
    settled(&watch).await;
}

/// Dropping a response future before its end drops the inner future, and the next call works.
///
/// Layers whose work goes on without the caller (a queue, a batch) promise the opposite: this law is not theirs.
///
/// # Panics
///
/// When the inner future lives on, or the service does not become ready again.
pub async fn dropping_a_future_gives_back<Req, S>(make: impl FnOnce(Probe<Req>) -> S, request: Req)
where
    Req: Clone + Send + 'static,
    S: Service<Req>,
    S::Error: fmt::Debug,
{
    let probe = Probe::hanging();
    let watch = probe.watch();
    let mut service = make(probe);
    for round in 1..=3 {
        let mut response = Box::pin(service.ready().await.expect("ready").call(request.clone()));
        let polled = poll_fn(|cx| Poll::Ready(response.as_mut().poll(cx).is_pending())).await;
        assert!(polled, "a call that never ends has ended");
        assert_eq!((watch.calls(), watch.running()), (round, 1));
        drop(response);
        assert_eq!((watch.running(), watch.cancelled()), (0, round), "the inner future lives on");
    }
    drop(service);
    settled(&watch).await;
}

/// Every service that waits for readiness is woken when `close` runs.
///
/// # Panics
///
/// When a waiter stays asleep.
pub async fn every_waiter_wakes_on_close<Req, S>(waiters: Vec<S>, close: impl FnOnce())
where
    S: Service<Req>,
{
    let mut waiting = Vec::new();
    for mut service in waiters {
        let mut task = tokio_test::task::spawn(async move { drop(service.ready().await) });
        assert!(task.poll().is_pending(), "this waiter has nothing to wait for");
        waiting.push(task);
    }
    close();
    tokio::task::yield_now().await;
    for (index, task) in waiting.iter().enumerate() {
        assert!(task.is_woken(), "waiter {index} sleeps on");
    }
}

/// An error chain has one link per sentence: no `Display` repeats what its source says.
///
/// # Panics
///
/// When it does, or when a link says nothing.
pub fn error_chain_has_one_link_per_sentence(error: &(dyn Error + 'static)) {
    let mut link = Some(error);
    while let Some(error) = link {
        let text = error.to_string();
        assert!(!text.trim().is_empty(), "an error without words: {error:?}");
        if let Some(source) = error.source() {
            let below = source.to_string();
            assert!(!text.contains(&below), "`{text}` repeats its source `{below}`");
        }
        link = error.source();
    }
}

/// No user code runs or is dropped under a lock of what is tested: `scenario` uses wakers that [call back](Reentrant::call_back) on
/// each of their operations, and comes to its end.
///
/// It runs on a thread of its own, in a tokio runtime: a deadlock costs that thread, and not the test.
///
/// ```
/// use forebay_testkit::laws;
/// use std::sync::Arc;
/// use tokio::sync::Semaphore;
///
/// laws::no_waker_runs_under_a_lock(|wakers| async move {
///     let semaphore = Arc::new(Semaphore::new(0));
///     let again = Arc::clone(&semaphore);
///     wakers.call_back(move || drop(again.try_acquire()));
///     let mut waits = Box::pin(semaphore.acquire());
///     assert!(wakers.poll(&mut waits).is_pending());
/// });
/// ```
///
/// # Panics
///
/// When `scenario` does not end within five seconds, when it panics, or when no waker called back: then it has shown
/// nothing.
pub fn no_waker_runs_under_a_lock<F>(scenario: impl FnOnce(Reentrant) -> F + Send + 'static)
where
    F: Future<Output = ()>,
{
    const DEADLOCK: Duration = Duration::from_secs(5);

    let wakers = Reentrant::default();
    let theirs = wakers.clone();
    let (running, ended) = channel::<()>();
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(scenario(theirs));
        drop(running);
    });
    // Its end is seen by the drop of the sender, that by a panic as well.
    let ended = ended.recv_timeout(DEADLOCK);
    assert_ne!(ended, Err(RecvTimeoutError::Timeout), "a waker ran under a lock: a call back never returned");
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
    // The wakers may be held by what they call back.
    wakers.release();
    assert!(wakers.operations() > 0, "no waker was cloned, woken or dropped: the scenario shows nothing");
}

/// As [`no_waker_runs_under_a_lock`], for a service: each operation of a waker clones it, asks the clone for readiness and drops
/// it, while two clones wait for the one slot of the inner service, and for responses, with a new waker for each poll.
///
/// # Panics
///
/// As [`no_waker_runs_under_a_lock`], and when a call fails.
pub fn a_service_runs_no_waker_under_a_lock<Req, S>(make: impl FnOnce(Probe<Req>) -> S + Send + 'static, request: Req)
where
    Req: Clone + Send + 'static,
    S: Service<Req> + Clone + Send + 'static,
    S::Error: fmt::Debug,
{
    no_waker_runs_under_a_lock(move |wakers| async move {
        let service = make(Probe::with_slots(1, |request| async move {
            for _ in 0..4 {
                wakes_itself().await;
            }
            Ok(request)
        }));
        let again = Mutex::new(service.clone());
        wakers.call_back(move || {
            // Not there in a call back within a call back of the clone itself.
            let Ok(clone) = again.try_lock().map(|service| service.clone()) else { return };
            let mut clone = clone;
            drop(clone.poll_ready(&mut Context::from_waker(Waker::noop())));
        });
        for gives_up in [true, false, true] {
            let (mut first, mut second) = (service.clone(), service.clone());
            soon("ready", || wakers.poll_ready(&mut first)).await.expect("ready");
            for _ in 0..3 {
                // The law says nothing about whether it waits or is ready as well.
                drop(wakers.poll_ready(&mut second));
            }
            let mut call = Box::pin(first.call(request.clone()));
            if gives_up {
                drop(wakers.poll(&mut call));
                drop(call);
            } else {
                soon("a response", || wakers.poll(&mut call)).await.expect("a response");
                soon("ready", || wakers.poll_ready(&mut second)).await.expect("ready");
                let mut call = Box::pin(second.call(request.clone()));
                soon("a response", || wakers.poll(&mut call)).await.expect("a response");
            }
        }
        wakers.release();
    });
}

/// Service, layer, future and error can be sent and shared.
pub const fn is_send_and_sync<T: Send + Sync + 'static>() {}

/// `poll_ready` once, with the waker of the calling task.
pub async fn poll_once<Req, S: Service<Req>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    poll_fn(|cx| Poll::Ready(service.poll_ready(cx))).await
}

/// The output of `poll`, which is called again after other tasks had their turn.
async fn soon<R>(what: &str, mut poll: impl FnMut() -> Poll<R>) -> R {
    for _ in 0..1_000 {
        if let Poll::Ready(result) = poll() {
            return result;
        }
        tokio::task::yield_now().await;
    }
    panic!("never {what}");
}

/// Pending once, and woken at once, by reference.
async fn wakes_itself() {
    let mut woken = false;
    let once = poll_fn(|cx| {
        if std::mem::replace(&mut woken, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    });
    once.await;
}

fn over_echo<Req: Send + 'static, S>(make: impl FnOnce(Probe<Req>) -> S) -> (S, Watch) {
    let probe = Probe::echo();
    let watch = probe.watch();
    (make(probe), watch)
}

/// Waits until the workers of the layer have finished: nothing is reserved, and nothing runs.
async fn settled(watch: &Watch) {
    for _ in 0..32 {
        if watch.reserved() == 0 && watch.running() == 0 {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("{} grants and {} futures were left behind", watch.reserved(), watch.running());
}
