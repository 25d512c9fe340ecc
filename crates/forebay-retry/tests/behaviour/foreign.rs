//! One budget for this retry and for layers of another library that send requests once more.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{Advice, BoxError, ByError, DropReason, Outcome, Seen, Verdict};
use forebay_retry::{Backoff, Budget, RetryLayer, Withdrawal};
use forebay_testkit::Probe;
use std::{
    future::{Ready, ready},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{
    Layer, ServiceExt,
    buffer::Buffer,
    hedge::{self, Hedge},
    retry,
};

/// A policy of tower that sends a request again as long as the budget pays for it.
#[derive(Clone)]
struct Drawing(Budget);

impl retry::Policy<u32, u32, BoxError> for Drawing {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut u32, result: &mut Result<u32, BoxError>) -> Option<Ready<()>> {
        let paid = || self.0.withdraw(1.0).map(Withdrawal::spend).is_some();
        (result.is_err() && paid()).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &u32) -> Option<u32> {
        Some(*request)
    }
}

/// A policy of tower's hedge: a second request goes out as long as the budget pays for it.
impl hedge::Policy<u32> for Drawing {
    fn clone_request(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn can_retry(&self, _: &u32) -> bool {
        self.0.withdraw(1.0).map(Withdrawal::spend).is_some()
    }
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A budget of so many requests, which nothing fills up.
fn budget(requests: f64) -> Budget {
    Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(requests).build().unwrap()
}

/// A hedge for a server that has responded within 10 ms so far.
fn hedged<S>(service: S, budget: &Budget) -> Hedge<S, Drawing>
where
    S: tower::Service<u32, Error = BoxError> + Clone,
{
    Hedge::new_with_mock_latencies(service, Drawing(budget.clone()), 5, 0.5, ms(3_600_000), &[10; 20])
}

/// Three calls to a server that always fails send eight requests: three, and what the budget pays for, in both orders.
#[tokio::test(start_paused = true)]
async fn r16_layers_that_share_a_budget_stay_within_it_in_either_order() {
    for foreign_outside in [true, false] {
        let budget = budget(5.0);
        let probe = Probe::<u32, u32>::new(|_| ready(Err("down".into())));
        let watch = probe.watch();
        let ours = RetryLayer::builder(|_: &Result<u32, BoxError>| Outcome::RETRYABLE)
            .max_retries(2)
            .backoff(Backoff::constant(Duration::from_millis(10)))
            .budget(budget.clone())
            .build()
            .unwrap();
        let foreign = retry::RetryLayer::new(Drawing(budget.clone()));
        for call in 0..3 {
            let result = if foreign_outside {
                foreign.layer(ours.layer(probe.clone())).oneshot(call).await
            } else {
                ours.layer(foreign.layer(probe.clone())).oneshot(call).await
            };
            result.unwrap_err();
        }
        assert_eq!(watch.calls(), 3 + 5, "foreign outside: {foreign_outside}");
        assert!(budget.withdraw(0.1).is_none());
    }
}

/// A server that takes 100 ms for each failure: every attempt is hedged, as long as the budget lasts.
#[tokio::test(start_paused = true)]
async fn r16_a_hedge_and_a_retry_stay_within_one_budget() {
    let probe = Probe::<u32, u32>::new(|_| async {
        sleep(ms(100)).await;
        Err("down".into())
    });
    let (watch, budget) = (probe.watch(), budget(5.0));
    let retry = RetryLayer::builder(ByError::new())
        .max_retries(2)
        .backoff(Backoff::constant(ms(10)))
        .budget(budget.clone())
        .build()
        .unwrap();
    // A hedge is not `Clone`, which a retry asks for; a buffer in front of it is.
    let service = retry.layer(Buffer::new(hedged(probe, &budget), 8));
    for call in 0..3 {
        service.clone().oneshot(call).await.unwrap_err();
    }
    assert_eq!(watch.calls(), 3 + 5);
    assert!(budget.withdraw(0.1).is_none());
}

/// The server asks for a second. Below the retry the hedge leaves it alone that long; above the retry it takes the wait for a slow
/// response, and sends the request again within it.
#[tokio::test(start_paused = true)]
async fn r12_a_hedge_stands_below_the_retry() {
    for (outside, second) in [(false, 1000..2000), (true, 10..11)] {
        let times = Arc::new(Mutex::new(Vec::new()));
        let (begin, seen) = (Instant::now(), Arc::clone(&times));
        let probe = Probe::<u32, u32>::new(move |request| {
            let mut times = seen.lock().unwrap();
            times.push(begin.elapsed().as_millis());
            let busy = Verdict::new(DropReason::Rejected, Seen::Yes, Advice::RetryAfter(ms(1000)));
            ready(if times.len() == 1 { Err(busy.into()) } else { Ok(request) })
        });
        let budget = budget(5.0);
        let retry = RetryLayer::builder(ByError::new()).backoff(Backoff::constant(ms(10))).budget(budget.clone());
        let retry = retry.build().unwrap();
        if outside {
            hedged(retry.layer(probe), &budget).oneshot(7).await.unwrap();
        } else {
            retry.layer(Buffer::new(hedged(probe, &budget), 8)).oneshot(7).await.unwrap();
        }
        let times = times.lock().unwrap().clone();
        assert!(times.len() == 2 && second.contains(&times[1]), "hedge outside: {outside}: {times:?}");
        // Each order pays for one request more, and a retry that the hedge has overtaken is refunded.
        assert!((budget.available() - 4.0).abs() < 1e-9);
    }
}
