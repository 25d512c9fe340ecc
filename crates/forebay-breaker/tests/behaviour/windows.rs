//! Rules over a share of the calls in a window.

use crate::far::*;
use forebay_breaker::{BreakerEvent, BreakerLayer, OpenFor, Reason, State, Trip};
use tokio::{runtime::Builder, time::Instant};
use tower::Layer;

#[tokio::test(start_paused = true)]
async fn b14_one_success_in_the_window_keeps_a_ratio_of_one_closed() {
    let trip = Trip::ratio(1.0).over(secs(30)).min_calls(5);
    let layer = BreakerLayer::builder().trip(trip).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Succeed, 1).await;
    calls(&mut service, Fail, 200).await;
    assert_eq!(layer.handle().state(&()), State::Closed);
    wait(secs(30)).await;
    calls(&mut service, Fail, 5).await;
    assert_eq!(layer.handle().state(&()), State::Open, "the success has left the window");
}

#[tokio::test(start_paused = true)]
async fn b14_failures_that_are_spread_out_do_not_open_it() {
    let trip = Trip::ratio(1.0).over(secs(30)).min_calls(5);
    let layer = BreakerLayer::builder().trip(trip).build().unwrap();
    let mut service = layer.layer(far());
    for _ in 0..100 {
        calls(&mut service, Fail, 1).await;
        wait(ms(7_600)).await;
    }
    assert_eq!(layer.handle().state(&()), State::Closed, "never five in 30 seconds");
    wait(secs(30)).await;
    for _ in 0..5 {
        calls(&mut service, Fail, 1).await;
        wait(secs(5)).await;
    }
    assert_eq!(layer.handle().state(&()), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_ratio_is_exact_and_so_is_the_least_number_of_calls() {
    let events = Events::default();
    let trip = Trip::ratio(0.07).over(secs(30)).min_calls(100);
    let layer = BreakerLayer::builder().trip(trip).observe(events.observer()).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Succeed, 93).await;
    calls(&mut service, Fail, 6).await;
    assert_eq!(layer.handle().state(&()), State::Closed, "6 of 99");
    calls(&mut service, Fail, 1).await;
    assert_eq!(layer.handle().state(&()), State::Open, "7 of 100 is not less than 0.07");
    let reasons: Vec<_> = events.take();
    let expected = Reason::FailureRatio { failures: 7, calls: 100 };
    assert!(matches!(reasons[..], [BreakerEvent::Changed { reason, .. }] if reason == expected), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn b17_a_window_of_ten_calls_opens_within_ten_failures_whatever_went_before() {
    for before in [0, 1, 9, 10, 11, 100, 1_000, 100_000] {
        let layer = BreakerLayer::builder().trip(Trip::ratio(0.5).over_calls(10).min_calls(10)).build().unwrap();
        let mut service = layer.layer(far());
        calls(&mut service, Succeed, before).await;
        let mut failures = 0;
        while layer.handle().state(&()) == State::Closed {
            calls(&mut service, Fail, 1).await;
            failures += 1;
        }
        let expected = if before >= 5 { 5 } else { 10 - before };
        assert_eq!(failures, expected, "after {before} successes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_count_window_forgets_a_failure_after_as_many_calls_and_no_sooner() {
    let layer = BreakerLayer::builder().trip(Trip::ratio(0.1).over_calls(100).min_calls(100)).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Succeed, 100).await;
    for _ in 0..3 {
        calls(&mut service, Fail, 9).await;
        calls(&mut service, Succeed, 91).await;
        let held = layer.handle().status(&()).unwrap().windows[0];
        assert_eq!((held.calls, held.bad), (100, 9));
        calls(&mut service, Succeed, 9).await;
        assert_eq!(layer.handle().status(&()).unwrap().windows[0].bad, 0);
    }
    calls(&mut service, Fail, 9).await;
    calls(&mut service, Succeed, 90).await;
    assert_eq!(layer.handle().state(&()), State::Closed);
    calls(&mut service, Fail, 1).await;
    assert_eq!(layer.handle().state(&()), State::Open, "ten of the last hundred");
}

#[tokio::test(start_paused = true)]
async fn b19_a_window_with_a_million_calls_is_as_exact_as_one_with_ten() {
    let trip = Trip::ratio(0.5).over(secs(30)).min_calls(100);
    let layer = BreakerLayer::builder().trip(trip).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Succeed, 100_000).await;
    calls(&mut service, Fail, 99_999).await;
    let held = layer.handle().status(&()).unwrap().windows[0];
    assert_eq!((held.calls, held.bad), (199_999, 99_999));
    assert_eq!(layer.handle().state(&()), State::Closed);
    calls(&mut service, Fail, 1).await;
    assert_eq!(layer.handle().state(&()), State::Open);
}

/// A thread remembers in which bucket it counted last; whatever it counted meanwhile, and for whom, the next result goes
/// into its own.
#[tokio::test(start_paused = true)]
async fn b14_each_success_counts_in_its_own_bucket_however_breakers_take_turns() {
    const BUCKETS: u128 = 10;
    let breaker = |millis| {
        let trip = Trip::ratio(0.5).over(ms(millis)).min_calls(1_000);
        BreakerLayer::builder().trip(trip).build().unwrap()
    };
    let layers = [(1_000_u64, breaker(1_000)), (30_000, breaker(30_000)), (30_000, breaker(30_000))];
    let mut services = layers.each_ref().map(|(_, layer)| layer.layer(far()));
    let mut counted = [const { Vec::new() }; 3];
    let (begin, mut draw) = (Instant::now(), 7_u64);
    let mut below = |most: u64| {
        draw = draw.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (draw >> 33) % most
    };
    let index = |number| usize::try_from(number).unwrap();
    for _ in 0..2_000 {
        // Mostly none at all, and often to the very edge of a bucket.
        let edge = 100 - u64::try_from(begin.elapsed().as_millis() % 100).unwrap();
        let pause = [0, 0, 0, 0, 1, edge - 1, edge, below(5_000)][index(below(8))];
        wait(ms(pause)).await;
        let turn = index(below(3));
        calls(&mut services[turn], Succeed, 1).await;
        let now = begin.elapsed().as_millis();
        counted[turn].push(now);
        for ((window, layer), counted) in layers.iter().zip(&counted) {
            let width = u128::from(*window) / BUCKETS;
            let held = counted.iter().filter(|at| now / width - *at / width < BUCKETS).count();
            assert_eq!(layer.handle().status(&()).unwrap().windows[0].calls, held as u64, "{window} ms at {now}");
        }
    }
}

/// As in a program whose tests each have a clock of their own.
#[test]
fn b14_a_thread_whose_clock_goes_back_counts_where_its_clock_is() {
    let trip = Trip::ratio(0.5).over(secs(30)).min_calls(1_000);
    let layer = BreakerLayer::builder().trip(trip).build().unwrap();
    let clock = |paused| Builder::new_current_thread().enable_time().start_paused(paused).build().unwrap();
    let (ahead, real) = (clock(true), clock(false));
    ahead.block_on(async {
        wait(secs(3_603)).await;
        calls(&mut layer.layer(far()), Succeed, 2).await;
        assert_eq!(layer.handle().status(&()).unwrap().windows[0].calls, 2);
    });
    real.block_on(async {
        calls(&mut layer.layer(far()), Succeed, 1).await;
        assert_eq!(layer.handle().status(&()).unwrap().windows[0].calls, 1);
    });
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_it_even_if_they_succeed() {
    let events = Events::default();
    let trip = Trip::slow_ratio(0.5, secs(2)).over(secs(60)).min_calls(4);
    let layer = BreakerLayer::builder().trip(trip).observe(events.observer()).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Take(1_999), 2).await;
    calls(&mut service, Take(2_000), 1).await;
    assert_eq!(layer.handle().state(&()), State::Closed);
    calls(&mut service, Take(2_000), 1).await;
    assert_eq!(layer.handle().state(&()), State::Open);
    let expected = Reason::SlowRatio { slow: 2, calls: 4 };
    assert!(
        events.take().iter().any(|event| matches!(event, BreakerEvent::Changed { reason, .. } if *reason == expected))
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_slow_closes_nothing() {
    let trip = Trip::slow_ratio(0.5, secs(2)).over_calls(10).min_calls(1);
    let layer =
        BreakerLayer::builder().trip(trip).open_for(OpenFor::new(secs(60)).jitter(0.0)).close_after(1).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Take(2_000), 1).await;
    for _ in 0..3 {
        assert!(call(&mut service, Succeed).await.is_rejected());
        wait(secs(60)).await;
        calls(&mut service, Take(2_000), 1).await;
        assert_eq!(layer.handle().state(&()), State::Open);
    }
    wait(secs(60)).await;
    calls(&mut service, Take(1_999), 1).await;
    assert_eq!(layer.handle().state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn of_several_rules_any_one_opens() {
    let rules = || {
        Trip::consecutive(5)
            .or(Trip::ratio(0.5).over(secs(30)).min_calls(20))
            .or(Trip::ratio(0.9).over_calls(4).min_calls(4))
            .or(Trip::slow_ratio(0.5, secs(2)).over(secs(30)).min_calls(3))
    };
    let stories: [(&[(How, usize)], Reason); 4] = [
        (&[(Succeed, 1), (Fail, 3), (Succeed, 1), (Fail, 4)], Reason::FailureRatio { failures: 4, calls: 4 }),
        (&[(Take(2_000), 3)], Reason::SlowRatio { slow: 3, calls: 3 }),
        (&[(Succeed, 40), (Fail, 1), (Take(2_000), 1), (Fail, 3), (Succeed, 1)], Reason::Forced),
        (&[(Fail, 4)], Reason::FailureRatio { failures: 4, calls: 4 }),
    ];
    for (story, expected) in stories {
        let events = Events::default();
        let layer = BreakerLayer::builder().trip(rules()).observe(events.observer()).build().unwrap();
        let mut service = layer.layer(far());
        for &(how, times) in story {
            calls(&mut service, how, times).await;
        }
        let reasons: Vec<_> = events
            .take()
            .into_iter()
            .filter_map(|event| if let BreakerEvent::Changed { reason, .. } = event { Some(reason) } else { None })
            .collect();
        let expected = if expected == Reason::Forced { vec![] } else { vec![expected] };
        assert_eq!(reasons, expected, "{story:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_windows_are_empty_after_an_outage() {
    let trip = Trip::ratio(0.5).over(secs(3600)).min_calls(4).or(Trip::ratio(0.5).over_calls(100).min_calls(4));
    let layer =
        BreakerLayer::builder().trip(trip).open_for(OpenFor::new(secs(1)).jitter(0.0)).close_after(1).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 4).await;
    wait(secs(1)).await;
    calls(&mut service, Succeed, 1).await;
    for window in layer.handle().status(&()).unwrap().windows {
        assert_eq!((window.calls, window.bad), (0, 0));
    }
    calls(&mut service, Fail, 3).await;
    assert_eq!(layer.handle().state(&()), State::Closed, "the old failures are forgotten");
    calls(&mut service, Fail, 1).await;
    assert_eq!(layer.handle().state(&()), State::Open);
}

#[tokio::test(start_paused = true)]
async fn an_ignored_result_is_no_call() {
    let trip = Trip::ratio(0.5).over(secs(30)).min_calls(4).or(Trip::ratio(0.5).over_calls(10).min_calls(4));
    let layer = BreakerLayer::builder()
        .trip(trip)
        .excluding(|result: &Result<(), forebay_core::BoxError>| result.is_ok())
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Succeed, 50).await;
    calls(&mut service, Fail, 3).await;
    for window in layer.handle().status(&()).unwrap().windows {
        assert_eq!((window.calls, window.bad), (3, 3));
    }
}
