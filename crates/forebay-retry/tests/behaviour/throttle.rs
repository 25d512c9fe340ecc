//! One hint for all: who waits, for how long, and how they come back.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::ms;
use forebay_core::{Advice, BoxError, ByError, Outcome, Seen, Verdict};
use forebay_retry::{
    Backoff, Budget, Deadline, Jitter, Policy, RetriesExhausted, RetryBuilder, RetryEvent, RetryLayer, StopReason,
    Throttle, Throttled,
};
use forebay_testkit::{Histogram, Probe, Watch, laws};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt};

type Log = Arc<Mutex<Vec<(Duration, &'static str)>>>;

/// Responds with `Err(wait)` for the first call of each key in `busy`, and remembers when it was called.
fn host(busy: Vec<(&'static str, u64)>) -> (Probe<&'static str, Result<(), u64>>, Watch, Log) {
    let (begin, busy, log) = (Instant::now(), Mutex::new(busy), Log::default());
    let seen = Arc::clone(&log);
    let probe = Probe::new(move |key: &'static str| {
        seen.lock().unwrap().push((begin.elapsed(), key));
        let mut busy = busy.lock().unwrap();
        let place = busy.iter().position(|(name, _)| *name == key);
        let response = place.map_or(Ok(()), |place| Err(busy.remove(place).1));
        async move { Ok(response) }
    });
    let watch = probe.watch();
    (probe, watch, log)
}

fn classify(result: &Result<Result<(), u64>, BoxError>) -> Outcome {
    match result {
        Ok(Ok(())) => Outcome::Success,
        Ok(Err(wait)) => Outcome::Retryable { after: Some(ms(*wait)) },
        Err(_) => Outcome::Terminal,
    }
}

type Classifier = fn(&Result<Result<(), u64>, BoxError>) -> Outcome;

fn retry() -> RetryBuilder<Classifier> {
    RetryLayer::builder(classify as Classifier).backoff(Backoff::exponential(ms(100)).seed(1))
}

fn throttle() -> Throttle {
    Throttle::builder().seed(1).build().unwrap()
}

fn key<'r>(request: &'r &'static str) -> &'r str {
    request
}

#[tokio::test(start_paused = true)]
async fn r18_one_hint_makes_every_other_call_for_that_key_wait_and_they_come_back_spread() {
    let (probe, watch, log) = host(vec![("a", 5000)]);
    let service = retry().throttle_by(throttle(), key).build().unwrap().layer(probe);
    let first = tokio::spawn(service.clone().oneshot("a"));
    tokio::task::yield_now().await;
    let others: Vec<_> = (0..1000).map(|_| tokio::spawn(service.clone().oneshot("a"))).collect();
    for _ in 0..10 {
        assert_eq!(service.clone().oneshot("b").await.unwrap(), Ok(()), "another key goes on");
    }
    tokio::task::yield_now().await;
    assert_eq!(watch.calls(), 11, "the one that got the hint, and the other key");
    assert_eq!(watch.reserved(), 0, "who waits holds no readiness");
    for other in others {
        assert_eq!(other.await.unwrap().unwrap(), Ok(()));
    }
    assert_eq!(first.await.unwrap().unwrap(), Ok(()));

    let log = log.lock().unwrap();
    let late: Vec<_> = log.iter().filter(|(_, key)| *key == "a").map(|(at, _)| *at).skip(1).collect();
    assert_eq!(late.len(), 1001);
    assert!(late.iter().all(|at| *at >= ms(5000) && *at <= ms(7502)));
    let histogram = Histogram::new(ms(100), late);
    assert!(histogram.span() >= ms(2400) && histogram.peak_to_mean() <= 3.0, "{:?}", histogram.bins());
    assert!(log.iter().filter(|(_, key)| *key == "b").all(|(at, _)| *at == Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn r18_a_second_hint_holds_those_who_wait_further() {
    let (probe, _, log) = host(vec![]);
    let throttle = throttle();
    throttle.hint("a", ms(1000));
    let service = retry().throttle_by(throttle.clone(), key).build().unwrap().layer(probe);
    let waiting = tokio::spawn(service.oneshot("a"));
    tokio::time::sleep(ms(900)).await;
    throttle.hint("a", ms(3000));
    waiting.await.unwrap().unwrap().unwrap();
    let at = log.lock().unwrap()[0].0;
    assert!(at >= ms(3900), "sent after {at:?}, while the server asked for a pause");
}

#[tokio::test(start_paused = true)]
async fn r18_it_can_be_left_to_retries_only() {
    let (probe, _, log) = host(vec![]);
    let throttle = Throttle::builder().seed(1).hold_first_attempts(false).build().unwrap();
    throttle.hint("a", ms(1000));
    retry().throttle_by(throttle, key).build().unwrap().layer(probe).oneshot("a").await.unwrap().unwrap();
    assert_eq!(*log.lock().unwrap(), [(ms(0), "a")]);
}

#[tokio::test(start_paused = true)]
async fn r18_retries_that_wait_already_are_held_further_then_too() {
    let (probe, _, log) = crate::support::scripted([crate::support::Scripted::Fail]);
    let throttle = Throttle::builder().spread(0.0).hold_first_attempts(false).build().unwrap();
    let layer = RetryLayer::builder(crate::support::classify).backoff(Backoff::constant(ms(100)).jitter(Jitter::None));
    let response = tokio::spawn(layer.throttle(throttle.clone()).build().unwrap().layer(probe).oneshot(7_u32));
    tokio::time::sleep(ms(50)).await;
    throttle.hint(&(), ms(2000));
    response.await.unwrap().unwrap();
    assert_eq!(log.times()[1], ms(2050));
}

#[tokio::test(start_paused = true)]
async fn patience_begins_again_with_each_attempt() {
    let (probe, _, log) = crate::support::scripted([crate::support::Scripted::Fail]);
    let throttle = Throttle::builder().spread(0.0).patience(ms(2000)).build().unwrap();
    let layer = RetryLayer::builder(crate::support::classify).backoff(Backoff::constant(ms(100)).jitter(Jitter::None));
    throttle.hint(&(), ms(1500));
    let response = tokio::spawn(layer.throttle(throttle.clone()).build().unwrap().layer(probe).oneshot(7_u32));
    tokio::time::sleep(ms(1550)).await;
    throttle.hint(&(), ms(1500));
    response.await.unwrap().unwrap();
    assert_eq!(log.times(), [ms(1500), ms(3050)]);
}

#[tokio::test(start_paused = true)]
async fn r18_a_retry_without_a_hint_waits_for_the_hint_that_others_got() {
    let (probe, _, log) = crate::support::scripted([crate::support::Scripted::Fail]);
    let throttle = throttle();
    let layer = RetryLayer::builder(crate::support::classify).backoff(Backoff::constant(ms(10)).jitter(Jitter::None));
    let service = layer.throttle(throttle.clone()).build().unwrap().layer(probe);
    let response = tokio::spawn(service.oneshot(7_u32));
    tokio::task::yield_now().await;
    throttle.hint(&(), ms(2000));
    response.await.unwrap().unwrap();
    assert!(log.times()[1] >= ms(2000), "{:?}", log.times());
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_cannot_wait_for_the_hint_of_others_ends_at_once() {
    for (patience, elapsed, why) in [(2000, 9000, StopReason::Throttled), (9000, 2000, StopReason::Elapsed)] {
        let throttle =
            Throttle::builder().spread(0.0).hold_first_attempts(false).patience(ms(patience)).build().unwrap();
        throttle.hint(&(), ms(3000));
        let (probe, _, log) = crate::support::scripted([crate::support::Scripted::Fail; 9]);
        let layer = RetryLayer::builder(crate::support::classify).max_elapsed(ms(elapsed)).throttle(throttle);
        let begin = Instant::now();
        let error = layer.build().unwrap().layer(probe).oneshot(7_u32).await.unwrap_err();
        assert_eq!(error.downcast_ref::<RetriesExhausted>().unwrap().stop_reason(), why);
        assert_eq!((log.len(), begin.elapsed()), (1, Duration::ZERO));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hint_to_the_last_attempt_is_passed_on_as_well() {
    for retries in [0, 1] {
        let (probe, ..) = host(vec![("a", 1000), ("a", 4000)]);
        let throttle = throttle();
        let layer = retry().max_retries(retries).throttle_by(throttle.clone(), key);
        assert!(layer.build().unwrap().layer(probe).oneshot("a").await.unwrap().is_err());
        assert!(throttle.held("a").is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn who_cannot_wait_is_refused_without_an_attempt() {
    let events = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&events);
    let (probe, watch, _) = host(vec![]);
    let throttle = Throttle::builder().seed(1).spread(0.0).patience(ms(2000)).build().unwrap();
    let layer = retry().throttle_by(throttle.clone(), key);
    let service =
        layer.observe(move |event: &RetryEvent| sink.lock().unwrap().push(*event)).build().unwrap().layer(probe);
    throttle.hint("a", ms(3000));
    let begin = Instant::now();
    let error = service.clone().oneshot("a").await.unwrap_err();
    assert_eq!((begin.elapsed(), watch.calls()), (Duration::ZERO, 0), "at once, and not sent");
    laws::error_chain_has_one_link_per_sentence(&*error);
    assert_eq!(error.downcast_ref::<Throttled>().unwrap().retry_in(), ms(3000));
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!((verdict.seen(), verdict.advice()), (Seen::No, Advice::RetryAfter(ms(3000))));
    assert_eq!(*events.lock().unwrap(), [RetryEvent::Refused { retry_in: ms(3000) }]);

    // Patience is counted over all hints: after 1.9 s of 2, another second is too much.
    tokio::time::sleep(ms(3000)).await;
    throttle.hint("b", ms(1900));
    let waiting = tokio::spawn(service.oneshot("b"));
    tokio::time::sleep(ms(1850)).await;
    throttle.hint("b", ms(1000));
    assert!(waiting.await.unwrap().unwrap_err().is::<Throttled>());
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_would_pass_refuses_as_well() {
    let (probe, watch, _) = host(vec![]);
    let throttle = throttle();
    throttle.hint(&(), ms(3000));
    let layer = retry().throttle(throttle).max_elapsed(ms(2000));
    let error = layer.build().unwrap().layer(probe).oneshot("a").await.unwrap_err();
    assert!(error.is::<Throttled>());
    assert_eq!(watch.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn d06_a_first_attempt_held_beyond_the_deadline_of_its_request_is_refused_for_good() {
    struct Until(Deadline);

    impl<Res, Err> Policy<&'static str, Res, Err> for Until {
        fn copy(&self, request: &&'static str) -> Option<&'static str> {
            Some(request)
        }

        fn deadline(&self, _: &&'static str) -> Option<Deadline> {
            Some(self.0)
        }
    }

    let (probe, watch, _) = host(vec![]);
    let throttle = throttle();
    throttle.hint(&(), ms(1500));
    let layer = retry().throttle(throttle).policy(Until(Deadline::after(ms(1500))));
    let error = layer.build().unwrap().layer(probe).oneshot("a").await.unwrap_err();
    assert!(error.downcast_ref::<Throttled>().unwrap().retry_in() >= ms(1500));
    assert_eq!(Verdict::of(&*error).unwrap().advice(), Advice::Never);
    assert_eq!(watch.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_held_past_the_end_keeps_the_last_error_and_is_refunded() {
    let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(5.0).build().unwrap();
    let (probe, _, log) = crate::support::scripted([crate::support::Scripted::Fail]);
    let throttle = throttle();
    let layer = RetryLayer::builder(crate::support::classify).backoff(Backoff::constant(ms(100)).jitter(Jitter::None));
    let layer = layer.max_elapsed(ms(1000)).budget(budget.clone()).throttle(throttle.clone());
    let mut service = layer.build().unwrap().layer(probe);
    let mut response = std::pin::pin!(service.ready().await.unwrap().call(7_u32));
    assert!(tokio::time::timeout(ms(50), response.as_mut()).await.is_err());
    throttle.hint(&(), ms(2000));
    let error = response.as_mut().await.unwrap_err();
    assert!((budget.available() - 5.0).abs() < 1e-9, "refunded though the future is still there");
    assert_eq!(error.downcast_ref::<RetriesExhausted>().unwrap().stop_reason(), StopReason::Elapsed);
    assert!(forebay_core::is_caused_by::<crate::support::Failed>(&*error));
    assert_eq!(log.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn r17_a_first_attempt_that_was_held_is_made_ready_before_it_is_called() {
    let throttle = throttle();
    let make = |probe: Probe<u32>| {
        RetryLayer::builder(ByError::new()).throttle(throttle.clone()).build().unwrap().layer(probe)
    };
    throttle.hint(&(), ms(500));
    let probe = Probe::<u32>::with_slots(1, |n| async move { Ok(n) });
    let watch = probe.watch();
    let mut service = make(probe);
    let held = service.ready().await.unwrap().call(7);
    assert_eq!(watch.reserved(), 0, "the slot is given back for the time of the wait");
    let mut task = tokio_test::task::spawn(held);
    assert!(task.poll().is_pending());
    drop(task);
    assert_eq!(service.ready().await.unwrap().call(8).await.unwrap(), 8);
    assert_eq!((watch.violations(), watch.reserved(), watch.calls()), (0, 0, 1));

    // The laws hold while calls are held back, too.
    throttle.hint(&(), ms(500));
    laws::the_readied_instance_is_called(make, 7).await;
    throttle.hint(&(), ms(500));
    laws::clones_share_slots_not_grants(make, 7).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_held_when_made_and_is_not_when_polled_goes_at_once() {
    let (probe, _, log) = host(vec![]);
    let throttle = throttle();
    throttle.hint("a", ms(500));
    let mut service = retry().throttle_by(throttle.clone(), key).build().unwrap().layer(probe);
    let response = service.ready().await.unwrap().call("a");
    throttle.release("a");
    assert!(throttle.is_empty());
    response.await.unwrap().unwrap();
    assert_eq!(*log.lock().unwrap(), [(ms(0), "a")]);
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_forgotten() {
    let throttle = Throttle::builder().max_keys(100).build().unwrap();
    for key in 0..10_000_u32 {
        throttle.hint(&key, ms(1000));
    }
    assert_eq!(throttle.len(), 100);
    tokio::time::advance(ms(1000)).await;
    assert_eq!(throttle.held(&1_u32), None);
    assert!(throttle.is_empty(), "no key is held: nothing is kept");
}

#[tokio::test(start_paused = true)]
async fn f01_an_absurd_hint_holds_every_call_for_the_maximum_only() {
    let (probe, ..) = host(vec![("a", 86_400_000)]);
    let throttle = throttle();
    let service = retry().throttle_by(throttle.clone(), key).build().unwrap().layer(probe);
    let mut hinted = tokio_test::task::spawn(service.oneshot("a"));
    assert!(hinted.poll().is_pending());
    let held = throttle.held("a").unwrap();
    assert!(held >= Duration::from_secs(60) && held <= Duration::from_secs(90), "{held:?}");
    let begin = Instant::now();
    hinted.await.unwrap().unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(60) && begin.elapsed() <= Duration::from_secs(91));
}

#[test]
fn values_that_mean_nothing_are_refused() {
    for spread in [f64::NAN, -0.1, 101.0] {
        assert_eq!(Throttle::builder().spread(spread).build().unwrap_err().knob(), "spread");
    }
    for keys in [0, (1 << 24) + 1] {
        assert_eq!(Throttle::builder().max_keys(keys).build().unwrap_err().knob(), "max_keys");
    }
}

#[tokio::test(start_paused = true)]
async fn two_layers_can_share_one() {
    let throttle = throttle();
    let (busy, ..) = host(vec![("a", 1000)]);
    let (other, _, log) = host(vec![]);
    let one = retry().max_retries(0).throttle_by(throttle.clone(), key).build().unwrap().layer(busy);
    let two = retry().throttle_by(throttle, key).build().unwrap().layer(other);
    assert!(one.oneshot("a").await.unwrap().is_err());
    two.oneshot("a").await.unwrap().unwrap();
    assert!(log.lock().unwrap()[0].0 >= ms(1000));
}
