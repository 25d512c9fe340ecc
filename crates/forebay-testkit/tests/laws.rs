//! The laws separate good layers from bad ones: tower's own pass, and each planted mistake fails the law that names it.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_testkit::{BoxError, Probe, laws};
use std::{
    error::Error,
    fmt,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    task::{Context, Poll, Waker},
};
use tower::{Layer, Service, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimitLayer};

/// Whether the law panics on this layer.
fn fails(law: impl Future<Output = ()>) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    std::panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(law))).is_err()
}

#[test]
fn towers_own_layers_pass() {
    assert!(!fails(laws::the_readied_instance_is_called(|p: Probe<u32>| ConcurrencyLimitLayer::new(2).layer(p), 7)));
    assert!(!fails(laws::readiness_is_stable(ConcurrencyLimitLayer::new(1).layer(Probe::<u32>::echo()))));
    assert!(!fails(laws::clones_share_slots_not_grants(|p: Probe<u32>| ConcurrencyLimitLayer::new(1).layer(p), 7)));
    assert!(!fails(laws::dropping_a_ready_service_gives_back(|p: Probe<u32>| p)));
    assert!(!fails(laws::dropping_a_future_gives_back(|p: Probe<u32>| ConcurrencyLimitLayer::new(1).layer(p), 7)));
    assert!(!fails(async {
        laws::the_readied_instance_is_called(|p: Probe<u32>| BufferLayer::new(4).layer(p), 7).await;
    }));
}

/// Calls a clone of its inner service, not the instance it made ready.
#[derive(Clone)]
struct ClonesInCall<S>(S);

impl<Req, S: Service<Req> + Clone> Service<Req> for ClonesInCall<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.0.clone().call(request)
    }
}

#[test]
fn a_clone_in_call_is_caught() {
    assert!(fails(laws::the_readied_instance_is_called(|p: Probe<u32>| ClonesInCall(p), 7)));
}

/// Looks for room on each poll, and so takes readiness back.
#[derive(Clone, Default)]
struct Flapping(usize);

impl Service<u32> for Flapping {
    type Response = u32;
    type Error = BoxError;
    type Future = std::future::Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0 += 1;
        if self.0 % 2 == 1 {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn call(&mut self, request: u32) -> Self::Future {
        std::future::ready(Ok(request))
    }
}

#[test]
fn readiness_that_is_taken_back_is_caught() {
    assert!(fails(laws::readiness_is_stable(Flapping::default())));
}

/// Leaks the readied inner service instead of dropping it.
struct Leaks<S>(Option<S>);

impl<Req, S: Service<Req>> Service<Req> for Leaks<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.as_mut().unwrap().poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> S::Future {
        self.0.as_mut().unwrap().call(request)
    }
}

impl<S> Drop for Leaks<S> {
    fn drop(&mut self) {
        #[expect(clippy::mem_forget, reason = "the planted mistake")]
        std::mem::forget(self.0.take());
    }
}

#[test]
fn leaked_readiness_is_caught() {
    assert!(fails(laws::dropping_a_ready_service_gives_back(|p: Probe<u32>| Leaks(Some(p)))));
}

#[test]
fn a_waiter_that_is_never_woken_is_caught() {
    let probe = Probe::<u32>::with_slots(0, |n| async move { Ok(n) });
    let watch = probe.watch();
    assert!(
        !fails(laws::every_waiter_wakes_on_close(vec![probe.clone(), probe.clone()], move || watch.fail("closed")))
    );
    assert!(fails(laws::every_waiter_wakes_on_close(vec![probe], || ())));
}

#[derive(Debug)]
struct Repeats(BoxError);

impl fmt::Display for Repeats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "service failed: {}", self.0)
    }
}

impl Error for Repeats {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}

#[test]
fn an_error_that_repeats_its_source_is_caught() {
    assert!(fails(async { laws::error_chain_has_one_link_per_sentence(&Repeats("refused".into())) }));
    assert!(!fails(async { laws::error_chain_has_one_link_per_sentence(&*BoxError::from("refused")) }));
}

#[tokio::test]
async fn a_probe_with_one_slot_makes_the_second_instance_wait() {
    let mut first = Probe::<u32>::with_slots(1, |n| async move { Ok(n) });
    let watch = first.watch();
    let mut second = first.clone();
    first.ready().await.unwrap();
    assert!(laws::poll_once(&mut second).await.is_pending());
    assert_eq!(watch.reserved(), 1);
    first.call(1).await.unwrap();
    assert_eq!(second.ready().await.unwrap().call(2).await.unwrap(), 2);
    assert_eq!((watch.reserved(), watch.calls(), watch.polls()), (0, 2, 3));
}

/// Waits for ever, and has a lock under which it does one thing with wakers that it should not do there.
#[derive(Clone, Default)]
struct Locks {
    under_lock: UnderLock,
    known: Arc<Mutex<Option<Waker>>>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum UnderLock {
    #[default]
    Nothing,
    Clones,
    Drops,
    Wakes,
    WakesByRef,
}

impl Locks {
    fn wait(&self, waker: &Waker) {
        let outside = (self.under_lock != UnderLock::Clones).then(|| waker.clone());
        let mut known = self.known.lock().unwrap();
        let waker = outside.unwrap_or_else(|| waker.clone());
        let before = known.replace(waker);
        match (self.under_lock, before) {
            (UnderLock::Drops, before) => drop(before),
            (UnderLock::Wakes, Some(before)) => before.wake(),
            (UnderLock::WakesByRef, Some(before)) => {
                before.wake_by_ref();
                drop(known);
                drop(before);
            }
            (_, before) => {
                drop(known);
                drop(before);
            }
        }
    }
}

#[test]
fn f22_each_operation_of_a_waker_under_a_lock_is_caught() {
    let fails = |under_lock| {
        let law = move || {
            laws::no_waker_runs_under_a_lock(move |wakers| async move {
                let locks = Locks { under_lock, ..Locks::default() };
                let again = locks.clone();
                wakers.call_back(move || drop(again.known.lock().unwrap()));
                for _ in 0..3 {
                    locks.wait(&wakers.waker());
                }
                wakers.release();
            });
        };
        std::thread::spawn(law).join().is_err()
    };
    let all = [UnderLock::Nothing, UnderLock::Clones, UnderLock::Drops, UnderLock::Wakes, UnderLock::WakesByRef];
    let failed: Vec<bool> = std::thread::scope(|scope| {
        let all = all.map(|under_lock| scope.spawn(move || fails(under_lock)));
        all.into_iter().map(|law| law.join().unwrap()).collect()
    });
    assert_eq!(failed, [false, true, true, true, true]);
}

/// Keeps the waker of the task that waits for readiness, and replaces it under the lock.
#[derive(Clone)]
struct ReplacesUnderLock(Probe<u32>, Arc<Mutex<Option<Waker>>>);

impl Service<u32> for ReplacesUnderLock {
    type Response = u32;
    type Error = BoxError;
    type Future = <Probe<u32> as Service<u32>>::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let waker = cx.waker().clone();
        *self.1.lock().unwrap() = Some(waker);
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: u32) -> Self::Future {
        self.0.call(request)
    }
}

#[test]
fn f22_a_service_that_replaces_a_waker_under_its_lock_is_caught() {
    let replaces = |probe| ReplacesUnderLock(probe, Arc::default());
    assert!(std::panic::catch_unwind(|| laws::a_service_runs_no_waker_under_a_lock(replaces, 7)).is_err());
    // Tokio's semaphore clones wakers under its lock, so that a layer over it cannot pass.
    laws::a_service_runs_no_waker_under_a_lock(|probe: Probe<u32>| probe, 7);
}

#[test]
fn f22_a_scenario_without_a_waker_shows_nothing() {
    assert!(std::panic::catch_unwind(|| laws::no_waker_runs_under_a_lock(|_| async {})).is_err());
}
