//! One test for each fault that others have: it is absent here.
//!
//! Faults of the contract (an instance that was never made ready is called, a retry without a fresh `poll_ready`, a slot
//! that is lost with a dropped future) are in `laws.rs`; a budget that checks first and takes later is in the tests of
//! `Budget`; a boxed future and an allocation per call are in `cost.rs`. Time that cannot be paused would fail most
//! tests of this crate.

use crate::support::{Scripted::*, classify, ms, scripted};
use forebay_core::{BoxError, ByError, Outcome};
use forebay_retry::{Backoff, Budget, Jitter, RetriesExhausted, RetryLayer, StopReason};
use forebay_testkit::{Histogram, Probe};
use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

// === tower::retry ===

/// tower 0.5: `make_backoff` clones the generator without moving it on, so that every request draws the same delays.
#[tokio::test(start_paused = true)]
async fn tower_gives_every_request_the_same_jitter() {
    let layer =
        RetryLayer::builder(ByError::new()).without_budget().backoff(Backoff::default().seed(7)).build().unwrap();
    let mut ladders = HashSet::new();
    for _ in 0..50 {
        let times = Arc::new(Mutex::new(Vec::new()));
        let (log, begin) = (Arc::clone(&times), Instant::now());
        let probe = Probe::<u32, ()>::new(move |_| {
            log.lock().unwrap().push(begin.elapsed());
            async { Err(io::Error::from(io::ErrorKind::BrokenPipe).into()) }
        });
        layer.clone().layer(probe).oneshot(1).await.unwrap_err();
        ladders.insert(times.lock().unwrap().clone());
    }
    assert_eq!(ladders.len(), 50, "even with a seed: it makes the whole reproducible, not the requests alike");
}

/// tower 0.5, linkerd: the jitter is cut to what is left below the maximum, which is nothing at the maximum.
#[test]
fn tower_stops_to_spread_at_the_ceiling() {
    let backoff = Backoff::exponential(ms(1000)).cap(ms(1000)).jitter(Jitter::Additive(ms(500))).seed(7);
    let at_cap = Histogram::new(ms(100), (0..1000).filter_map(|client| backoff.delays(client).nth(9)));
    assert!(at_cap.bins().len() >= 5 && at_cap.peak_to_mean() < 3.0, "{:?}", at_cap.bins());
}

/// tower#690: a request that cannot be cloned is not retried, and no error says so.
#[tokio::test(start_paused = true)]
async fn tower_disables_the_retry_without_a_word() {
    let (probe, ..) = scripted([Fail]);
    let layer = RetryLayer::builder(classify).policy(|_: &u32| None).build().unwrap();
    let error = layer.layer(probe).oneshot(7).await.unwrap_err();
    assert_eq!(error.downcast_ref::<RetriesExhausted>().unwrap().stop_reason(), StopReason::BodyNotReplayable);
}

/// tower#857: fractions of what a call earns are cut off.
#[tokio::test(start_paused = true)]
async fn tower_s_budget_loses_fractions() {
    let budget = Budget::builder().ratio(0.3).floor_per_second(0.0).reserve(1.0).build().unwrap();
    let failing = RetryLayer::builder(classify).budget(budget.clone()).max_retries(1).build().unwrap();
    let (probe, ..) = scripted([Fail, Good]);
    failing.layer(probe).oneshot(0_u32).await.unwrap();
    let (probe, _, log) = scripted([Good, Good, Good, Fail, Good]);
    let service = failing.layer(probe);
    for n in 0..3 {
        service.clone().oneshot(n).await.unwrap();
    }
    assert!((budget.available() - 0.9).abs() < 1e-6, "three calls earn 0.9, not 0");
    service.oneshot(3).await.unwrap();
    assert_eq!(log.len(), 5, "and the fourth makes it 1.2, which is cut to the reserve of 1: one retry");
}

/// tower#682: three tries are twenty lines of policy.
#[tokio::test(start_paused = true)]
async fn tower_asks_for_a_policy_of_twenty_lines() {
    let (probe, _, log) = scripted([Fail, Fail]);
    RetryLayer::builder(ByError::new()).max_retries(2).build().unwrap().layer(probe).oneshot(7_u32).await.unwrap();
    assert_eq!(log.len(), 3);
}

/// tower, linkerd, tower-resilience: `Retry-After` is not read, or not obeyed.
#[tokio::test(start_paused = true)]
async fn others_come_back_before_the_server_asked_them_to() {
    let (probe, _, log) = scripted([BusyFor(30_000)]);
    RetryLayer::builder(classify).build().unwrap().layer(probe).oneshot(7_u32).await.unwrap();
    assert!(log.times()[1] >= ms(30_000), "otel-rust's waiter would have come after its own cap");
}

// === backon ===

/// backon 1.6: jitter is added after the cap; 2 s became 3.999 s. tower-resilience: 30 s became 44.99 s.
#[test]
fn backon_and_tower_resilience_go_above_the_cap() {
    for jitter in [Jitter::Full, Jitter::Equal, Jitter::Proportional(0.5), Jitter::Additive(ms(2000))] {
        let backoff = Backoff::exponential(ms(500)).cap(ms(2000)).jitter(jitter).seed(7);
        assert!((0..2000).all(|client| backoff.delays(client).take(8).all(|delay| delay <= ms(2000))), "{jitter:?}");
    }
}

/// backon 1.6: jitter is off unless it is asked for.
#[test]
fn backon_has_no_jitter_by_default() {
    for backoff in [
        Backoff::default(),
        Backoff::exponential(ms(100)),
        Backoff::constant(ms(100)),
        Backoff::fibonacci(ms(100)),
        Backoff::decorrelated(ms(100)),
    ] {
        let first: HashSet<_> = (0..100).filter_map(|client| backoff.seed(1).delays(client).next()).collect();
        assert!(first.len() > 90, "{backoff:?}");
    }
}

/// backon, failsafe and others: no budget, so that an outage multiplies the load by the number of attempts.
#[tokio::test(start_paused = true)]
async fn backon_multiplies_the_load_in_an_outage() {
    let probe = Probe::<u32, ()>::new(|_| async { Err(io::Error::from(io::ErrorKind::BrokenPipe).into()) });
    let watch = probe.watch();
    let service =
        RetryLayer::builder(ByError::new()).backoff(Backoff::constant(Duration::ZERO)).build().unwrap().layer(probe);
    for n in 0..10_000 {
        service.clone().oneshot(n).await.unwrap_err();
    }
    assert!(watch.calls() <= 10_000 + 1_000 + 100, "{} requests for 10,000 calls, not 40,000", watch.calls());
}

// === tower-resilience-retry ===

/// tower-resilience: each success earns a whole token, so that with every other attempt failing nothing is refused:
/// 2000 requests became 4000 attempts.
#[tokio::test(start_paused = true)]
async fn tower_resilience_s_budget_is_no_ratio() {
    let budget = Budget::builder().ratio(0.1).floor_per_second(0.0).reserve(100.0).build().unwrap();
    let (probe, _, log) = scripted((0..8000).map(|n| if n % 2 == 0 { Fail } else { Good }));
    let service = RetryLayer::builder(classify)
        .budget(budget)
        .backoff(Backoff::constant(Duration::ZERO))
        .build()
        .unwrap()
        .layer(probe);
    for n in 0..2000_u32 {
        drop(service.clone().oneshot(n).await);
    }
    assert!(log.len() <= 2000 + 200 + 100, "{} attempts", log.len());
}

/// tower-resilience: the budget does not know what failed.
#[tokio::test(start_paused = true)]
async fn tower_resilience_charges_the_same_for_everything() {
    let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(10.0).build().unwrap();
    let price = |result: &Result<_, BoxError>| if result.is_ok() { 1.0 } else { 2.0 };
    let layer = RetryLayer::builder(classify).budget(budget.clone()).cost(price).build().unwrap();
    let (probe, ..) = scripted([Busy, Fail, Good]);
    layer.layer(probe).oneshot(7_u32).await.unwrap();
    assert!((budget.available() - 7.0).abs() < 1e-9);
}

/// tower-resilience: the wait depends on the number of the attempt alone; there is no limit in time.
#[tokio::test(start_paused = true)]
async fn tower_resilience_knows_no_time_and_no_hint() {
    let begin = Instant::now();
    let (probe, _, log) = scripted([FailFor(700), FailFor(5), Fail, Fail, Fail, Fail]);
    let layer = RetryLayer::builder(classify)
        .max_retries(100)
        .max_elapsed(ms(2000))
        .backoff(Backoff::constant(ms(400)))
        .build()
        .unwrap();
    layer.layer(probe).oneshot(7_u32).await.ok();
    assert!(log.times()[1] >= ms(700));
    assert!(begin.elapsed() <= ms(2000));
}

/// tower-resilience: the request is cloned for the last attempt as well, and must be `Clone` at all.
#[tokio::test(start_paused = true)]
async fn tower_resilience_clones_for_the_last_attempt() {
    #[derive(Debug)]
    struct NotClone(u32);
    let copies = Arc::new(Mutex::new(0));
    let count = Arc::clone(&copies);
    let copy = move |request: &NotClone| {
        *count.lock().unwrap() += 1;
        Some(NotClone(request.0))
    };
    let probe = Probe::<NotClone, u32>::new(|NotClone(n)| async move { Ok(n) });
    let watch = probe.watch();
    let never = |_: &Result<u32, BoxError>| Outcome::RETRYABLE;
    let result =
        RetryLayer::builder(never).max_retries(2).policy(copy).build().unwrap().layer(probe).oneshot(NotClone(7)).await;
    assert_eq!((result.unwrap(), watch.calls(), *copies.lock().unwrap()), (7, 3, 2));
}
