//! What the order of two layers means, shown at run time.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay::{
    ServiceBuilderExt,
    breaker::{BreakerLayer, CircuitOpen, OpenFor, State, Trip},
    core::{ByError, cause_ref},
    retry::{Backoff, RetryLayer},
};
use forebay_testkit::Probe;
use std::{future::ready, time::Duration};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

/// A service that is down, and how often it was called.
fn down() -> (Probe<u32>, forebay_testkit::Watch) {
    let probe = Probe::new(|_: u32| ready(Err(BoxError::from("down"))));
    let watch = probe.watch();
    (probe, watch)
}

fn breaker() -> BreakerLayer<(), forebay::core::Unkeyed, ByError> {
    let open_for = OpenFor::new(Duration::from_secs(60)).jitter(0.0);
    BreakerLayer::builder().trip(Trip::consecutive(5)).open_for(open_for).build().unwrap()
}

fn retry() -> RetryLayer<ByError> {
    RetryLayer::builder(ByError::new())
        .max_retries(3)
        .backoff(Backoff::constant(Duration::from_millis(100)))
        .without_budget()
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn breaker_outside_retry_counts_one_export_with_all_its_retries_once() {
    let (probe, watch) = down();
    let breaker = breaker();
    let handle = breaker.handle();
    let mut service = ServiceBuilder::new().with_breaker(breaker).with_retry(retry()).service(probe);
    for call in 1..=5 {
        assert_eq!(handle.state(&()), State::Closed);
        service.ready().await.unwrap().call(call).await.unwrap_err();
        assert_eq!(watch.calls(), 4 * call as usize, "four attempts, one observation");
    }
    assert_eq!(handle.state(&()), State::Open);
    let refused = service.ready().await.unwrap().call(6).await.unwrap_err();
    assert!(cause_ref::<CircuitOpen>(&*refused).is_some());
    assert_eq!(watch.calls(), 20);
}

#[tokio::test(start_paused = true)]
async fn retry_outside_breaker_counts_each_attempt_and_waits_the_open_circuit_out_if_it_may() {
    let (probe, watch) = down();
    let breaker = breaker();
    let handle = breaker.handle();
    let mut service = ServiceBuilder::new().with_retry(retry()).with_breaker(breaker).service(probe);
    service.ready().await.unwrap().call(1).await.unwrap_err();
    assert_eq!((watch.calls(), handle.state(&())), (4, State::Closed), "four attempts, four observations");

    // The second call opens the circuit with its first attempt; its retries ask the open circuit, which says how long.
    let begin = tokio::time::Instant::now();
    service.ready().await.unwrap().call(2).await.unwrap_err();
    assert!(begin.elapsed() >= Duration::from_secs(60), "the hint of the breaker is waited for");
    assert!(watch.calls() >= 6, "and then there is a probe");
}
