//! A thousand clients in an outage: what reaches the server, and when.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{ByError, cause_ref};
use forebay_retry::{Backoff, Budget, RetriesExhausted, RetryLayer, StopReason};
use forebay_testkit::{Histogram, Probe};
use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

type Times = Arc<Mutex<Vec<Duration>>>;

/// A server that is down until the test sets it up.
fn down() -> (Probe<u32, ()>, Times, Arc<AtomicBool>) {
    let (begin, times, up) = (Instant::now(), Times::default(), Arc::new(AtomicBool::new(false)));
    let (log, is_up) = (Arc::clone(&times), Arc::clone(&up));
    let probe = Probe::new(move |_| {
        log.lock().unwrap().push(begin.elapsed());
        let up = is_up.load(SeqCst);
        async move { if up { Ok(()) } else { Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()) } }
    });
    (probe, times, up)
}

/// Sends `per_second` calls in each of `seconds`, and returns the attempts per call of those made from `from` on.
async fn amplification(per_second: u32, seconds: u32, from: u32) -> f64 {
    let attempts = Arc::new(AtomicUsize::new(0));
    let (counted, first) = (Arc::clone(&attempts), per_second * from);
    let probe = Probe::<u32, ()>::new(move |n| {
        counted.fetch_add(usize::from(n >= first), SeqCst);
        async { Err(io::Error::from(io::ErrorKind::ConnectionRefused).into()) }
    });
    let service = RetryLayer::builder(ByError::new()).build().unwrap().layer(probe);
    let mut calls = Vec::new();
    for n in 0..per_second * seconds {
        calls.push(tokio::spawn(service.clone().oneshot(n)));
        tokio::time::sleep(Duration::from_secs(1) / per_second).await;
    }
    for call in calls {
        call.await.unwrap().unwrap_err();
    }
    attempts.load(SeqCst) as f64 / f64::from(per_second * (seconds - from))
}

#[tokio::test(start_paused = true)]
async fn r16_in_a_full_outage_the_default_budget_adds_a_tenth_at_most() {
    // The reserve of 100 is used up within the first seconds. Up to one retry may be left over from then.
    for (per_second, seconds, from) in [(500, 22, 2), (100, 60, 10), (20, 120, 20)] {
        let requests = amplification(per_second, seconds, from).await;
        let one = 1.0 / f64::from(per_second * (seconds - from));
        assert!(requests <= 1.1 + one, "{requests} requests per call at {per_second} calls per second");
        assert!(requests > 1.09, "the budget is there to be used: {requests} at {per_second} calls per second");
    }
}

#[tokio::test(start_paused = true)]
async fn r16_with_ratio_and_floor_retries_stay_within_both() {
    for (ratio, floor, reserve) in [(0.1, 0.0, 1.0), (0.2, 0.0, 10.0), (0.0, 5.0, 5.0), (0.15, 2.0, 1.0)] {
        let budget = Budget::builder().ratio(ratio).floor_per_second(floor).reserve(reserve).build().unwrap();
        let (probe, times, _) = down();
        let layer = RetryLayer::builder(ByError::new()).budget(budget).backoff(Backoff::constant(Duration::ZERO));
        let service = layer.build().unwrap().layer(probe);
        let (calls, seconds) = (2000.0, 20.0);
        for n in 0..2000 {
            service.clone().oneshot(n).await.unwrap_err();
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        let retries = times.lock().unwrap().len() as f64 - calls;
        let allowed = reserve + f64::max(ratio * calls, floor * seconds);
        assert!(retries <= allowed, "{retries} of {allowed}: ratio {ratio}, floor {floor}");
        assert!(retries >= 0.95 * (allowed - reserve), "{retries} of {allowed}: ratio {ratio}, floor {floor}");
    }
}

#[tokio::test(start_paused = true)]
async fn r16_after_the_outage_the_budget_comes_back() {
    let (probe, _, up) = down();
    let budget = Budget::builder().reserve(10.0).build().unwrap();
    let service = RetryLayer::builder(ByError::new()).budget(budget.clone()).build().unwrap().layer(probe);
    let mut refused = 0;
    for n in 0..50 {
        let error = service.clone().oneshot(n).await.unwrap_err();
        refused += usize::from(cause_ref::<RetriesExhausted>(&*error).unwrap().stop_reason() == StopReason::Budget);
    }
    assert!(refused > 30 && budget.available() < 2.0, "{refused}, {}", budget.available());
    up.store(true, SeqCst);
    for n in 0..100 {
        service.clone().oneshot(n).await.unwrap();
    }
    assert!((budget.available() - 10.0).abs() < 1e-9, "{}", budget.available());
}

#[tokio::test(start_paused = true)]
async fn r15_a_thousand_clients_that_fail_together_come_back_apart() {
    // Clones of one service, services of one layer, and layers of their own: 1,000 each, failing at the same instant.
    for kind in ["clones", "services", "layers"] {
        let (probe, times, _) = down();
        let layer = || {
            let backoff = Backoff::exponential(Duration::from_secs(2)).cap(Duration::from_secs(2));
            RetryLayer::builder(ByError::new()).max_retries(1).without_budget().backoff(backoff).build().unwrap()
        };
        let (one, service) = (layer(), layer().layer(probe.clone()));
        let calls: Vec<_> = (0..1000)
            .map(|n| match kind {
                "clones" => tokio::spawn(service.clone().oneshot(n)),
                "services" => tokio::spawn(one.layer(probe.clone()).oneshot(n)),
                _ => tokio::spawn(layer().layer(probe.clone()).oneshot(n)),
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap_err();
        }
        let times = times.lock().unwrap();
        assert!(times[..1000].iter().all(Duration::is_zero));
        let histogram = Histogram::new(Duration::from_millis(100), times[1000..].iter().copied());
        assert!(histogram.peak_to_mean() <= 3.0, "{kind}: {:?}", histogram.bins());
        assert!(histogram.bins().len() >= 20, "{kind}: {:?}", histogram.bins());
    }
}
