//! Faults that were seen in other breakers, and are not here.
//!
//! | where | fault | test that shows it is not here |
//! | --- | --- | --- |
//! | tower-resilience 0.14, tower-circuitbreaker 0.2 | a count window that never slides | `b17_a_window_of_ten_calls_opens_within_ten_failures_whatever_went_before` |
//! | tower-resilience, failsafe, recloser, Polly, resilience4j | late results move the state | `b07_*` |
//! | tower-resilience, gobreaker, Polly, failsafe-go | a hung probe wedges it | `b18_*` |
//! | tower-resilience | a time window costs more with each call in it | `b19_*` |
//! | tower-resilience | listeners run inside the lock | `an_observer_may_use_a_handle_of_the_same_breaker` |
//! | tower-resilience | a cancelled call is not counted | `b20_*`, `b09_b20_a_timeout_above_the_breaker_counts` |
//! | tower-resilience | a slow success closes it | `a_probe_that_is_slow_closes_nothing` |
//! | tower-resilience, recloser, Polly | a fleet probes in step | `b21_*` |
//! | tower-resilience | the error says neither how long nor who | `a_rejection_says_how_long_and_that_nothing_was_sent` |
//! | tower-resilience | timers while half-open is full | `a_rejection_needs_no_timer_and_wakes_no_waiter` |
//! | tower-resilience, tower-circuitbreaker | real time only | every test here runs by the paused clock |
//! | tower-circuitbreaker | a clone is called, not the readied instance | `the_readied_instance_is_called` |
//! | tower-resilience #382, failsafe, recloser, Polly #216 | half-open admits every call | `b04_*` |
//! | failsafe, recloser | any success closes it | `b05_*` |
//! | failsafe, recloser, gobreaker | one lock for every call | the closed path has none; see the README |
//! | resilience4j #935 | a dropped probe wedges it | `b08_*` |
//! | resilience4j #2488 | a panicking classifier leaks a permit | `a_panic_in_the_classifier_is_a_failure_and_leaks_no_permit` |
//! | pybreaker | an excluded error closes it | `b11_*` |
//! | Polly, the Databricks drivers | the state is reported as open past its time | `a_state_past_its_time_is_not_reported_as_open` |
//! | Polly's default in the C# driver | timeouts do not count | `b09_*` |
//! | the Databricks drivers | knobs that reach nothing | `b16_*` |
//! | tower-resilience #225 | services of one layer do not share | `all_services_of_one_layer_share_the_state_of_a_key` |
//!
//! The rest of the list is below.

use crate::far::*;
use forebay_breaker::{BreakerEvent, BreakerLayer, OpenFor, State, Trip};
use std::collections::HashMap;
use tower::Layer;

/// tower-resilience by way of mcp-proxy #220: a breaker as it comes out of the box cannot open before 100 calls.
#[tokio::test(start_paused = true)]
async fn a_window_of_a_hundred_calls_need_not_be_full_to_open() {
    let layer = BreakerLayer::builder().trip(Trip::ratio(0.5).over_calls(100)).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 20).await;
    assert_eq!(layer.handle().state(&()), State::Open);
}

/// tower-resilience: a gauge by state is set to 1 for the new state and never to 0 for the old one.
#[tokio::test(start_paused = true)]
async fn a_gauge_by_state_can_be_kept_from_the_events_alone() {
    let events = Events::default();
    let layer = BreakerLayer::builder()
        .key(|request: &Request| request.key)
        .trip(Trip::consecutive(1))
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .close_after(1)
        .observe(events.observer())
        .build()
        .unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    let keys = ["a", "b", "c"];
    for (round, how) in [Fail, Succeed, Fail, Fail, Succeed].into_iter().enumerate() {
        for key in &keys[..=round % 3] {
            call_for(&mut service, key, how).await;
        }
        wait(secs(60)).await;
    }
    let mut gauge: HashMap<(String, State), i32> = HashMap::new();
    for event in events.take() {
        if let BreakerEvent::Changed { key, from, to, .. } = event {
            // A key without an event is closed.
            *gauge.entry((key.to_string(), from)).or_insert(i32::from(from == State::Closed)) -= 1;
            *gauge.entry((key.to_string(), to)).or_insert(i32::from(to == State::Closed)) += 1;
        }
    }
    for key in keys {
        let on: Vec<_> =
            gauge.iter().filter(|((name, _), on)| name == key && **on != 0).map(|(place, on)| (place.1, *on)).collect();
        let last = handle.status(key).unwrap();
        // What the last event said; that the time has ended since then is in no event yet.
        let said = if last.state == State::HalfOpen && last.successes == 0 && last.probes == 0 {
            State::Open
        } else {
            last.state
        };
        assert_eq!(on, [(said, 1)], "{key}");
    }
}

/// resilience4j #1432: fewer calls than allowed go through at the moment it becomes half-open.
#[tokio::test(start_paused = true)]
async fn the_call_that_finds_the_time_over_is_a_probe_like_the_others() {
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(1))
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .probes(3)
        .close_after(3)
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 1).await;
    wait(secs(60)).await;
    let mut tasks = Vec::new();
    for _ in 0..10 {
        let mut task = start(&mut service, "one", Take(10)).await;
        if task.poll().is_pending() {
            tasks.push(task);
        }
    }
    assert_eq!(tasks.len(), 3);
    wait(ms(10)).await;
    for task in tasks {
        assert!(task.await.is_ok());
    }
    assert_eq!(layer.handle().state(&()), State::Closed);
}

/// tower-resilience: the jitter comes after the cap, and 30 s at most were 45.
#[tokio::test(start_paused = true)]
async fn the_cap_is_a_cap() {
    for seed in 0..200 {
        let open_for = OpenFor::new(secs(20)).growth(2.0).cap(secs(30)).jitter(0.5);
        let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(open_for).seed(seed).build().unwrap();
        let mut service = layer.layer(far());
        for _ in 0..3 {
            calls(&mut service, Fail, 1).await;
            let open = call(&mut service, Succeed).await.rejection().retry_in();
            assert!(open <= secs(30) && open >= secs(20), "{open:?}");
            wait(open).await;
        }
    }
}

/// The Node.js driver: a failure that was under way when it opened pushes the deadline out; and the count of failures
/// goes on from where it was.
#[tokio::test(start_paused = true)]
async fn an_outage_leaves_no_count_behind() {
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(5))
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .close_after(2)
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    for _ in 0..3 {
        calls(&mut service, Fail, 5).await;
        assert_eq!(layer.handle().status(&()).unwrap().consecutive_failures, 0);
        wait(secs(60)).await;
        calls(&mut service, Fail, 1).await;
        wait(secs(60)).await;
        calls(&mut service, Succeed, 2).await;
        calls(&mut service, Fail, 4).await;
        assert_eq!(layer.handle().state(&()), State::Closed);
        calls(&mut service, Succeed, 1).await;
    }
}

/// The JDBC driver: one 429 opened it for 24 hours, for all callers.
#[tokio::test(start_paused = true)]
async fn an_absurd_hint_does_not_switch_it_off_for_a_day() {
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Throttle(86_400), 1).await;
    assert!(call(&mut service, Succeed).await.rejection().retry_in() <= secs(600));
}
