//! Which results count, as what, and until when.

use crate::far::*;
use forebay_breaker::{BreakerEvent, BreakerLayer, Cancelled, OpenFor, State, Trip};
use forebay_core::{BoxError, Outcome};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, timeout::TimeoutLayer};

fn exactly(seconds: u64) -> OpenFor {
    OpenFor::new(secs(seconds)).jitter(0.0)
}

#[tokio::test(start_paused = true)]
async fn b07_a_late_failure_does_not_extend_the_open_time() {
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(exactly(60)).build().unwrap();
    let mut service = layer.layer(far());
    let mut late = Vec::new();
    for _ in 0..20 {
        late.push(start(&mut service, "one", FailIn(30_000)).await);
        poll_pending(late.last_mut().unwrap());
    }
    calls(&mut service, Fail, 1).await;
    wait(secs(30)).await;
    for task in late {
        assert!(task.await.is_err());
        assert_eq!(call(&mut service, Succeed).await.rejection().retry_in(), secs(30));
    }
    assert_eq!(layer.handle().status(&()).unwrap().openings, 1);
}

#[tokio::test(start_paused = true)]
async fn b07_a_late_failure_does_not_open_it_while_half_open() {
    let layer =
        BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(exactly(60)).close_after(1).build().unwrap();
    let mut service = layer.layer(far());
    let mut late = start(&mut service, "one", FailIn(61_000)).await;
    poll_pending(&mut late);
    calls(&mut service, Fail, 1).await;
    wait(secs(60)).await;
    let mut probe = start(&mut service, "one", Take(5_000)).await;
    poll_pending(&mut probe);
    wait(secs(1)).await;
    assert!(late.await.is_err());
    assert_eq!(layer.handle().state(&()), State::HalfOpen, "only its own probe has a say");
    wait(secs(4)).await;
    assert!(probe.await.is_ok());
    assert_eq!(layer.handle().state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn b07_a_late_success_does_not_close_it() {
    let layer =
        BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(exactly(60)).close_after(1).build().unwrap();
    let mut service = layer.layer(far());
    let mut late = start(&mut service, "one", Take(61_000)).await;
    poll_pending(&mut late);
    calls(&mut service, Fail, 1).await;
    wait(secs(60)).await;
    let mut probe = start(&mut service, "one", FailIn(5_000)).await;
    poll_pending(&mut probe);
    wait(secs(1)).await;
    assert!(late.await.is_ok());
    assert_eq!(layer.handle().status(&()).unwrap().successes, 0);
    wait(secs(4)).await;
    assert!(probe.await.is_err());
    assert_eq!(layer.handle().state(&()), State::Open);
}

#[tokio::test(start_paused = true)]
async fn b07_a_result_from_before_an_outage_is_not_counted_after_it() {
    let layer =
        BreakerLayer::builder().trip(Trip::consecutive(2)).open_for(exactly(60)).close_after(1).build().unwrap();
    let mut service = layer.layer(far());
    let mut late = Vec::new();
    for _ in 0..5 {
        late.push(start(&mut service, "one", FailIn(90_000)).await);
        poll_pending(late.last_mut().unwrap());
    }
    calls(&mut service, Fail, 2).await;
    wait(secs(60)).await;
    calls(&mut service, Succeed, 1).await;
    assert_eq!(layer.handle().state(&()), State::Closed);
    wait(secs(30)).await;
    for task in late {
        assert!(task.await.is_err());
    }
    let status = layer.handle().status(&()).unwrap();
    assert_eq!((status.state, status.consecutive_failures), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn b09_a_timeout_below_the_breaker_counts() {
    let layer = BreakerLayer::builder().trip(Trip::consecutive(3)).build().unwrap();
    let mut service = ServiceBuilder::new().layer(&layer).layer(TimeoutLayer::new(secs(1))).service(far());
    for _ in 0..3 {
        assert!(call(&mut service, Hang).await.is_failure());
    }
    assert_eq!(layer.handle().state(&()), State::Open, "a black hole opens it");
}

#[tokio::test(start_paused = true)]
async fn b09_b20_a_timeout_above_the_breaker_counts() {
    let layer = BreakerLayer::builder().trip(Trip::consecutive(3)).build().unwrap();
    let mut service = ServiceBuilder::new().layer(TimeoutLayer::new(secs(1))).layer(&layer).service(far());
    for _ in 0..3 {
        assert!(call(&mut service, Hang).await.is_failure());
    }
    assert_eq!(layer.handle().state(&()), State::Open, "a black hole opens it");
}

#[tokio::test(start_paused = true)]
async fn b20_a_cancelled_call_counts_as_the_configuration_says() {
    for (cancelled, expected) in [(Cancelled::Failure, State::Open), (Cancelled::Ignored, State::Closed)] {
        let layer = BreakerLayer::builder().trip(Trip::consecutive(3)).cancelled(cancelled).build().unwrap();
        let mut service = layer.layer(far());
        for _ in 0..3 {
            let mut given_up = start(&mut service, "one", Hang).await;
            poll_pending(&mut given_up);
        }
        assert_eq!(layer.handle().state(&()), expected, "{cancelled:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn b20_a_cancelled_call_counts_as_slow_where_that_is_asked_for() {
    let trip = Trip::slow_ratio(1.0, secs(10)).over_calls(3).min_calls(3).or(Trip::consecutive(2));
    let layer = BreakerLayer::builder().trip(trip).cancelled(Cancelled::Slow).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 1).await;
    for _ in 0..3 {
        assert_eq!(layer.handle().status(&()).unwrap().consecutive_failures, 1, "neither a failure nor a success");
        let mut given_up = start(&mut service, "one", Hang).await;
        poll_pending(&mut given_up);
    }
    assert_eq!(layer.handle().state(&()), State::Open, "three slow calls of three");
}

#[tokio::test(start_paused = true)]
async fn b20_a_call_that_was_never_polled_does_not_count() {
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).build().unwrap();
    let mut service = layer.layer(far());
    for _ in 0..3 {
        drop(start(&mut service, "one", Hang).await);
    }
    assert_eq!(layer.handle().state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn b10_a_failure_that_is_masked_below_the_breaker_can_be_seen_by_a_classifier() {
    // The commonest mistake: something below turns every failure into a response.
    let masked = |far: forebay_testkit::Probe<Request, ()>| {
        tower::service_fn(move |request| {
            let mut far = far.clone();
            async move { Ok::<bool, BoxError>(far.ready().await?.call(request).await.is_ok()) }
        })
    };
    async fn outage<S: Service<Request, Response = bool, Error = BoxError>>(service: &mut S) {
        for _ in 0..10 {
            assert!(!service.ready().await.unwrap().call(Request { key: "one", how: Fail }).await.unwrap_or(false));
        }
    }

    let blind = BreakerLayer::builder().trip(Trip::consecutive(5)).build().unwrap();
    outage(&mut blind.layer(masked(far()))).await;
    assert_eq!(blind.handle().state(&()), State::Closed, "by errors alone it sees nothing but successes");

    let seeing = BreakerLayer::builder()
        .trip(Trip::consecutive(5))
        .classify(|result: &Result<bool, BoxError>| match result {
            Ok(true) => Outcome::Success,
            Ok(false) | Err(_) => Outcome::RETRYABLE,
        })
        .build()
        .unwrap();
    outage(&mut seeing.layer(masked(far()))).await;
    assert_eq!(seeing.handle().state(&()), State::Open);
}

#[tokio::test(start_paused = true)]
async fn b11_an_excluded_class_is_neither_a_failure_nor_a_success() {
    let throttled = |result: &Result<(), BoxError>| {
        result.as_ref().is_err_and(|error| forebay_core::Verdict::of(&**error).is_some())
    };
    let layer = BreakerLayer::builder().trip(Trip::consecutive(3)).excluding(throttled).build().unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Throttle(1), 100).await;
    assert_eq!(layer.handle().status(&()).unwrap().consecutive_failures, 0);
    calls(&mut service, Fail, 2).await;
    calls(&mut service, Throttle(1), 100).await;
    assert_eq!(layer.handle().status(&()).unwrap().consecutive_failures, 2, "it does not reset the count either");
    calls(&mut service, Fail, 1).await;
    assert_eq!(layer.handle().state(&()), State::Open);
}

#[tokio::test(start_paused = true)]
async fn b11_terminal_failures_can_be_left_out() {
    let terminal = |result: &Result<(), BoxError>| if result.is_ok() { Outcome::Success } else { Outcome::Terminal };
    for (excluded, expected) in [(false, State::Open), (true, State::Closed)] {
        let builder = BreakerLayer::builder().trip(Trip::consecutive(3)).classify(terminal);
        let handle = if excluded {
            let layer = builder.excluding_terminal().build().unwrap();
            calls(&mut layer.layer(far()), Fail, 3).await;
            layer.handle()
        } else {
            let layer = builder.build().unwrap();
            calls(&mut layer.layer(far()), Fail, 3).await;
            layer.handle()
        };
        assert_eq!(handle.state(&()), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_breaker_below_is_not_counted_twice_if_it_is_excluded() {
    let inner = BreakerLayer::builder().trip(Trip::consecutive(1)).build().unwrap();
    let rejected = |result: &Result<(), BoxError>| {
        result.as_ref().is_err_and(|error| forebay_core::is_caused_by::<forebay_breaker::CircuitOpen>(&**error))
    };
    let outer = BreakerLayer::builder().trip(Trip::consecutive(2)).excluding(rejected).build().unwrap();
    let mut service = outer.layer(inner.layer(far()));
    assert!(call(&mut service, Fail).await.is_failure());
    for _ in 0..10 {
        assert!(call(&mut service, Succeed).await.is_rejected());
    }
    assert_eq!((inner.handle().state(&()), outer.handle().state(&())), (State::Open, State::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_observer_may_use_a_handle_of_the_same_breaker() {
    let slot: std::sync::Arc<std::sync::OnceLock<forebay_breaker::BreakerHandle<()>>> = Default::default();
    let seen = std::sync::Arc::clone(&slot);
    let observer = move |event: &BreakerEvent| {
        if let BreakerEvent::Changed { to: State::Open, .. } = event {
            seen.get().unwrap().reset(&());
        }
    };
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).observe(observer).build().unwrap();
    slot.set(layer.handle()).unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 10).await;
    assert_eq!(layer.handle().state(&()), State::Closed, "no lock was held while it was observed");
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_while_a_call_unwinds_does_not_end_the_process() {
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(1))
        .observe(|_: &BreakerEvent| panic!("the observer panics"))
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    let task = tokio::spawn(async move {
        let _pending = start(&mut service, "one", Hang).await.poll();
        let future = service.ready().await.unwrap().call(Request { key: "one", how: Panic });
        future.await
    });
    assert!(task.await.unwrap_err().is_panic());
    assert_eq!(layer.handle().state(&()), State::Open);
}
