//! B16: every knob reaches the breaker, and a value that cannot be meant is refused.

use crate::far::*;
use forebay_breaker::{BreakerBuilder, BreakerHandle, BreakerLayer, Cancelled, Mode, OpenFor, Ramp, State, Trip};
use forebay_core::{BoxError, Boxed, Outcome};
use std::time::Duration;
use tower::Layer;

type Plain = BreakerBuilder;

/// After how many failures in a row it opens; `None` if not within 200.
async fn failures_to_open(builder: Plain) -> Option<usize> {
    let layer = builder.build().unwrap();
    let mut service = layer.layer(far());
    for failures in 0..200 {
        if layer.handle().state(&()) == State::Open {
            return Some(failures);
        }
        calls(&mut service, Fail, 1).await;
    }
    None
}

/// For how long it opens, and how many successes close it.
async fn open_time_and_successes(builder: Plain) -> (Duration, usize) {
    let layer = builder.build().unwrap();
    let handle: BreakerHandle<()> = layer.handle();
    let mut service = layer.layer(far());
    while handle.state(&()) == State::Closed {
        calls(&mut service, Fail, 1).await;
    }
    let open = call(&mut service, Succeed).await.rejection().retry_in();
    wait(open).await;
    let mut successes = 0;
    while handle.state(&()) != State::Closed {
        calls(&mut service, Succeed, 1).await;
        successes += 1;
    }
    (open, successes)
}

#[tokio::test(start_paused = true)]
async fn b16_the_defaults_and_the_presets_are_what_the_table_says() {
    let (minute, longest) = (secs(60), secs(66));
    for builder in [BreakerLayer::builder(), BreakerLayer::driver()] {
        let (open, successes) = open_time_and_successes(builder).await;
        assert!((minute..=longest).contains(&open), "{open:?}");
        assert_eq!(successes, 2);
    }
    assert_eq!(failures_to_open(BreakerLayer::builder()).await, Some(5));
    assert_eq!(failures_to_open(BreakerLayer::driver()).await, Some(5));
    assert_eq!(failures_to_open(BreakerLayer::ratio()).await, Some(100), "not on fewer than 100 calls");
    let exactly = OpenFor::new(secs(5)).jitter(0.0);
    assert_eq!(open_time_and_successes(BreakerLayer::ratio().open_for(exactly)).await, (secs(5), 1));

    let layer = BreakerLayer::ratio().build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Succeed, 900).await;
    calls(&mut service, Fail, 99).await;
    assert_eq!(layer.handle().state(&()), State::Closed);
    calls(&mut service, Fail, 1).await;
    assert_eq!(layer.handle().state(&()), State::Open, "a tenth");
}

#[tokio::test(start_paused = true)]
async fn b16_each_knob_changes_what_it_names() {
    let build = BreakerLayer::builder;
    assert_eq!(failures_to_open(build().trip(Trip::consecutive(17))).await, Some(17));
    assert_eq!(failures_to_open(build().trip(Trip::ratio(1.0).min_calls(33))).await, Some(33));
    assert_eq!(failures_to_open(build().trip(Trip::ratio(1.0).over_calls(44).min_calls(12))).await, Some(12));
    assert_eq!(failures_to_open(build().trip(Trip::ratio(1.0))).await, Some(20), "the default of `min_calls`");
    assert_eq!(
        failures_to_open(build().trip(Trip::ratio(1.0).over_calls(3))).await,
        Some(3),
        "not more than the window"
    );
    assert_eq!(failures_to_open(build().mode(Mode::ForcedClosed)).await, None);
    let exactly = OpenFor::new(secs(9)).jitter(0.0);
    assert_eq!(open_time_and_successes(build().open_for(exactly).close_after(6)).await, (secs(9), 6));

    // A plain duration is an open time, too, with its jitter.
    let (open, _) = open_time_and_successes(build().open_for(secs(10))).await;
    assert!((secs(10)..=secs(11)).contains(&open), "{open:?}");
}

#[tokio::test(start_paused = true)]
async fn b16_the_buckets_decide_in_what_steps_a_window_slides() {
    for (buckets, left) in [(2, 1), (10, 5), (60, 5)] {
        let layer = BreakerLayer::builder()
            .trip(Trip::ratio(1.0).over(secs(60)).buckets(buckets).min_calls(100))
            .build()
            .unwrap();
        let mut service = layer.layer(far());
        for _ in 0..10 {
            calls(&mut service, Fail, 1).await;
            wait(secs(6)).await;
        }
        wait(secs(29)).await;
        let held = layer.handle().status(&()).unwrap().windows[0].calls;
        assert_eq!(held, left + u64::from(buckets == 2) * 4, "{buckets} buckets");
    }
}

fn refused<K: std::hash::Hash + Eq, F>(builder: BreakerBuilder<K, F>) -> &'static str {
    let error = builder.build::<Boxed>().unwrap_err();
    assert!(!error.value().is_empty() && !error.allowed().is_empty(), "{error}");
    error.knob()
}

#[test]
fn what_cannot_be_meant_is_refused_by_name() {
    let build = BreakerLayer::builder;
    let day = secs(24 * 3600);
    assert_eq!(refused(build().trip(Trip::consecutive(0))), "trip");
    assert_eq!(refused(build().trip(Trip::consecutive(65_536))), "trip");
    for share in [0.0, -0.1, 1.000_1, f64::NAN, f64::INFINITY, 1e-9] {
        assert_eq!(refused(build().trip(Trip::ratio(share))), "ratio", "{share}");
        assert_eq!(refused(build().max_open_share(share)), "max_open_share", "{share}");
        assert_eq!(refused(build().ramp(Ramp::over(secs(1)).starting_at(share))), "ramp", "{share}");
    }
    assert_eq!(refused(build().trip(Trip::ratio(0.5).over(ms(9)))), "over");
    assert_eq!(refused(build().trip(Trip::ratio(0.5).over(day + ms(1)))), "over");
    assert_eq!(refused(build().trip(Trip::ratio(0.5).over_calls(0))), "over_calls");
    assert_eq!(refused(build().trip(Trip::ratio(0.5).over_calls(10_001))), "over_calls");
    assert_eq!(refused(build().trip(Trip::ratio(0.5).buckets(1))), "buckets");
    assert_eq!(refused(build().trip(Trip::ratio(0.5).buckets(61))), "buckets");
    assert_eq!(refused(build().trip(Trip::ratio(0.5).min_calls(0))), "min_calls");
    assert_eq!(
        refused(build().trip(Trip::ratio(0.5).over_calls(10).min_calls(11))),
        "min_calls",
        "it would never open"
    );
    assert_eq!(refused(build().trip(Trip::slow_ratio(0.5, Duration::ZERO))), "slow_ratio");
    assert_eq!(refused(build().open_for(Duration::ZERO)), "open_for");
    assert_eq!(refused(build().open_for(secs(366 * 24 * 3600))), "open_for");
    assert_eq!(refused(build().open_for(OpenFor::new(secs(9)).growth(0.9))), "growth");
    assert_eq!(refused(build().open_for(OpenFor::new(secs(9)).growth(f64::NAN))), "growth");
    assert_eq!(refused(build().open_for(OpenFor::new(secs(9)).jitter(1.1))), "jitter");
    assert_eq!(refused(build().open_for(OpenFor::new(secs(9)).jitter(-0.1))), "jitter");
    assert_eq!(refused(build().open_for(OpenFor::new(secs(9)).cap(secs(8)))), "cap");
    assert_eq!(refused(build().close_after(0)), "close_after");
    assert_eq!(refused(build().probes(0)), "probes");
    assert_eq!(refused(build().probe_lease(Duration::ZERO)), "probe_lease");
    assert_eq!(refused(build().ramp(Ramp::over(Duration::ZERO))), "ramp");
    assert_eq!(refused(build().max_keys(0)), "max_keys");
    assert_eq!(refused(build().idle(Duration::ZERO)), "idle");
    assert_eq!(refused(build().stripes(3)), "stripes");
    assert_eq!(refused(build().stripes(512)), "stripes");
    assert_eq!(refused(build().cancelled(Cancelled::Slow)), "cancelled");
    assert!(build().cancelled(Cancelled::Slow).trip(Trip::slow_ratio(0.5, secs(1))).build::<Boxed>().is_ok());
    let text = build().probes(5_000).build::<Boxed>().unwrap_err().to_string();
    assert_eq!(text, "`probes` is 5000; allowed: 1 to 1024");
}

#[tokio::test(start_paused = true)]
async fn b16_every_rule_sees_the_results_whatever_the_number_of_stripes() {
    for stripes in [1, 2, 64] {
        let trip = Trip::ratio(0.5).over(secs(30)).min_calls(10);
        let layer = BreakerLayer::builder().trip(trip).stripes(stripes).build().unwrap();
        let mut service = layer.layer(far());
        calls(&mut service, Succeed, 5).await;
        calls(&mut service, Fail, 5).await;
        assert_eq!(layer.handle().state(&()), State::Open);
    }
}

#[tokio::test(start_paused = true)]
async fn b16_the_classifier_is_the_one_that_was_given() {
    let never = |_: &Result<(), BoxError>| Outcome::Success;
    let layer = BreakerLayer::builder().classify(never).build().unwrap();
    calls(&mut layer.layer(far()), Fail, 100).await;
    assert_eq!(layer.handle().state(&()), State::Closed);
}
