//! Control and sight from outside, also after boxing.

use crate::far::*;
use forebay_breaker::{BreakerEvent, BreakerLayer, Mode, OpenFor, Ramp, Reason, State, Trip};
use forebay_core::BoxError;
use tower::{Layer, util::BoxCloneService};

fn by_key(request: &Request) -> &str {
    request.key
}

#[tokio::test(start_paused = true)]
async fn it_works_after_the_service_was_boxed() {
    let layer = BreakerLayer::builder().key(by_key).trip(Trip::consecutive(1)).build().unwrap();
    let service = layer.layer(far());
    let handle = service.handle();
    let mut boxed: BoxCloneService<Request, (), BoxError> = BoxCloneService::new(service);
    assert!(call_for(&mut boxed, "a", Fail).await.is_failure());
    assert_eq!(handle.state("a"), State::Open);
    assert!(handle.reset("a"));
    assert!(call_for(&mut boxed.clone(), "a", Succeed).await.is_response());
    assert_eq!(handle.state("a"), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn forced_open_rejects_all_and_forced_closed_nothing() {
    let layer = BreakerLayer::builder().key(by_key).trip(Trip::consecutive(1)).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    assert!(handle.set_mode("a", Mode::ForcedOpen), "before it was ever seen");
    let open = call_for(&mut service, "a", Succeed).await.rejection();
    assert_eq!((open.state(), open.retry_in()), (State::Open, secs(60)));
    wait(secs(3600)).await;
    assert!(call_for(&mut service, "a", Succeed).await.is_rejected(), "no time ends it");
    assert!(call_for(&mut service, "b", Succeed).await.is_response());

    handle.set_mode("a", Mode::ForcedClosed);
    for _ in 0..100 {
        assert!(call_for(&mut service, "a", Fail).await.is_failure());
    }
    assert_eq!(handle.state("a"), State::Closed);
    handle.set_mode("a", Mode::Normal);
    assert_eq!(handle.status("a").unwrap().consecutive_failures, 0, "nothing was counted");
    assert!(call_for(&mut service, "a", Fail).await.is_failure());
    assert!(call_for(&mut service, "a", Succeed).await.is_rejected());
}

#[tokio::test(start_paused = true)]
async fn forcing_ends_what_was_under_way() {
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    let mut late = start(&mut service, "one", FailIn(10)).await;
    poll_pending(&mut late);
    handle.set_mode(&(), Mode::ForcedOpen);
    assert!(call(&mut service, Succeed).await.is_rejected());
    handle.set_mode(&(), Mode::Normal);
    wait(ms(10)).await;
    assert!(late.await.is_err());
    assert_eq!(handle.state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn observe_only_says_what_it_would_do_and_does_nothing() {
    let events = Events::default();
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(2))
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .close_after(1)
        .mode(Mode::ObserveOnly)
        .observe(events.observer())
        .build()
        .unwrap();
    let far = far();
    let (handle, mut service) = (layer.handle(), layer.layer(far.clone()));
    calls(&mut service, Fail, 2).await;
    assert_eq!(handle.state(&()), State::Open);
    events.take();
    for _ in 0..10 {
        assert!(call(&mut service, Fail).await.is_failure(), "it goes all the same");
    }
    assert_eq!(far.watch().calls(), 12);
    let seen = events.take();
    let would = |event: &&BreakerEvent| {
        matches!(event, BreakerEvent::Rejected { mode: Mode::ObserveOnly, state: State::Open, retry_in, .. }
            if *retry_in == secs(60))
    };
    assert_eq!(seen.iter().filter(would).count(), 10, "{seen:?}");
    assert_eq!(handle.status(&()).unwrap().openings, 1, "calls that it would have rejected do not count");

    wait(secs(60)).await;
    calls(&mut service, Succeed, 1).await;
    let expected = [(State::Open, State::HalfOpen), (State::HalfOpen, State::Closed)];
    assert_eq!(events.changes(), expected);

    // To act on what was seen so far.
    calls(&mut service, Fail, 2).await;
    handle.set_mode(&(), Mode::Normal);
    assert!(call(&mut service, Succeed).await.is_rejected());
}

#[tokio::test(start_paused = true)]
async fn the_mode_of_all_is_that_of_keys_to_come_and_of_the_overflow_bucket() {
    let layer = BreakerLayer::builder().key(by_key).max_keys(2).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    assert!(call_for(&mut service, "old", Succeed).await.is_response());
    handle.set_mode_of_all(Mode::ForcedOpen);
    for key in ["old", "new", "without room"] {
        assert_eq!(handle.state(key), State::Open);
        assert!(call_for(&mut service, key, Succeed).await.is_rejected(), "{key}");
    }
    handle.reset_all();
    for key in ["old", "new", "without room"] {
        assert!(call_for(&mut service, key, Succeed).await.is_response(), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_past_its_time_is_not_reported_as_open() {
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(1))
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .close_after(1)
        .ramp(Ramp::over(secs(10)))
        .build()
        .unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    calls(&mut service, Fail, 1).await;
    wait(ms(59_999)).await;
    let status = handle.status(&()).unwrap();
    assert_eq!((status.state, status.retry_in), (State::Open, Some(ms(1))));
    wait(ms(1)).await;
    let status = handle.status(&()).unwrap();
    assert_eq!((status.state, status.retry_in), (State::HalfOpen, None), "no call has come to find out");
    assert_eq!(handle.snapshot().keys[0].status.state, State::HalfOpen);
    calls(&mut service, Succeed, 1).await;
    assert_eq!(handle.state(&()), State::Ramping);
    wait(secs(10)).await;
    assert_eq!(handle.state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_shows_all_keys_with_their_counts() {
    let trip = Trip::consecutive(3).or(Trip::ratio(0.9).over(secs(30)).min_calls(50));
    let layer = BreakerLayer::builder()
        .key(by_key)
        .trip(trip)
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .probes(2)
        .build()
        .unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    for (key, failures) in [("a", 0), ("b", 2), ("c", 3), ("d", 3)] {
        assert!(call_for(&mut service, key, Succeed).await.is_response());
        for _ in 0..failures {
            assert!(call_for(&mut service, key, Fail).await.is_failure());
        }
    }
    let mut snapshot = handle.snapshot();
    snapshot.keys.sort_by(|a, b| a.key.cmp(&b.key));
    let seen: Vec<_> = snapshot
        .keys
        .iter()
        .map(|key| {
            let window = key.status.windows[0];
            (key.label.as_str(), key.status.state, key.status.consecutive_failures, window.calls, window.bad)
        })
        .collect();
    let (closed, open) = (State::Closed, State::Open);
    // Once it is open, what led to it is over.
    assert_eq!(seen, [("a", closed, 0, 1, 0), ("b", closed, 2, 3, 2), ("c", open, 0, 0, 0), ("d", open, 0, 0, 0)]);
    assert_eq!((snapshot.open, snapshot.max_keys), (2, 10_000));
    assert_eq!(snapshot.keys[2].status.retry_in, Some(secs(60)));

    wait(secs(60)).await;
    let mut probes = [start(&mut service, "c", Hang).await, start(&mut service, "c", Hang).await];
    probes.iter_mut().for_each(poll_pending);
    let status = handle.status("c").unwrap();
    assert_eq!((status.state, status.probes, status.openings, status.retry_in), (State::HalfOpen, 2, 1, Some(secs(1))));
}

#[tokio::test(start_paused = true)]
async fn what_a_handle_does_is_told() {
    let events = Events::default();
    let layer =
        BreakerLayer::builder().key(by_key).trip(Trip::consecutive(1)).observe(events.observer()).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    call_for(&mut service, "a", Fail).await;
    events.take();
    handle.reset("a");
    handle.set_mode("a", Mode::ForcedOpen);
    handle.set_mode_of_all(Mode::ForcedClosed);
    let reasons: Vec<_> = events
        .take()
        .into_iter()
        .filter_map(|event| match event {
            BreakerEvent::Changed { key, from, to, reason, .. } if key == "a" => Some((from, to, reason)),
            _ => None,
        })
        .collect();
    let expected = [
        (State::Open, State::Closed, Reason::Reset),
        (State::Closed, State::Open, Reason::Forced),
        (State::Open, State::Closed, Reason::Forced),
    ];
    assert_eq!(reasons, expected);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_there_is_said_so() {
    let layer = BreakerLayer::builder().key(by_key).max_keys(1).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(far()));
    assert!(handle.is_empty());
    assert!(!handle.reset("a") && !handle.remove("a"));
    assert!(call_for(&mut service, "a", Succeed).await.is_response());
    assert!(!handle.set_mode("b", Mode::ForcedOpen), "there is no room");
    let unkeyed = BreakerLayer::builder().build::<forebay_core::Boxed>().unwrap().handle();
    assert_eq!((unkeyed.len(), unkeyed.overflow(), unkeyed.expire_idle()), (1, None, 0));
    assert!(!unkeyed.remove(&()) && !unkeyed.set_overflow_mode(Mode::ForcedOpen) && unkeyed.reset(&()));
}
