//! One budget for this retry and for layers of another library that send requests once more.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{BoxError, Outcome};
use forebay_retry::{Backoff, Budget, RetryLayer, Withdrawal};
use forebay_testkit::Probe;
use std::{
    future::{Ready, ready},
    time::Duration,
};
use tower::{Layer, ServiceExt, retry};

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

/// Three calls to a server that always fails send eight requests: three, and what the budget pays for, in both orders.
#[tokio::test(start_paused = true)]
async fn r16_layers_that_share_a_budget_stay_within_it_in_either_order() {
    for foreign_outside in [true, false] {
        let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(5.0).build().unwrap();
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
