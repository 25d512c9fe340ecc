//! What one request meets: attempts, waits, ends.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::{Failed, Scripted, Scripted::*, classify, ms, scripted, slow_scripted};
use forebay_core::{Advice, BoxError, ByError, DropReason, Outcome, Seen, Verdict, is_caused_by};
use forebay_retry::{
    Backoff, Budget, Deadline, Jitter, Policy, RetriesExhausted, RetryBuilder, RetryEvent, RetryLayer, StopReason,
    Throttle,
};
use forebay_testkit::{Probe, laws};
use proptest::prelude::*;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

type Classifier = fn(&Result<Scripted, BoxError>) -> Outcome;

/// 100, 200, 400 ms, without chance.
fn plain() -> RetryBuilder<Classifier> {
    RetryLayer::builder(classify as Classifier).backoff(Backoff::exponential(ms(100)).cap(ms(400)).jitter(Jitter::None))
}

fn exhausted(error: &BoxError) -> &RetriesExhausted {
    laws::error_chain_has_one_link_per_sentence(&**error);
    error.downcast_ref().unwrap()
}

#[tokio::test(start_paused = true)]
async fn r01_n_retries_are_n_and_one_attempts_at_the_times_of_the_backoff() {
    let (probe, _, log) = scripted([Fail; 9]);
    let error = plain().build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err();
    assert_eq!(log.times(), [ms(0), ms(100), ms(300), ms(700)]);
    let exhausted = exhausted(&error);
    assert_eq!((exhausted.attempts(), exhausted.stop_reason()), (4, StopReason::Attempts));
    assert_eq!(exhausted.to_string(), "gave up after 4 attempts");
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!(
        (verdict.reason(), verdict.seen(), verdict.advice()),
        (DropReason::RetriesExhausted, Seen::Maybe, Advice::Never)
    );
    assert!(is_caused_by::<Failed>(&*error), "the last error stands in the chain");
}

#[tokio::test(start_paused = true)]
async fn r02_no_retries_is_one_attempt_and_changes_nothing() {
    let (probe, _, log) = scripted([Fail, Busy]);
    let service = plain().max_retries(0).build().unwrap().layer(probe);
    let error = service.clone().oneshot(7_u32).await.unwrap_err();
    assert!(error.is::<Failed>(), "not wrapped: a layer that is switched off is not there");
    assert_eq!(service.oneshot(8).await.unwrap(), Busy);
    assert_eq!(log.requests(), [7, 8]);
}

#[tokio::test(start_paused = true)]
async fn r03_the_ladder_ends_at_the_cap() {
    let (probe, _, log) = scripted([Fail; 9]);
    plain().max_retries(6).build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err();
    assert_eq!(log.waits(), [ms(100), ms(200), ms(400), ms(400), ms(400), ms(400)]);
}

#[tokio::test(start_paused = true)]
async fn success_after_a_failure_is_a_success() {
    let (probe, _, log) = scripted([Fail, Busy, Good]);
    assert_eq!(plain().build().unwrap().layer(probe).oneshot(7_u32).await.unwrap(), Good);
    assert_eq!(log.requests(), [7, 7, 7]);
}

#[tokio::test(start_paused = true)]
async fn r04_what_will_not_pass_is_not_tried_again() {
    let (probe, _, log) = scripted([Fatal]);
    let error = plain().build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err();
    assert!(error.is::<Failed>(), "and it passes through as it is");
    assert_eq!(log.len(), 1);

    // On the second attempt as well.
    let (probe, _, log) = scripted([Fail, Fatal]);
    assert!(plain().build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err().is::<Failed>());
    assert_eq!(log.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn ignored_results_pass_through() {
    let (probe, _, log) = scripted([Fail]);
    let layer = RetryLayer::builder(|_: &Result<Scripted, BoxError>| Outcome::Ignored);
    assert!(layer.build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err().is::<Failed>());
    assert_eq!(log.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_response_is_returned_as_it_is() {
    let (probe, _, log) = scripted([Fail, Busy, Fail, Busy]);
    assert_eq!(plain().build().unwrap().layer(probe).oneshot(7_u32).await.unwrap(), Busy);
    assert_eq!(log.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn the_verdict_knows_the_most_that_is_known_of_all_attempts() {
    // A response to the first attempt was seen, whatever happened to the second.
    let (probe, ..) = scripted([Busy, Fail]);
    let error = plain().max_retries(1).build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err();
    assert_eq!(Verdict::of(&*error).unwrap().seen(), Seen::Yes);

    // Errors that say that nothing was sent.
    let unsent = Probe::<u32, Scripted>::new(|_| async {
        Err(std::io::Error::other(Verdict::new(DropReason::CircuitOpen, Seen::No, Advice::Retry)).into())
    });
    let layer = RetryLayer::builder(ByError::new()).max_retries(1);
    let error = layer.build().unwrap().layer(unsent).oneshot(7).await.unwrap_err();
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!((verdict.seen(), verdict.reason()), (Seen::No, DropReason::RetriesExhausted));
}

#[tokio::test(start_paused = true)]
async fn r08_nested_retries_do_not_multiply() {
    let (probe, _, log) = scripted([Fail; 100]);
    // The outer classifier would retry anything at all.
    let outer = RetryLayer::builder(|_: &Result<Scripted, BoxError>| Outcome::RETRYABLE).max_retries(5);
    let service = outer.build().unwrap().layer(plain().max_retries(2).build().unwrap().layer(probe));
    let error = service.oneshot(7_u32).await.unwrap_err();
    assert_eq!(log.len(), 3, "not 18");
    assert_eq!(exhausted(&error).attempts(), 3, "and the error is not wrapped twice");
}

#[tokio::test(start_paused = true)]
async fn r08_max_elapsed_is_measured_from_the_start_of_the_first_attempt() {
    // Each attempt takes 250 ms: they would begin at 0, 350, 800, 1450.
    for (elapsed, attempts) in [(350, 1), (351, 2), (800, 2), (801, 3), (5000, 4)] {
        let (probe, _, log) = slow_scripted(ms(250), [Fail; 9]);
        let begin = Instant::now();
        let error = plain().max_elapsed(ms(elapsed)).build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err();
        assert_eq!(log.len(), attempts, "within {elapsed} ms");
        let why = if attempts == 4 { StopReason::Attempts } else { StopReason::Elapsed };
        assert_eq!(exhausted(&error).stop_reason(), why);
        assert_eq!(log.times().last().copied().unwrap() + ms(250), begin.elapsed(), "no caller slept in vain");
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Job {
    rows: Vec<u32>,
    deadline: Option<Deadline>,
}

#[derive(Clone)]
struct Jobs;

impl<Res, Err> Policy<Job, Res, Err> for Jobs {
    fn copy(&self, job: &Job) -> Option<Job> {
        Some(job.clone())
    }

    fn deadline(&self, job: &Job) -> Option<Deadline> {
        job.deadline
    }
}

#[tokio::test(start_paused = true)]
async fn r08_no_wait_goes_past_the_deadline_of_the_request() {
    let (probe, _, log) = slow_scripted(ms(10), [Fail; 9]);
    let job = Job { rows: vec![1], deadline: Some(Deadline::after(ms(250))) };
    let begin = Instant::now();
    let error = plain().policy(Jobs).build().unwrap().layer(probe).oneshot(job).await.unwrap_err();
    assert_eq!(exhausted(&error).stop_reason(), StopReason::Deadline);
    assert_eq!(error.to_string(), "gave up after 2 attempts: the deadline of the request would pass first");
    assert_eq!(log.times(), [ms(0), ms(110)], "the next one would begin at 320");
    assert_eq!(begin.elapsed(), ms(120), "and the caller learns so at once");

    // A hint counts as well, and a deadline that has passed allows the first attempt only.
    let (probe, _, log) = scripted([FailFor(5000)]);
    let job = Job { rows: vec![1], deadline: Some(Deadline::after(ms(5000))) };
    let error = plain().policy(Jobs).build().unwrap().layer(probe).oneshot(job).await.unwrap_err();
    assert_eq!((exhausted(&error).stop_reason(), log.len()), (StopReason::Deadline, 1));
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!((verdict.reason(), verdict.advice()), (DropReason::Expired, Advice::Never), "a 504 to an HTTP client");
    assert!(Deadline::after(Duration::MAX).remaining() > Duration::from_secs(900_000_000));
    assert_eq!(Deadline::at(Instant::now()).remaining(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn r10_every_attempt_sends_the_same_bytes_and_ids() {
    let (probe, _, log) = scripted([Fail, Busy, Fail]);
    let job = Job { rows: vec![1, 2, 3], deadline: None };
    plain().policy(Jobs).build().unwrap().layer(probe).oneshot(job.clone()).await.unwrap();
    assert_eq!(log.requests(), vec![job; 4]);
}

#[tokio::test(start_paused = true)]
async fn r11_only_what_was_refused_is_sent_again() {
    // The server takes even numbers, and one odd number per attempt.
    let log = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&log);
    let probe = Probe::<Vec<u32>, Vec<u32>>::new(move |rows| {
        seen.lock().unwrap().push(rows.clone());
        let refused: Vec<_> = rows.into_iter().filter(|row| row % 2 == 1).skip(1).collect();
        async move { Ok(refused) }
    });
    let layer = RetryLayer::builder(|result: &Result<Vec<u32>, BoxError>| match result {
        Ok(refused) if refused.is_empty() => Outcome::Success,
        _ => Outcome::RETRYABLE,
    });
    let layer = layer.narrow(|rows: &mut Vec<u32>, result: &Result<Vec<u32>, BoxError>| {
        if let Ok(refused) = result {
            rows.clone_from(refused);
        }
        !rows.is_empty()
    });
    let refused = layer.build().unwrap().layer(probe).oneshot(vec![1, 2, 3, 4, 5, 6]).await.unwrap();
    assert!(refused.is_empty(), "{refused:?}");
    assert_eq!(*log.lock().unwrap(), [vec![1, 2, 3, 4, 5, 6], vec![3, 5], vec![5]]);
}

#[tokio::test(start_paused = true)]
async fn r11_when_nothing_is_left_the_result_is_returned() {
    let (probe, _, log) = scripted([Busy, Busy]);
    let layer = plain().narrow(|left: &mut u32, _: &Result<Scripted, BoxError>| {
        *left -= 1;
        *left > 0
    });
    assert_eq!(layer.build().unwrap().layer(probe).oneshot(2).await.unwrap(), Busy);
    assert_eq!(log.requests(), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn r12_f01_a_hint_is_a_floor_and_after_one_above_the_cap_the_attempt_goes_at_the_cap() {
    let (probe, _, log) = scripted([FailFor(3000), BusyFor(50), FailFor(60_000), FailFor(86_400_000), FailFor(7)]);
    let error = plain().max_retries(4).build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err();
    let times = [ms(0), ms(3000), ms(3200), ms(63_200), ms(123_200)];
    assert_eq!(log.times(), times, "3 s are longer than the cap of the backoff, 50 ms too short, a day is a minute");
    assert_eq!((exhausted(&error).stop_reason(), exhausted(&error).hint()), (StopReason::Attempts, Some(ms(7))));

    let (probe, _, log) = scripted([FailFor(u64::MAX), FailFor(9)]);
    plain().max_hint(ms(500)).build().unwrap().layer(probe).oneshot(7_u32).await.unwrap();
    assert_eq!(log.waits(), [ms(500), ms(200)]);

    // With jitter there is spread on top: up to half of the hint, here.
    let (probe, _, log) = scripted([FailFor(3000)]);
    let backoff = Backoff::exponential(ms(100)).seed(3);
    plain().backoff(backoff).build().unwrap().layer(probe).oneshot(7_u32).await.unwrap();
    let wait = log.times()[1];
    assert!(wait > ms(3000) && wait <= ms(4501), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn r12_a_wait_that_no_clock_can_count_is_a_long_one() {
    let (probe, _, log) = scripted([FailFor(u64::MAX)]);
    let mut service = plain().max_hint(Duration::MAX).build().unwrap().layer(probe);
    let mut response = tokio_test::task::spawn(service.ready().await.unwrap().call(7_u32));
    assert!(response.poll().is_pending());
    tokio::time::advance(Duration::from_secs(60 * 60 * 24 * 365)).await;
    assert!(response.poll().is_pending());
    assert_eq!(log.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn r13_an_inner_service_that_is_not_ready_between_attempts_is_waited_for() {
    let probe = Probe::<u32, u32>::with_slots(1, |n| async move {
        tokio::time::sleep(ms(10)).await;
        Ok(n)
    });
    let watch = probe.watch();
    let mut hog = probe.clone();
    let tried = Arc::new(Mutex::new(0));
    let layer = RetryLayer::builder(move |_: &Result<u32, BoxError>| {
        *tried.lock().unwrap() += 1;
        if *tried.lock().unwrap() == 1 { Outcome::RETRYABLE } else { Outcome::Success }
    });
    let mut service = layer.backoff(Backoff::constant(ms(100)).jitter(Jitter::None)).build().unwrap().layer(probe);
    let begin = Instant::now();
    let response = tokio::spawn(service.ready().await.unwrap().call(7));
    tokio::time::sleep(ms(50)).await;
    hog.ready().await.unwrap();
    tokio::time::sleep(ms(950)).await;
    assert!(!response.is_finished());
    drop(hog);
    assert_eq!(response.await.unwrap().unwrap(), 7);
    assert_eq!(begin.elapsed(), ms(1010));
    assert_eq!((watch.calls(), watch.violations(), watch.reserved()), (2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn r13_and_not_past_the_end() {
    let failing = || Probe::<u32, u32>::with_slots(1, |_| async { Err(Failed(Fail).into()) });
    for (deadline, elapsed, why) in [(500, 900, StopReason::Deadline), (900, 500, StopReason::Elapsed)] {
        let probe = failing();
        let mut hog = probe.clone();
        let policy = AtDeadline(Deadline::after(ms(deadline)));
        let layer = RetryLayer::builder(ByError::new()).max_elapsed(ms(elapsed)).policy(policy);
        let mut service = layer.backoff(Backoff::constant(ms(100)).jitter(Jitter::None)).build().unwrap().layer(probe);
        let begin = Instant::now();
        let response = tokio::spawn(service.ready().await.unwrap().call(7));
        tokio::time::sleep(ms(50)).await;
        hog.ready().await.unwrap();
        let error = response.await.unwrap().unwrap_err();
        assert_eq!(exhausted(&error).stop_reason(), why);
        assert!(is_caused_by::<Failed>(&*error), "the last error is kept while there is none at hand");
        assert_eq!(begin.elapsed(), ms(500));
    }
}

#[derive(Clone)]
struct AtDeadline(Deadline);

impl<Res, Err> Policy<u32, Res, Err> for AtDeadline {
    fn copy(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn deadline(&self, _: &u32) -> Option<Deadline> {
        Some(self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_fails_between_attempts_ends_the_retry() {
    let probe = Probe::<u32, u32>::new(|_| async { Err(Failed(Fail).into()) });
    let watch = probe.watch();
    let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(5.0).build().unwrap();
    let layer = RetryLayer::builder(ByError::new()).budget(budget.clone());
    let mut service = layer.backoff(Backoff::constant(ms(100)).jitter(Jitter::None)).build().unwrap().layer(probe);
    let response = service.ready().await.unwrap().call(7);
    watch.fail("worker gone");
    let error = response.await.unwrap_err();
    assert_eq!(exhausted(&error).stop_reason(), StopReason::NotReady);
    assert_eq!(Verdict::of(&*error).unwrap().advice(), Advice::Never);
    assert!(format!("{error:?}").contains("worker gone"), "{error:?}");
    assert_eq!(watch.calls(), 1);
    assert!((budget.available() - 5.0).abs() < 1e-9, "the retry that was not sent is refunded");

    // Before the first attempt it is the caller's to see, as it is.
    assert_eq!(service.ready().await.map(drop).unwrap_err().to_string(), "worker gone");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_copied_is_sent_once_and_says_so() {
    #[derive(Debug)]
    struct Once(u32);
    let asked = Arc::new(Mutex::new(0));
    let count = Arc::clone(&asked);
    let layer = RetryLayer::builder(ByError::new()).policy(move |_: &Once| {
        *count.lock().unwrap() += 1;
        None
    });
    let layer = layer.build().unwrap();
    let good = Probe::<Once, u32>::new(|Once(n)| async move { Ok(n) });
    assert_eq!(layer.layer(good).oneshot(Once(7)).await.unwrap(), 7, "the first attempt goes out");

    let bad = Probe::<Once, u32>::new(|_| async { Err(Failed(Fail).into()) });
    let watch = bad.watch();
    let error = layer.layer(bad).oneshot(Once(7)).await.unwrap_err();
    assert_eq!(exhausted(&error).stop_reason(), StopReason::BodyNotReplayable);
    assert_eq!(error.to_string(), "gave up after 1 attempt: the request cannot be sent twice");
    assert_eq!((watch.calls(), *asked.lock().unwrap()), (1, 2));
}

/// Counts its copies.
#[derive(Debug)]
struct Counted(Arc<Mutex<u32>>);

impl Clone for Counted {
    fn clone(&self) -> Self {
        *self.0.lock().unwrap() += 1;
        Self(Arc::clone(&self.0))
    }
}

#[tokio::test(start_paused = true)]
async fn there_is_no_copy_for_the_last_attempt_and_none_without_retries() {
    for (retries, copies) in [(0, 0), (1, 1), (3, 3)] {
        let made = Arc::new(Mutex::new(0));
        let probe = Probe::<Counted, ()>::new(|_| async { Err(Failed(Fail).into()) });
        let watch = probe.watch();
        let layer = RetryLayer::builder(ByError::new()).max_retries(retries);
        layer.build().unwrap().layer(probe).oneshot(Counted(Arc::clone(&made))).await.unwrap_err();
        assert_eq!((*made.lock().unwrap(), watch.calls()), (copies, usize::try_from(retries).unwrap() + 1));
    }
}

#[tokio::test(start_paused = true)]
async fn r16_a_retry_over_the_budget_is_refused_and_says_so() {
    let (probe, _, log) = scripted([Fail; 99]);
    let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(2.0).build().unwrap();
    let service = plain().budget(budget.clone()).build().unwrap().layer(probe);
    let error = service.clone().oneshot(7_u32).await.unwrap_err();
    assert_eq!((exhausted(&error).stop_reason(), log.len()), (StopReason::Budget, 3));
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!((verdict.reason(), verdict.advice()), (DropReason::Budget, Advice::Never));
    service.oneshot(8).await.unwrap_err();
    assert_eq!(log.len(), 4, "clones share it");
    assert!(budget.available() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn r16_results_have_their_price_and_a_cancelled_retry_has_none() {
    let (probe, _, log) = scripted([Busy, Fail, Fail]);
    let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(10.0).build().unwrap();
    let priced = plain().budget(budget.clone()).cost(|result: &Result<Scripted, BoxError>| match result {
        Ok(_) => 0.5,
        Err(_) => 4.0,
    });
    let mut service = priced.build().unwrap().layer(probe);
    let mut response = tokio_test::task::spawn(service.ready().await.unwrap().call(7_u32));
    assert!(response.poll().is_pending());
    assert!((budget.available() - 9.5).abs() < 1e-9, "paid when it is decided");
    tokio::time::advance(ms(101)).await;
    assert!(response.poll().is_pending());
    assert_eq!(log.len(), 2);
    assert!((budget.available() - 5.5).abs() < 1e-9);
    drop(response);
    assert!((budget.available() - 9.5).abs() < 1e-9, "the second retry was not sent: refunded");
}

#[tokio::test(start_paused = true)]
async fn the_observer_sees_each_decision_once() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let (probe, ..) = scripted([BusyFor(150), Fail, Good, Fail, Fail, Fail, Fail]);
    let observed = plain().observe(move |event: &RetryEvent| sink.lock().unwrap().push(*event));
    let service = observed.build().unwrap().layer(probe);
    service.clone().oneshot(7_u32).await.unwrap();
    let lines: Vec<_> = events.lock().unwrap().drain(..).map(|event| format!("{event:?}")).collect();
    assert_eq!(
        lines,
        [
            "Retrying { attempt: Attempt(1), wait: 150ms, hint: Some(150ms) }",
            "Retrying { attempt: Attempt(2), wait: 200ms, hint: None }",
            "Finished { attempt: Attempt(3) }",
        ]
    );
    service.oneshot(8).await.unwrap_err();
    let last = events.lock().unwrap().pop().unwrap();
    let RetryEvent::GaveUp(gave_up) = last else { panic!("{last:?}") };
    assert_eq!((gave_up.attempts(), gave_up.stop_reason()), (4, StopReason::Attempts));
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_needs_no_timer_and_ends() {
    let (probe, _, log) = scripted([Fail; 9]);
    let layer = plain().backoff(Backoff::constant(Duration::ZERO));
    let begin = Instant::now();
    layer.build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err();
    assert_eq!((log.len(), begin.elapsed()), (4, Duration::ZERO));
}

#[test]
fn without_a_runtime_a_call_that_needs_no_wait_works() {
    let service = RetryLayer::builder(ByError::new()).build().unwrap().layer(Probe::<u32>::echo());
    let mut task = tokio_test::task::spawn(service.oneshot(7));
    let std::task::Poll::Ready(Ok(7)) = task.poll() else { panic!("it needed something") };
}

fn response() -> impl Strategy<Value = Scripted> {
    prop_oneof![
        Just(Good),
        Just(Busy),
        (0..90_000_u64).prop_map(BusyFor),
        Just(Fail),
        (0..90_000_u64).prop_map(FailFor),
        Just(Fatal)
    ]
}

/// How many attempts a script takes, and what comes out: written down once more, in the plainest way.
fn expected(script: &[Scripted], retries: usize) -> (usize, Result<Scripted, Option<StopReason>>) {
    for (index, response) in script.iter().chain(std::iter::repeat(&Good)).enumerate() {
        let attempts = index + 1;
        let why = match response {
            Good => return (attempts, Ok(Good)),
            Fatal => return (attempts, Err(None)),
            _ if attempts > retries => StopReason::Attempts,
            Busy | BusyFor(_) | Fail | FailFor(_) => continue,
        };
        return match response {
            Busy | BusyFor(_) => (attempts, Ok(*response)),
            _ if retries == 0 => (attempts, Err(None)),
            _ => (attempts, Err(Some(why))),
        };
    }
    unreachable!("the script ends with success")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]
    #[test]
    fn any_script_ends_as_the_plain_model_says(
        script in proptest::collection::vec(response(), 0..12), retries in 0..8_u32, seed in any::<u64>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (probe, watch, log) = scripted(script.clone());
            let backoff = Backoff::decorrelated(ms(20)).cap(ms(2000)).seed(seed);
            let service = plain().without_budget().max_retries(retries).backoff(backoff).build().unwrap().layer(probe);
            let result = service.oneshot(7_u32).await;
            let (attempts, outcome) = expected(&script, usize::try_from(retries).unwrap());
            prop_assert_eq!(log.len(), attempts);
            match result {
                Ok(response) => prop_assert_eq!(outcome, Ok(response)),
                Err(error) => {
                    let why = error.downcast_ref::<RetriesExhausted>().map(RetriesExhausted::stop_reason);
                    prop_assert_eq!(outcome, Err(why));
                }
            }
            // Waits are bounded below by the hints, above by the larger of cap and hint plus spread.
            for (index, wait) in log.waits().into_iter().enumerate() {
                let hint = match script[index] {
                    BusyFor(wait) | FailFor(wait) => ms(wait.min(60_000)),
                    _ => Duration::ZERO,
                };
                prop_assert!(wait >= hint && wait <= hint + ms(2001), "{wait:?} after {hint:?}");
            }
            prop_assert_eq!((watch.violations(), watch.reserved(), watch.running()), (0, 0, 0));
            Ok(())
        })?;
    }
}

/// Fails once, and then panics in `call` itself.
#[derive(Clone, Default)]
struct PanicsInCall(Arc<Mutex<u32>>);

impl Service<u32> for PanicsInCall {
    type Response = Scripted;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Scripted, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        let calls = {
            let mut calls = self.0.lock().unwrap();
            *calls += 1;
            *calls
        };
        assert!(calls % 2 == 1, "the call itself panics");
        std::future::ready(Err("away".into()))
    }
}

#[tokio::test(start_paused = true)]
async fn f19_a_retry_whose_call_panics_is_refunded() {
    let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(1.0).build().unwrap();
    let layer = RetryLayer::builder(ByError::new()).budget(budget.clone());
    let service = layer.build().unwrap().layer(PanicsInCall::default());
    for _ in 0..3 {
        // A task of its own: it takes the future along when it panics.
        assert!(tokio::spawn(service.clone().oneshot(7)).await.unwrap_err().is_panic());
        assert!(budget.available() > 0.999, "{}", budget.available());
    }
}

/// Panics in each `call`, or never.
#[derive(Clone)]
struct AlwaysPanics(bool);

impl Service<u32> for AlwaysPanics {
    type Response = Scripted;
    type Error = BoxError;
    type Future = std::future::Ready<Result<Scripted, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: u32) -> Self::Future {
        assert!(!self.0, "the call itself panics");
        std::future::ready(Ok(Good))
    }
}

/// A call earns its share when it is made: one that panics was not made, whether it went at once or was held back.
#[tokio::test(start_paused = true)]
async fn f19_a_first_attempt_whose_call_panics_has_earned_nothing() {
    for (hint, retries) in [(None, 3), (None, 0), (Some(ms(50)), 3)] {
        let budget = Budget::builder().ratio(0.5).floor_per_second(0.0).reserve(2.0).build().unwrap();
        let throttle = Throttle::builder().spread(0.0).build().unwrap();
        let spent = RetryLayer::builder(classify as Classifier).budget(budget.clone()).build().unwrap();
        spent.layer(scripted([Fail; 9]).0).oneshot(1_u32).await.unwrap_err();
        let before = budget.available();
        assert!(before < 1.0, "{before}");

        let layer = RetryLayer::builder(ByError::new()).budget(budget.clone()).throttle(throttle.clone());
        let layer = layer.max_retries(retries).build().unwrap();
        hint.into_iter().for_each(|hint| throttle.hint(&(), hint));
        let panics = tokio::spawn(layer.layer(AlwaysPanics(true)).oneshot(7));
        assert!(panics.await.unwrap_err().is_panic());
        assert!((budget.available() - before).abs() < 1e-9, "{} after {before}", budget.available());
        assert!(throttle.held(&()).is_none() && throttle.is_empty(), "no call is held for it");

        hint.into_iter().for_each(|hint| throttle.hint(&(), hint));
        layer.layer(AlwaysPanics(false)).oneshot(7).await.unwrap();
        assert!((budget.available() - before - 0.5).abs() < 1e-9, "a call that is made earns its half");
    }
}
