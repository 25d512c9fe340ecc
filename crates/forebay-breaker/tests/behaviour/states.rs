//! Opening, waiting, probing, closing: the way round, by tokio's paused clock.

use crate::far::*;
use forebay_breaker::{BreakerEvent, BreakerLayer, Deadline, OpenFor, Ramp, Reason, State, Trip};
use forebay_core::{Advice, DropReason, Seen, Verdict};
use tower::Layer;

/// Opens exactly when it says, without jitter.
fn exactly(seconds: u64) -> OpenFor {
    OpenFor::new(secs(seconds)).jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn b01_it_opens_at_exactly_n_failures_in_a_row() {
    for failures in [1, 2, 5, 40] {
        let far = far();
        let layer = BreakerLayer::builder().trip(Trip::consecutive(failures)).build().unwrap();
        let mut service = layer.layer(far.clone());
        for failure in 1..=failures {
            assert_eq!(layer.handle().state(&()), State::Closed, "after {} of {failures}", failure - 1);
            assert!(call(&mut service, Fail).await.is_failure());
        }
        assert_eq!(layer.handle().state(&()), State::Open);
        assert!(call(&mut service, Succeed).await.is_rejected());
        assert_eq!(far.watch().calls(), failures as usize);
    }
}

#[tokio::test(start_paused = true)]
async fn b02_a_success_starts_the_count_again() {
    let layer = BreakerLayer::builder().trip(Trip::consecutive(3)).build().unwrap();
    let mut service = layer.layer(far());
    for _ in 0..10 {
        calls(&mut service, Fail, 2).await;
        assert_eq!(layer.handle().status(&()).unwrap().consecutive_failures, 2);
        calls(&mut service, Succeed, 1).await;
        assert_eq!(layer.handle().status(&()).unwrap().consecutive_failures, 0);
    }
    calls(&mut service, Fail, 3).await;
    assert_eq!(layer.handle().state(&()), State::Open);
}

#[tokio::test(start_paused = true)]
async fn b03_a_rejected_call_never_reaches_the_inner_service() {
    let far = far();
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(exactly(60)).build().unwrap();
    let mut service = layer.layer(far.clone());
    calls(&mut service, Fail, 1).await;
    for _ in 0..100 {
        assert!(call(&mut service, Panic).await.is_rejected());
    }
    assert_eq!((far.watch().calls(), far.watch().polls()), (1, 1), "not even its readiness is asked for");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_says_how_long_and_that_nothing_was_sent() {
    let layer =
        BreakerLayer::builder().name("collector").trip(Trip::consecutive(1)).open_for(exactly(60)).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 1).await;
    wait(ms(17_250)).await;
    let open = call(&mut service, Succeed).await.rejection();
    assert_eq!((open.key(), open.state(), open.retry_in()), ("collector", State::Open, ms(42_750)));
    assert_eq!(open.to_string(), "the circuit is open for collector");
    let verdict = Verdict::of(&open).unwrap();
    assert_eq!((verdict.reason(), verdict.seen()), (DropReason::CircuitOpen, Seen::No));
    assert_eq!(verdict.advice(), Advice::RetryAfter(ms(42_750)));
    forebay_testkit::laws::error_chain_has_one_link_per_sentence(&open);
}

#[tokio::test(start_paused = true)]
async fn d06_a_rejection_beyond_the_deadline_of_the_request_advises_no_retry() {
    // The deadline of a request that takes so many milliseconds is as far away.
    let until = |request: &Request| match request.how {
        Take(millis) => Some(Deadline::after(ms(millis))),
        _ => None,
    };
    let far = far();
    let trip = Trip::consecutive(1);
    let layer = BreakerLayer::builder().trip(trip).open_for(exactly(60)).deadline(until).build().unwrap();
    let mut service = layer.layer(far.clone());
    calls(&mut service, Fail, 1).await;
    wait(secs(20)).await;
    for (how, beyond) in [(Succeed, false), (Take(40_001), false), (Take(40_000), true), (Take(0), true)] {
        let open = call(&mut service, how).await.rejection();
        assert_eq!((open.retry_in(), open.is_beyond_deadline()), (secs(40), beyond), "{how:?}");
        let verdict = Verdict::of(&open).unwrap();
        let advice = if beyond { Advice::Never } else { Advice::RetryAfter(secs(40)) };
        assert_eq!((verdict.advice(), verdict.reason(), verdict.seen()), (advice, DropReason::CircuitOpen, Seen::No));
        let text = "the circuit is open, longer than the deadline of the request";
        assert_eq!(open.to_string() == text, beyond, "{open}");
    }
    assert_eq!(far.watch().calls(), 1);
    // Half-open, and its probe is under way: a second, and nothing is known of what comes before.
    wait(secs(40)).await;
    let probe = start(&mut service, "one", Hang).await;
    assert!(!call(&mut service, Take(1001)).await.rejection().is_beyond_deadline());
    assert!(call(&mut service, Take(999)).await.rejection().is_beyond_deadline());
    drop(probe);
}

#[tokio::test(start_paused = true)]
async fn b05_as_many_successes_as_asked_for_close_it() {
    for successes in [1, 2, 5] {
        let layer = BreakerLayer::builder()
            .trip(Trip::consecutive(1))
            .open_for(exactly(60))
            .close_after(successes)
            .build()
            .unwrap();
        let mut service = layer.layer(far());
        calls(&mut service, Fail, 1).await;
        wait(secs(60)).await;
        for success in 0..successes {
            let status = layer.handle().status(&()).unwrap();
            assert_eq!((status.state, status.successes), (State::HalfOpen, success));
            assert!(call(&mut service, Succeed).await.is_response());
        }
        assert_eq!(layer.handle().state(&()), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn b06_one_failure_while_half_open_opens_it_with_a_fresh_timer() {
    let layer =
        BreakerLayer::builder().trip(Trip::consecutive(2)).open_for(exactly(60)).close_after(3).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 2).await;
    wait(secs(100)).await;
    calls(&mut service, Succeed, 2).await;
    wait(secs(7)).await;
    calls(&mut service, Fail, 1).await;
    assert_eq!(call(&mut service, Succeed).await.rejection().retry_in(), secs(60));
    wait(ms(59_999)).await;
    assert!(call(&mut service, Succeed).await.is_rejected());
    wait(ms(1)).await;
    // The successes from before do not count any more.
    for _ in 0..3 {
        assert_eq!(layer.handle().state(&()), State::HalfOpen);
        assert!(call(&mut service, Succeed).await.is_response());
    }
    assert_eq!(layer.handle().state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_open_time_grows_until_it_closes() {
    let open_for = exactly(1).growth(3.0).cap(secs(20));
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(open_for).close_after(1).build().unwrap();
    let mut service = layer.layer(far());
    for round in 0..2 {
        for expected in [1, 3, 9, 20, 20] {
            calls(&mut service, Fail, 1).await;
            assert_eq!(call(&mut service, Succeed).await.rejection().retry_in(), secs(expected), "round {round}");
            wait(secs(expected)).await;
        }
        assert_eq!(layer.handle().status(&()).unwrap().openings, 5);
        calls(&mut service, Succeed, 1).await;
        assert_eq!(layer.handle().status(&()).unwrap().openings, 0);
    }
}

/// A server that asks for a day is probed after a minute, or after as long as the host says.
#[tokio::test(start_paused = true)]
async fn f01_the_hint_of_the_failure_that_opens_it_is_obeyed_up_to_its_own_cap() {
    let minutes = |minutes: u64| secs(60 * minutes);
    for (hint, most, expected) in [
        (30, None, 60),
        (300, None, 60),
        (86_400, None, 60),
        (300, Some(minutes(10)), 300),
        (86_400, Some(minutes(10)), 600),
        (86_400, Some(minutes(60)), 600),
        (300, Some(secs(0)), 60),
    ] {
        let open_for = most.map_or(exactly(60), |most| exactly(60).max_hint(most));
        let layer = BreakerLayer::builder().trip(Trip::consecutive(2)).open_for(open_for).build().unwrap();
        let mut service = layer.layer(far());
        calls(&mut service, Throttle(500), 1).await;
        calls(&mut service, Throttle(hint), 1).await;
        let open = call(&mut service, Succeed).await.rejection();
        assert_eq!(open.retry_in(), secs(expected), "hint {hint}, at most {most:?}");
        wait(secs(expected)).await;
        assert!(call(&mut service, Succeed).await.is_response(), "one probe goes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ramp_lets_through_a_share_that_grows() {
    let ramp = Ramp::over(secs(10)).starting_at(0.2);
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(3))
        .open_for(exactly(5))
        .close_after(1)
        .ramp(ramp)
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 3).await;
    wait(secs(5)).await;
    calls(&mut service, Succeed, 1).await;
    assert_eq!(layer.handle().state(&()), State::Ramping);

    let mut shares = Vec::new();
    for _ in 0..5 {
        let mut through = 0;
        for _ in 0..1000 {
            match call(&mut service, Succeed).await {
                Got::Response => through += 1,
                Got::Rejected(open) => {
                    assert_eq!(open.state(), State::Ramping);
                    assert!(open.retry_in() <= secs(1) && !open.retry_in().is_zero());
                }
                Got::Failure => panic!("a failure of its own"),
            }
        }
        shares.push(through);
        wait(secs(2)).await;
    }
    // 0.2 + 0.8 * t / 10; the very first call goes through whatever its share.
    assert_eq!(shares, [201, 360, 520, 680, 840]);
    assert_eq!(layer.handle().state(&()), State::Closed, "the ramp is over, although no call has come");
    calls(&mut service, Succeed, 1000).await;
}

#[tokio::test(start_paused = true)]
async fn a_failure_while_ramping_opens_it_for_longer() {
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(1))
        .open_for(exactly(5).growth(2.0))
        .close_after(1)
        .ramp(Ramp::over(secs(10)))
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 1).await;
    wait(secs(5)).await;
    calls(&mut service, Succeed, 1).await;
    calls(&mut service, Fail, 1).await;
    assert_eq!(call(&mut service, Succeed).await.rejection().retry_in(), secs(10), "it was not over yet");
    wait(secs(10)).await;
    calls(&mut service, Succeed, 1).await;
    wait(secs(10)).await;
    calls(&mut service, Fail, 1).await;
    assert_eq!(call(&mut service, Succeed).await.rejection().retry_in(), secs(5), "now it was");
}

#[tokio::test(start_paused = true)]
async fn every_change_is_told_with_both_states_and_the_reason() {
    let events = Events::default();
    let layer = BreakerLayer::builder()
        .name("collector")
        .trip(Trip::consecutive(2))
        .open_for(exactly(60))
        .close_after(1)
        .ramp(Ramp::over(secs(10)))
        .observe(events.observer())
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 2).await;
    assert!(call(&mut service, Succeed).await.is_rejected());
    wait(secs(60)).await;
    calls(&mut service, Fail, 1).await;
    wait(secs(60)).await;
    calls(&mut service, Succeed, 1).await;
    wait(secs(10)).await;
    calls(&mut service, Succeed, 1).await;

    let mut generations = Vec::new();
    let mut changes = Vec::new();
    for event in events.take() {
        match event {
            BreakerEvent::Changed { key, from, to, reason, generation, .. } => {
                assert_eq!(key, "collector");
                generations.push(generation);
                changes.push((from, to, reason));
            }
            BreakerEvent::Rejected { key, state, retry_in, .. } => {
                assert_eq!((key.as_str(), state, retry_in), ("collector", State::Open, secs(60)));
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
    let expected = [
        (State::Closed, State::Open, Reason::Consecutive { failures: 2 }),
        (State::Open, State::HalfOpen, Reason::OpenTimeOver),
        (State::HalfOpen, State::Open, Reason::ProbeFailed),
        (State::Open, State::HalfOpen, Reason::OpenTimeOver),
        (State::HalfOpen, State::Ramping, Reason::ProbesSucceeded),
        (State::Ramping, State::Closed, Reason::RampOver),
    ];
    assert_eq!(changes, expected);
    assert!(generations.is_sorted(), "{generations:?}");
}
