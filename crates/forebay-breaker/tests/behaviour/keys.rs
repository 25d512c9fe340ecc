//! Many keys: apart from each other, bounded in number, and gone when idle.

use crate::far::*;
use forebay_breaker::{BreakerEvent, BreakerHandle, BreakerLayer, CircuitOpen, OpenFor, State, Trip};
use forebay_core::{BoxError, Outcome, cause_ref};
use tower::{Layer, Service, ServiceExt, service_fn};

fn by_key(request: &Request) -> &str {
    request.key
}

/// A request whose key owns its text.
#[derive(Clone)]
struct Named(String, bool);

async fn response(request: Named) -> Result<(), BoxError> {
    if request.1 { Ok(()) } else { Err("refused".into()) }
}

async fn ask<S: Service<Named, Response = (), Error = BoxError>>(service: &mut S, key: &str, good: bool) -> Got {
    got(service.ready().await.unwrap().call(Named(key.to_owned(), good)).await)
}

fn states(handle: &BreakerHandle<String>, keys: &[&str]) -> Vec<State> {
    keys.iter().map(|key| handle.state(*key)).collect()
}

#[tokio::test(start_paused = true)]
async fn b12_keys_do_not_touch_each_other() {
    let layer = BreakerLayer::builder().key(by_key).trip(Trip::consecutive(3)).build().unwrap();
    let mut service = layer.layer(far());
    for _ in 0..2 {
        assert!(call_for(&mut service, "a", Fail).await.is_failure());
        assert!(call_for(&mut service, "b", Fail).await.is_failure());
    }
    assert!(call_for(&mut service, "b", Succeed).await.is_response());
    assert!(call_for(&mut service, "a", Fail).await.is_failure());
    assert!(call_for(&mut service, "b", Fail).await.is_failure());
    assert_eq!(states(&layer.handle(), &["a", "b", "c"]), [State::Open, State::Closed, State::Closed]);
    let open = call_for(&mut service, "a", Succeed).await.rejection();
    assert_eq!(open.key(), "a");
    assert_eq!(open.to_string(), "the circuit is open for a");
}

#[tokio::test(start_paused = true)]
async fn a_key_of_any_length_is_named_whole() {
    let layer = BreakerLayer::builder().key(|request: &Named| request.0.as_str()).build().unwrap();
    let mut service = layer.layer(service_fn(response));
    for len in [1, 48, 49, 500] {
        let key = "k".repeat(len);
        for _ in 0..5 {
            assert!(ask(&mut service, &key, false).await.is_failure());
        }
        assert_eq!(ask(&mut service, &key, true).await.rejection().key(), key);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_can_be_anything_that_names_itself() {
    let layer = BreakerLayer::builder().key(|tenant: &u64| tenant).trip(Trip::consecutive(1)).build().unwrap();
    let mut service =
        layer.layer(service_fn(|tenant: u64| async move { Err::<(), BoxError>(tenant.to_string().into()) }));
    assert!(service.ready().await.unwrap().call(7).await.is_err());
    let error = service.ready().await.unwrap().call(7).await.unwrap_err();
    assert_eq!(cause_ref::<CircuitOpen>(&*error).unwrap().key(), "7");
    assert_eq!((layer.handle().state(&7), layer.handle().state(&8)), (State::Open, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn all_services_of_one_layer_share_the_state_of_a_key() {
    let layer = BreakerLayer::builder().key(by_key).trip(Trip::consecutive(3)).build().unwrap();
    let mut first = layer.layer(far());
    let mut second = layer.clone().layer(far());
    let mut third = second.clone();
    assert!(call_for(&mut first, "a", Fail).await.is_failure());
    assert!(call_for(&mut second, "a", Fail).await.is_failure());
    assert!(call_for(&mut third, "a", Fail).await.is_failure());
    assert!(call_for(&mut first, "a", Succeed).await.is_rejected());
    assert_eq!(first.handle().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn b13_removing_a_key_while_it_is_in_use_does_not_split_its_state() {
    let layer = BreakerLayer::builder().key(by_key).trip(Trip::consecutive(3)).build().unwrap();
    let handle = layer.handle();
    let mut clones = [layer.layer(far()), layer.layer(far()), layer.layer(far())];
    let mut late = Vec::new();
    for clone in &mut clones {
        late.push(start(clone, "a", FailIn(10)).await);
        poll_pending(late.last_mut().unwrap());
    }
    assert!(handle.remove("a"));
    assert!(!handle.remove("a"), "it is gone");
    assert_eq!(handle.status("a"), None);

    // A caller that held it before sees the same new state as all others.
    assert!(call_for(&mut clones[0], "a", Fail).await.is_failure());
    assert!(call_for(&mut clones[1], "a", Fail).await.is_failure());
    assert_eq!(handle.status("a").unwrap().consecutive_failures, 2);
    wait(ms(10)).await;
    for task in late {
        assert!(task.await.is_err());
    }
    assert_eq!(handle.status("a").unwrap().consecutive_failures, 2, "what was under way counts for nothing");
    assert!(call_for(&mut clones[2], "a", Fail).await.is_failure());
    for clone in &mut clones {
        assert!(call_for(clone, "a", Succeed).await.is_rejected());
    }
    assert_eq!(handle.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn b13_a_place_that_is_given_to_another_key_brings_nothing_along() {
    let layer = BreakerLayer::builder().key(by_key).max_keys(1).trip(Trip::consecutive(2)).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    let mut late = start(&mut service, "a", FailIn(10)).await;
    poll_pending(&mut late);
    assert!(call_for(&mut service, "a", Fail).await.is_failure());
    assert!(call_for(&mut service, "a", Fail).await.is_failure());
    assert_eq!((handle.state("a"), handle.open()), (State::Open, 1));
    assert!(handle.remove("a"));
    assert_eq!(handle.open(), 0);
    assert!(call_for(&mut service, "b", Fail).await.is_failure());
    wait(ms(10)).await;
    assert!(late.await.is_err());
    assert_eq!((handle.state("b"), handle.status("b").unwrap().consecutive_failures), (State::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn b22_a_million_keys_stay_within_the_limit() {
    let events = Events::default();
    let layer = BreakerLayer::builder()
        .key(|request: &Named| request.0.as_str())
        .max_keys(1_000)
        .trip(Trip::consecutive(1))
        .build()
        .unwrap();
    let handle = layer.handle();
    let mut service = layer.layer(service_fn(response));
    for number in 0..1_000_000 {
        assert!(ask(&mut service, &number.to_string(), true).await.is_response());
    }
    let snapshot = handle.snapshot();
    assert_eq!((handle.len(), snapshot.keys.len(), snapshot.max_keys), (1_000, 1_000, 1_000));
    assert_eq!(snapshot.overflow.unwrap().calls, 999_000);
    drop(events);
}

#[tokio::test(start_paused = true)]
async fn b22_keys_without_room_share_the_overflow_bucket_and_it_shows() {
    let events = Events::default();
    let layer = BreakerLayer::builder()
        .key(by_key)
        .max_keys(2)
        .trip(Trip::consecutive(2))
        .observe(events.observer())
        .build()
        .unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    for key in ["a", "b"] {
        assert!(call_for(&mut service, key, Succeed).await.is_response());
    }
    assert!(call_for(&mut service, "c", Fail).await.is_failure());
    assert!(call_for(&mut service, "d", Fail).await.is_failure());
    let open = call_for(&mut service, "e", Succeed).await.rejection();
    assert_eq!(open.key(), "e", "the caller learns its own key");
    assert_eq!(states(&handle, &["a", "b", "c", "x"]), [State::Closed, State::Closed, State::Open, State::Open]);
    let overflow = handle.snapshot().overflow.unwrap();
    assert_eq!((overflow.status.state, overflow.calls), (State::Open, 3));
    assert_eq!((handle.len(), handle.open()), (2, 1));
    let events = events.take();
    let overflowed = |event: &&BreakerEvent| matches!(event, BreakerEvent::Overflow { .. });
    assert_eq!(events.iter().filter(overflowed).count(), 3);
    let opened = |event: &BreakerEvent| matches!(event, BreakerEvent::Changed { key, to: State::Open, .. } if *key == forebay_breaker::OVERFLOW);
    assert!(events.iter().any(opened));

    // Its fate is for the operator to decide.
    assert!(handle.set_overflow_mode(forebay_breaker::Mode::ForcedClosed));
    assert!(call_for(&mut service, "e", Fail).await.is_failure());
    assert!(call_for(&mut service, "a", Succeed).await.is_response());
}

#[tokio::test(start_paused = true)]
async fn b22_idle_keys_leave_and_make_room() {
    let layer = BreakerLayer::builder().key(by_key).max_keys(3).idle(secs(600)).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    for key in ["a", "b", "c"] {
        assert!(call_for(&mut service, key, Succeed).await.is_response());
    }
    // `a` stays in use; the others do not.
    for _ in 0..4 {
        wait(secs(300)).await;
        assert!(call_for(&mut service, "a", Succeed).await.is_response());
        assert!(call_for(&mut service, "new", Succeed).await.is_response());
    }
    assert!(handle.status("a").is_some());
    assert!(handle.status("new").is_some(), "it has found a place");
    assert_eq!((handle.status("b"), handle.status("c"), handle.len()), (None, None, 2));
}

#[tokio::test(start_paused = true)]
async fn b22_idle_keys_leave_when_told_to_even_if_no_new_key_comes() {
    let layer = BreakerLayer::builder().key(by_key).idle(secs(600)).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    for key in ["a", "b", "c"] {
        assert!(call_for(&mut service, key, Succeed).await.is_response());
    }
    let mut left = 0;
    for _ in 0..30 {
        wait(secs(60)).await;
        assert!(call_for(&mut service, "a", Succeed).await.is_response());
        left += handle.expire_idle();
    }
    assert_eq!((left, handle.len()), (2, 1));
    assert!(handle.status("a").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_key_does_not_leave_while_it_is_open_or_forced() {
    let open_for = OpenFor::new(secs(1_000)).jitter(0.0);
    let layer = BreakerLayer::builder()
        .key(by_key)
        .trip(Trip::consecutive(1))
        .open_for(open_for)
        .idle(secs(60))
        .build()
        .unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    assert!(call_for(&mut service, "open", Fail).await.is_failure());
    assert!(call_for(&mut service, "closed", Succeed).await.is_response());
    assert!(handle.set_mode("forced", forebay_breaker::Mode::ForcedClosed));
    let mut keys = Vec::new();
    for _ in 0..20 {
        wait(secs(60)).await;
        handle.expire_idle();
        keys.push(handle.len());
    }
    assert_eq!((keys[2], keys[15], keys[19]), (2, 2, 1), "{keys:?}");
    assert!(handle.status("forced").is_some());
}

#[tokio::test(start_paused = true)]
async fn the_fleet_guard_keeps_a_share_of_the_keys_closed() {
    let events = Events::default();
    let layer = BreakerLayer::builder()
        .key(|request: &Named| request.0.as_str())
        .trip(Trip::consecutive(2))
        .max_open_share(0.3)
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .close_after(1)
        .observe(events.observer())
        .build()
        .unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(service_fn(response)));
    let keys: Vec<_> = (0..10).map(|number| number.to_string()).collect();
    for key in &keys {
        assert!(ask(&mut service, key, true).await.is_response());
    }
    for key in &keys {
        for _ in 0..5 {
            ask(&mut service, key, false).await;
        }
    }
    assert_eq!(handle.open(), 3, "everything fails, and seven of ten go on being tried");
    let held_back = |event: &BreakerEvent| matches!(event, BreakerEvent::HeldBack { key, .. } if *key == "9");
    assert!(events.take().iter().any(held_back));

    // As soon as one closes, another may open.
    wait(secs(60)).await;
    assert!(ask(&mut service, "0", true).await.is_response());
    assert_eq!((handle.state("0"), handle.open()), (State::Closed, 2));
    assert!(ask(&mut service, "9", false).await.is_failure());
    assert_eq!((handle.state("9"), handle.open()), (State::Open, 3));
}

#[tokio::test(start_paused = true)]
async fn the_fleet_guard_lets_at_least_one_open() {
    let layer = BreakerLayer::builder().key(by_key).trip(Trip::consecutive(1)).max_open_share(0.1).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    for key in ["a", "b", "c"] {
        call_for(&mut service, key, Fail).await;
    }
    assert_eq!((handle.open(), states(&handle, &["a", "b"])), (1, vec![State::Open, State::Closed]));
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_removed_while_open_is_told_closed() {
    let events = Events::default();
    let layer =
        BreakerLayer::builder().key(by_key).trip(Trip::consecutive(1)).observe(events.observer()).build().unwrap();
    let mut service = layer.layer(far());
    call_for(&mut service, "a", Fail).await;
    layer.handle().remove("a");
    assert_eq!(events.changes(), [(State::Closed, State::Open), (State::Open, State::Closed)]);
}

#[tokio::test(start_paused = true)]
async fn windows_of_different_keys_are_apart() {
    let trip = Trip::ratio(0.5).over(secs(30)).min_calls(10).or(Trip::ratio(0.9).over_calls(5).min_calls(5));
    let layer = BreakerLayer::builder()
        .key(|request: &Named| request.0.as_str())
        .trip(trip)
        .classify(|result: &Result<(), BoxError>| if result.is_ok() { Outcome::Success } else { Outcome::Terminal })
        .build()
        .unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(service_fn(response)));
    for number in 0..1_000 {
        ask(&mut service, &number.to_string(), number % 2 == 0).await;
    }
    for number in 0..1_000 {
        let windows = handle.status(&*number.to_string()).unwrap().windows;
        for window in windows {
            assert_eq!((window.calls, window.bad), (1, number % 2));
        }
    }
}
