//! The `tower::Service` laws, with at least two attempts wherever there is a call.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::ms;
use forebay_core::{BoxError, ByError, Outcome};
use forebay_retry::{Backoff, Jitter, Retry, RetryLayer, Throttle};
use forebay_testkit::{Probe, laws};
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimitLayer};

/// Finds every other result retryable, so that each call takes two attempts.
#[derive(Clone, Default)]
struct Twice(Arc<AtomicUsize>);

impl<Res, Err> forebay_core::Classify<Res, Err> for Twice {
    fn classify(&self, _: &Result<Res, Err>) -> Outcome {
        if self.0.fetch_add(1, SeqCst) & 1 == 0 { Outcome::RETRYABLE } else { Outcome::Success }
    }
}

fn twice() -> RetryLayer<Twice> {
    RetryLayer::builder(Twice::default()).backoff(Backoff::exponential(ms(50)).seed(1)).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn r17_the_readied_instance_is_called_on_each_of_two_attempts() {
    let layer = twice();
    let classified = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&classified);
    let probe = |probe: Probe<u32>| {
        let counted = tower::util::MapResult::new(probe, move |result: Result<u32, BoxError>| {
            count.fetch_add(1, SeqCst);
            result
        });
        layer.layer(counted)
    };
    laws::the_readied_instance_is_called(probe, 7).await;
    assert_eq!(classified.load(SeqCst), 12, "six calls of two attempts");
}

#[tokio::test(start_paused = true)]
async fn r17_the_law_holds_over_a_limit_of_one_slot() {
    // The limit panics when it is called without readiness, and its one slot deadlocks a caller that holds it while it waits.
    let make = |probe: Probe<u32>| twice().layer(ConcurrencyLimitLayer::new(1).layer(probe));
    let probe = Probe::echo();
    let watch = probe.watch();
    let mut service = make(probe);
    for n in 0..5 {
        let mut other = service.clone();
        let first = service.ready().await.unwrap().call(n);
        let first = tokio::spawn(first);
        assert_eq!(other.ready().await.unwrap().call(n + 100).await.unwrap(), n + 100);
        assert_eq!(first.await.unwrap().unwrap(), n);
    }
    assert_eq!((watch.violations(), watch.calls()), (0, 20));
}

#[tokio::test(start_paused = true)]
async fn readiness_is_stable() {
    laws::readiness_is_stable(twice().layer(Probe::<u32>::with_slots(1, |n| async move { Ok(n) }))).await;
}

#[tokio::test(start_paused = true)]
async fn clones_share_slots_not_grants() {
    laws::clones_share_slots_not_grants(|probe: Probe<u32>| twice().layer(probe), 7).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_ready_service_gives_back() {
    laws::dropping_a_ready_service_gives_back(|probe: Probe<u32>| twice().layer(probe)).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_future_gives_back() {
    laws::dropping_a_future_gives_back(|probe: Probe<u32>| twice().layer(probe), 7).await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_wakes_on_close() {
    let probe = Probe::<u32>::with_slots(0, |n| async move { Ok(n) });
    let watch = probe.watch();
    let service = twice().layer(probe);
    laws::every_waiter_wakes_on_close(vec![service.clone(), service], move || watch.fail("closed")).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_readiness_between_attempts_wakes_on_close() {
    let one = Probe::<u32>::with_slots(1, |n| async move { Ok(n) });
    let watch = one.watch();
    let mut hog = one.clone();
    let mut service = twice().layer(one);
    let response = tokio::spawn(service.ready().await.unwrap().call(7));
    tokio::task::yield_now().await;
    hog.ready().await.unwrap();
    tokio::time::sleep(ms(1000)).await;
    assert!(!response.is_finished(), "the only slot is held");
    watch.fail("closed");
    assert!(response.await.unwrap().is_err());
    drop(hog);
}

/// Dropped in each state it can be in, a call leaves nothing reserved and nothing running.
#[tokio::test(start_paused = true)]
async fn dropped_in_every_state_nothing_stays_behind() {
    let mut states = BTreeSet::new();
    // Held back until 20 ms, the first attempt until 30, its wait until 60, not ready until 100, the second until 110.
    for dropped_at in (0..120).step_by(5) {
        let probe = Probe::<u32>::with_slots(1, |n| async move {
            tokio::time::sleep(ms(10)).await;
            Ok(n)
        });
        let (watch, mut hog) = (probe.watch(), probe.clone());
        let throttle = Throttle::builder().spread(0.0).build().unwrap();
        throttle.hint(&(), ms(20));
        let layer = RetryLayer::builder(Twice::default()).backoff(Backoff::constant(ms(30)).jitter(Jitter::None));
        let mut service = layer.throttle(throttle).build().unwrap().layer(probe);
        let mut response = tokio_test::task::spawn(service.ready().await.unwrap().call(7));
        let mut done = response.poll().is_ready();
        for millis in 0..dropped_at {
            match millis {
                45 => drop(hog.ready().await.unwrap()),
                100 => hog = hog.clone(),
                _ => {}
            }
            tokio::time::advance(ms(1)).await;
            done = done || response.is_woken() && response.poll().is_ready();
        }
        states.insert(if done { "done".to_owned() } else { format!("{:?}", *response) });
        drop((response, service, hog));
        assert_eq!((watch.reserved(), watch.running(), watch.violations()), (0, 0, 0), "at {dropped_at} ms");
    }
    let all = [("Waiting", 0), ("Calling", 1), ("Waiting", 1), ("Readying", 1), ("Calling", 2)];
    let all = all.map(|(state, attempts)| format!("ResponseFuture {{ state: {state:?}, attempts: {attempts}, .. }}"));
    assert_eq!(states, all.into_iter().chain(["done".to_owned()]).collect(), "every state was met, and no other");
}

#[test]
fn f22_no_waker_runs_under_a_lock() {
    let at_once = || RetryLayer::builder(Twice::default()).backoff(Backoff::constant(Duration::ZERO));
    laws::a_service_runs_no_waker_under_a_lock(move |probe: Probe<u32>| at_once().build().unwrap().layer(probe), 7);
    let throttled =
        move |probe: Probe<u32>| at_once().throttle(Throttle::builder().build().unwrap()).build().unwrap().layer(probe);
    laws::a_service_runs_no_waker_under_a_lock(throttled, 7);
}

#[test]
fn service_layer_future_and_errors_are_send_and_sync() {
    type Service = Retry<Mutexed, ByError>;
    laws::is_send_and_sync::<RetryLayer<ByError>>();
    laws::is_send_and_sync::<Service>();
    laws::is_send_and_sync::<<Service as tower::Service<u32>>::Future>();
    laws::is_send_and_sync::<forebay_retry::RetriesExhausted>();
    laws::is_send_and_sync::<forebay_retry::Throttled>();
    laws::is_send_and_sync::<forebay_retry::Budget>();
    laws::is_send_and_sync::<Throttle>();
}

/// A service whose future is `Sync`: that of a `Probe` is not.
#[derive(Clone)]
struct Mutexed;

impl Service<u32> for Mutexed {
    type Response = u32;
    type Error = BoxError;
    type Future = std::future::Ready<Result<u32, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: u32) -> Self::Future {
        std::future::ready(Ok(request))
    }
}

#[tokio::test(start_paused = true)]
async fn it_works_inside_tower_s_own_layers_and_boxes() {
    let service = tower::ServiceBuilder::new()
        .buffer::<u32>(4)
        .layer(twice())
        .timeout(Duration::from_secs(1))
        .service(Probe::<u32>::echo());
    let service = tower::util::BoxCloneSyncService::new(service);
    assert_eq!(service.clone().oneshot(3).await.unwrap(), 3);
    assert_eq!(service.oneshot(4).await.unwrap(), 4);
}
