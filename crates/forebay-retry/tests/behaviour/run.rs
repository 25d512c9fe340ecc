//! Retry without a service: the same decisions, and the error type of the operation.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::{Failed, Scripted, Scripted::*, classify, classify_plain, ms, scripted};
use forebay_core::{Outcome, cause_ref};
use forebay_retry::{Backoff, Budget, Deadline, Jitter, Policy, RetryBuilder, RetryEvent, RetryLayer, StopReason};
use forebay_testkit::Probe;
use proptest::prelude::*;
use std::{
    collections::VecDeque,
    future::Future,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

type Plain = fn(&Result<Scripted, Failed>) -> Outcome;

/// 100, 200, 400 ms, without chance.
fn plain() -> RetryBuilder<Plain> {
    let backoff = Backoff::exponential(ms(100)).cap(ms(400)).jitter(Jitter::None);
    RetryLayer::builder(classify_plain as Plain).backoff(backoff)
}

/// One attempt of an operation.
type Running = std::pin::Pin<Box<dyn Future<Output = Result<Scripted, Failed>> + Send>>;

/// An operation that ends by script, and when each of its attempts began.
fn operation(
    takes: Duration,
    script: impl IntoIterator<Item = Scripted>,
) -> (impl FnMut() -> Running, Arc<Mutex<Vec<Duration>>>) {
    let (begin, times) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let (log, mut script) = (Arc::clone(&times), script.into_iter().collect::<VecDeque<_>>());
    let operation = move || -> Running {
        log.lock().unwrap().push(begin.elapsed());
        let response = script.pop_front().unwrap_or(Good);
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            match response {
                Good | Busy | BusyFor(_) => Ok(response),
                Fail | FailFor(_) | Fatal => Err(Failed(response)),
            }
        })
    };
    (operation, times)
}

fn times(log: &Arc<Mutex<Vec<Duration>>>) -> Vec<Duration> {
    log.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn an_error_keeps_its_type_and_the_default_is_one_word() {
    let mut calls = 0;
    let retry = RetryLayer::default();
    let error: io::Error = retry
        .run(|| {
            calls += 1;
            async { Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionReset)) }
        })
        .await
        .unwrap_err();
    assert_eq!((error.kind(), calls), (io::ErrorKind::ConnectionReset, 4));
}

#[tokio::test(start_paused = true)]
async fn r01_r02_n_retries_are_n_and_one_attempts_at_the_times_of_the_backoff() {
    let (run, log) = operation(Duration::ZERO, [Fail; 9]);
    assert_eq!(plain().build().unwrap().run(run).await, Err(Failed(Fail)));
    assert_eq!(times(&log), [ms(0), ms(100), ms(300), ms(700)]);

    let (run, log) = operation(Duration::ZERO, [Fail]);
    assert_eq!(plain().max_retries(0).build().unwrap().run(run).await, Err(Failed(Fail)));
    assert_eq!(times(&log).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn r04_r12_what_is_final_ends_it_and_hints_are_obeyed_up_to_the_cap() {
    let (run, log) = operation(Duration::ZERO, [FailFor(3000), BusyFor(86_400_000), Fatal]);
    assert_eq!(plain().build().unwrap().run(run).await, Err(Failed(Fatal)));
    assert_eq!(times(&log), [ms(0), ms(3000), ms(63_000)]);
}

#[tokio::test(start_paused = true)]
async fn a_retryable_response_that_is_the_last_one_is_returned() {
    let (run, log) = operation(Duration::ZERO, [Fail, Busy, Busy]);
    assert_eq!(plain().max_retries(2).build().unwrap().run(run).await, Ok(Busy));
    assert_eq!(times(&log).len(), 3);
}

#[tokio::test(start_paused = true)]
async fn r08_max_elapsed_counts_from_the_first_attempt_and_the_deadline_of_the_policy_holds() {
    // Each attempt takes 250 ms: they would begin at 0, 350, 800, 1450.
    for (elapsed, attempts) in [(350, 1), (351, 2), (800, 2), (801, 3), (5000, 4)] {
        let (run, log) = operation(ms(250), [Fail; 9]);
        plain().max_elapsed(ms(elapsed)).build().unwrap().run(run).await.unwrap_err();
        assert_eq!(times(&log).len(), attempts, "within {elapsed} ms");
    }

    struct Until(Deadline);
    impl<Res, Err> Policy<(), Res, Err> for Until {
        fn copy(&self, _: &()) -> Option<()> {
            Some(())
        }

        fn deadline(&self, _: &()) -> Option<Deadline> {
            Some(self.0)
        }
    }
    let (run, log) = operation(ms(10), [Fail; 9]);
    plain().policy(Until(Deadline::after(ms(250)))).build().unwrap().run(run).await.unwrap_err();
    assert_eq!(times(&log), [ms(0), ms(110)]);
}

#[tokio::test(start_paused = true)]
async fn r16_runs_share_the_budget_of_their_layer_and_a_retry_that_is_cancelled_is_refunded() {
    let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(2.0).build().unwrap();
    let retry = plain().budget(budget.clone()).build().unwrap();
    {
        let (run, log) = operation(ms(10), [Fail; 9]);
        let mut task = tokio_test::task::spawn(retry.run(run));
        assert!(task.poll().is_pending(), "the attempt is under way");
        tokio::time::advance(ms(11)).await;
        assert!(task.poll().is_pending(), "the wait is under way");
        assert!((budget.available() - 1.0).abs() < 1e-9, "paid when it is decided");
        drop(task);
        assert_eq!(times(&log).len(), 1);
    }
    assert!((budget.available() - 2.0).abs() < 1e-9, "refunded");
    let (run, log) = operation(Duration::ZERO, [Fail; 9]);
    retry.run(run).await.unwrap_err();
    assert_eq!(times(&log).len(), 3);
    let (run, log) = operation(Duration::ZERO, [Fail; 9]);
    retry.run(run).await.unwrap_err();
    assert_eq!(times(&log).len(), 1, "nothing is left");
}

#[tokio::test(start_paused = true)]
async fn f19_an_attempt_that_panics_as_it_starts_is_refunded_and_earns_nothing() {
    let budget = Budget::builder().ratio(0.5).floor_per_second(0.0).reserve(2.0).build().unwrap();
    let retry = plain().budget(budget.clone()).build().unwrap();
    for (begun, left) in [(1, 1.0), (2, 1.5)] {
        let emptied =
            RetryLayer::builder(classify_plain as Plain).budget(budget.clone()).max_retries(1).build().unwrap();
        while budget.available() > 1.4 {
            let (run, _) = operation(Duration::ZERO, [Fail; 2]);
            emptied.run(run).await.unwrap_err();
        }
        let before = budget.available();
        let (retry, mut calls) = (retry.clone(), 0);
        let run = async move {
            retry
                .run(|| {
                    calls += 1;
                    assert!(calls < begun, "the start itself panics");
                    async { Err(Failed(Fail)) }
                })
                .await
        };
        assert!(tokio::spawn(run).await.unwrap_err().is_panic());
        let earned = if begun == 1 { 0.0 } else { 0.5 };
        assert!((budget.available() - before - earned).abs() < 1e-9, "attempt {begun}: {left}");
    }
}

#[test]
fn the_future_can_be_sent() {
    fn send<T: Send>(_: &T) {}
    let retry = plain().build().unwrap();
    let (run, _) = operation(Duration::ZERO, []);
    send(&retry.run(run));
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    /// Results, times and reasons are those of the service with the same settings and the same seed.
    #[test]
    fn it_decides_as_the_service_does(
        script in proptest::collection::vec(response(), 0..10), retries in 0..6_u32, seed in any::<u64>(),
        elapsed in proptest::option::of(0..200_000_u64), reserve in 1..5_u32,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let (ours, theirs) = runtime.block_on(async {
            let events = Arc::new(Mutex::new(Vec::new()));
            let ours = {
                let (sink, (run, log)) = (Arc::clone(&events), operation(Duration::ZERO, script.clone()));
                let retry = with_settings(plain(), retries, seed, elapsed, reserve, sink).build().unwrap();
                let result = retry.run(run).await.map_err(|failed| failed.0);
                (result, times(&log), std::mem::take(&mut *events.lock().unwrap()))
            };
            let (probe, _, log): (Probe<_, _>, _, _) = scripted(script.clone());
            let layer = with_settings(RetryLayer::builder(classify), retries, seed, elapsed, reserve, Arc::clone(&events));
            let result = layer.build().unwrap().layer(probe).oneshot(()).await;
            let result = result.map_err(|error| cause_ref::<Failed>(&*error).unwrap().0);
            (ours, (result, log.times(), std::mem::take(&mut *events.lock().unwrap())))
        });
        prop_assert_eq!(ours, theirs);
    }
}

type Events = Arc<Mutex<Vec<RetryEvent>>>;

fn with_settings<C>(
    builder: RetryBuilder<C>,
    retries: u32,
    seed: u64,
    elapsed: Option<u64>,
    reserve: u32,
    sink: Events,
) -> RetryBuilder<C> {
    let budget = Budget::builder().ratio(0.0).floor_per_second(0.0).reserve(reserve.into()).build().unwrap();
    let builder = builder.max_retries(retries).backoff(Backoff::decorrelated(ms(20)).cap(ms(2000)).seed(seed));
    let builder = builder.budget(budget).observe(move |event: &RetryEvent| sink.lock().unwrap().push(*event));
    match elapsed {
        Some(elapsed) => builder.max_elapsed(ms(elapsed)),
        None => builder,
    }
}

#[tokio::test(start_paused = true)]
async fn the_observer_sees_why_there_was_no_other_attempt() {
    let events = Events::default();
    let sink = Arc::clone(&events);
    let retry = plain().max_retries(1).observe(move |event: &RetryEvent| sink.lock().unwrap().push(*event));
    let (run, _) = operation(Duration::ZERO, [Fail, FailFor(70)]);
    retry.build().unwrap().run(run).await.unwrap_err();
    let RetryEvent::GaveUp(gave_up) = events.lock().unwrap().pop().unwrap() else { panic!("no end was reported") };
    assert_eq!((gave_up.attempts(), gave_up.stop_reason(), gave_up.hint()), (2, StopReason::Attempts, Some(ms(70))));
}
