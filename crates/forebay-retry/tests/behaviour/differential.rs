//! The same scenario on tower's own `Retry` and on ours: the same outcome, or a difference that is stated here.
//!
//! 1. What tower returns as the last error, we return inside of `RetriesExhausted`.
//! 2. tower copies the request for the last attempt as well; we do not.
//! 3. Where the request cannot be copied, tower returns the first error without a word; ours says so.
//! 4. An error of `poll_ready` between attempts ends both; ours keeps it inside of `RetriesExhausted`.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::{Failed, Log, Scripted, Scripted::*, classify, scripted};
use forebay_core::{BoxError, Outcome};
use forebay_retry::{Backoff, RetriesExhausted, RetryLayer, StopReason};
use forebay_testkit::Watch;
use proptest::prelude::*;
use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Layer, Service, ServiceExt, retry::Policy};

/// Counts its copies.
#[derive(Debug)]
struct Counted {
    id: u32,
    copies: Arc<AtomicUsize>,
    copyable: bool,
}

impl Counted {
    fn copy(&self) -> Option<Self> {
        self.copyable.then(|| {
            self.copies.fetch_add(1, SeqCst);
            Self { id: self.id, copies: Arc::clone(&self.copies), copyable: true }
        })
    }
}

/// The probe's log keeps requests; that is no copy for another attempt.
impl Clone for Counted {
    fn clone(&self) -> Self {
        Self { id: self.id, copies: Arc::default(), copyable: self.copyable }
    }
}

/// What tower's documentation shows as the policy of "so many attempts".
#[derive(Clone)]
struct Attempts(u32);

impl Policy<Counted, Scripted, BoxError> for Attempts {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut Counted, result: &mut Result<Scripted, BoxError>) -> Option<Self::Future> {
        let Outcome::Retryable { .. } = classify(result) else { return None };
        self.0 = self.0.checked_sub(1)?;
        Some(ready(()))
    }

    fn clone_request(&mut self, request: &Counted) -> Option<Counted> {
        request.copy()
    }
}

#[derive(Debug, PartialEq)]
struct Story {
    result: Result<Scripted, Option<Scripted>>,
    requests: Vec<u32>,
    calls: usize,
    left: (usize, usize, usize),
}

fn story(result: &Result<Scripted, BoxError>, watch: &Watch, log: &Log<Counted>) -> Story {
    let result = match result {
        Ok(response) => Ok(*response),
        Err(error) => Err(forebay_core::cause_ref::<Failed>(&**error).map(|failed| failed.0)),
    };
    let requests = log.requests().iter().map(|request| request.id).collect();
    Story { result, requests, calls: watch.calls(), left: (watch.violations(), watch.reserved(), watch.running()) }
}

struct Both {
    tower: (Story, usize),
    ours: (Story, usize),
    error: Option<BoxError>,
}

async fn both(script: &[Scripted], retries: u32, copyable: bool, fails_after: Option<usize>) -> Both {
    async fn run<S>(mut service: S, copyable: bool, fail: impl FnOnce()) -> (Result<Scripted, BoxError>, usize)
    where
        S: Service<Counted, Response = Scripted, Error = BoxError>,
    {
        let copies = Arc::new(AtomicUsize::new(0));
        let request = Counted { id: 7, copies: Arc::clone(&copies), copyable };
        let response = service.ready().await.unwrap().call(request);
        fail();
        let result = response.await;
        (result, copies.load(SeqCst))
    }

    let (probe, watch, log) = scripted(script.to_vec());
    let service = tower::retry::RetryLayer::new(Attempts(retries)).layer(probe);
    let fail = || fails_after.iter().for_each(|_| watch.fail("closed"));
    let (result, copies) = run(service, copyable, fail).await;
    let tower = (story(&result, &watch, &log), copies);

    let (probe, watch, log) = scripted(script.to_vec());
    let layer = RetryLayer::builder(classify).max_retries(retries).backoff(Backoff::constant(Duration::ZERO));
    let service = layer.policy(Counted::copy).without_budget().max_hint(Duration::MAX).build().unwrap().layer(probe);
    let fail = || fails_after.iter().for_each(|_| watch.fail("closed"));
    let (result, copies) = run(service, copyable, fail).await;
    let ours = (story(&result, &watch, &log), copies);
    Both { tower, ours, error: result.err() }
}

fn response() -> impl Strategy<Value = Scripted> {
    prop_oneof![Just(Good), Just(Busy), Just(Fail), Just(Fatal)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn attempts_results_and_requests_are_the_same(
        script in proptest::collection::vec(response(), 0..10), retries in 0..8_u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let Both { tower, ours, .. } = runtime.block_on(both(&script, retries, true, None));
        prop_assert_eq!(&tower.0, &ours.0);
        prop_assert_eq!(ours.0.left, (0, 0, 0));
        // Difference 2.
        prop_assert_eq!(tower.1, ours.0.calls);
        prop_assert_eq!(ours.1, ours.0.calls.min(usize::try_from(retries).unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn difference_1_the_last_error_is_inside() {
    let Both { error, .. } = both(&[Fail; 4], 3, true, None).await;
    assert!(error.unwrap().is::<RetriesExhausted>());
}

#[tokio::test(start_paused = true)]
async fn difference_3_a_request_that_cannot_be_copied_says_so() {
    let Both { tower, ours, error } = both(&[Fail; 4], 3, false, None).await;
    assert_eq!(tower.0, ours.0);
    assert_eq!(ours.0.calls, 1);
    assert_eq!(error.unwrap().downcast_ref::<RetriesExhausted>().unwrap().stop_reason(), StopReason::BodyNotReplayable);
}

#[tokio::test(start_paused = true)]
async fn difference_4_an_inner_service_that_closes_between_attempts() {
    let Both { tower, ours, error } = both(&[Fail; 4], 3, true, Some(1)).await;
    assert_eq!(tower.0, ours.0);
    assert_eq!(ours.0.calls, 1);
    assert_eq!(error.unwrap().downcast_ref::<RetriesExhausted>().unwrap().stop_reason(), StopReason::NotReady);
}
