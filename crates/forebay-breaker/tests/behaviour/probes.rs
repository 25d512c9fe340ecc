//! Half-open: who may go, and what becomes of those that do not come back.

use crate::far::*;
use forebay_breaker::{BreakerEvent, BreakerLayer, Cancelled, OpenFor, State, Trip};
use forebay_core::{BoxError, Outcome};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;
use tower::{Layer, Service, ServiceExt};

macro_rules! opened {
    ($builder:expr) => {{
        let open_for = OpenFor::new(secs(60)).jitter(0.0);
        let layer = $builder.trip(Trip::consecutive(1)).open_for(open_for).build().unwrap();
        let mut service = layer.layer(far());
        calls(&mut service, Fail, 1).await;
        wait(secs(60)).await;
        (layer.handle(), service)
    }};
}

#[tokio::test(start_paused = true)]
async fn b04_of_many_racers_one_goes() {
    let (handle, service) = opened!(BreakerLayer::builder());
    let mut under_way = Vec::new();
    let mut rejected = 0;
    for _ in 0..1000 {
        let mut clone = service.clone();
        let mut task = start(&mut clone, "one", Take(10)).await;
        match task.poll() {
            std::task::Poll::Pending => under_way.push(task),
            std::task::Poll::Ready(result) => {
                let open = got(result).rejection();
                assert_eq!((open.state(), open.retry_in()), (State::HalfOpen, secs(1)));
                rejected += 1;
            }
        }
    }
    assert_eq!((under_way.len(), rejected), (1, 999));
    assert_eq!(handle.status(&()).unwrap().probes, 1);
}

#[tokio::test(start_paused = true)]
async fn b04_as_many_go_as_there_are_probes() {
    let (handle, mut service) = opened!(BreakerLayer::builder().probes(3).close_after(3));
    let mut probes = Vec::new();
    for _ in 0..3 {
        probes.push(start(&mut service, "one", Take(10)).await);
        poll_pending(probes.last_mut().unwrap());
    }
    assert!(call(&mut service, Succeed).await.is_rejected());
    wait(ms(10)).await;
    assert!(probes.remove(0).await.is_ok());
    assert!(call(&mut service, Succeed).await.is_response(), "one came back, one may go");
    assert_eq!(handle.state(&()), State::HalfOpen);
    assert!(probes.remove(0).await.is_ok());
    assert_eq!(handle.state(&()), State::Closed);
    assert!(probes.remove(0).await.is_ok(), "a late success moves nothing");
    assert_eq!(handle.status(&()).unwrap().generation, 4);
}

#[tokio::test(start_paused = true)]
async fn b08_a_dropped_probe_gives_its_permit_back() {
    let (handle, mut service) = opened!(BreakerLayer::builder().cancelled(Cancelled::Ignored));
    for _ in 0..100 {
        let mut probe = start(&mut service, "one", Hang).await;
        poll_pending(&mut probe);
        assert!(call(&mut service, Succeed).await.is_rejected());
        drop(probe);
        assert_eq!(handle.state(&()), State::HalfOpen);
    }
    assert!(call(&mut service, Succeed).await.is_response());
}

#[tokio::test(start_paused = true)]
async fn b08_a_probe_that_was_never_polled_gives_its_permit_back_whatever_counts() {
    let (handle, mut service) = opened!(BreakerLayer::builder());
    for _ in 0..100 {
        let probe = start(&mut service, "one", Hang).await;
        drop(probe);
        assert_eq!(handle.state(&()), State::HalfOpen);
    }
    assert!(call(&mut service, Succeed).await.is_response());
}

#[tokio::test(start_paused = true)]
async fn b08_b20_a_probe_that_was_given_up_has_failed_by_default_and_nothing_is_wedged() {
    let (handle, mut service) = opened!(BreakerLayer::builder().close_after(1));
    for _ in 0..100 {
        let mut probe = start(&mut service, "one", Hang).await;
        poll_pending(&mut probe);
        drop(probe);
        assert_eq!(call(&mut service, Succeed).await.rejection().retry_in(), secs(60), "a fresh timer");
        wait(secs(60)).await;
    }
    assert!(call(&mut service, Succeed).await.is_response());
    assert_eq!(handle.state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn b08_a_ready_service_holds_no_permit() {
    let (_, service) = opened!(BreakerLayer::builder());
    let mut idle: Vec<_> = (0..100).map(|_| service.clone()).collect();
    for clone in &mut idle {
        clone.ready().await.unwrap();
    }
    assert!(call(&mut service.clone(), Succeed).await.is_response(), "a hundred ready clones are not in the way");
}

#[tokio::test(start_paused = true)]
async fn b18_a_hung_probe_loses_its_place_when_its_lease_ends() {
    let events = Events::default();
    let builder = BreakerLayer::builder().probe_lease(secs(30)).close_after(2).observe(events.observer());
    let (handle, mut service) = opened!(builder);
    events.take();
    let mut hung = start(&mut service, "one", Take(40_000)).await;
    poll_pending(&mut hung);
    wait(ms(29_500)).await;
    assert_eq!(call(&mut service, Succeed).await.rejection().retry_in(), ms(500), "not longer than the lease");
    wait(ms(500)).await;
    assert_eq!(handle.status(&()).unwrap().probes, 0);
    assert!(call(&mut service, Succeed).await.is_response());
    assert!(events.take().iter().any(|event| matches!(event, BreakerEvent::ProbesLost { probes: 1, .. })));

    // It comes back after all, while another one is on its way: it has no say any more.
    wait(secs(10)).await;
    assert!(hung.await.is_ok());
    let status = handle.status(&()).unwrap();
    assert_eq!((status.state, status.successes), (State::HalfOpen, 1));
    calls(&mut service, Succeed, 1).await;
    assert_eq!(handle.state(&()), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn b18_a_hung_probe_that_fails_after_its_lease_opens_nothing() {
    let (handle, mut service) = opened!(BreakerLayer::builder().probe_lease(secs(30)).close_after(2));
    let mut hung = start(&mut service, "one", FailIn(40_000)).await;
    poll_pending(&mut hung);
    wait(secs(30)).await;
    let mut other = start(&mut service, "one", Take(20_000)).await;
    poll_pending(&mut other);
    wait(secs(10)).await;
    assert!(hung.await.is_err());
    assert_eq!(handle.state(&()), State::HalfOpen);
    // Nor has it given back a permit that is not its own.
    assert!(call(&mut service, Succeed).await.is_rejected());
    wait(secs(10)).await;
    assert!(other.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn b11_an_ignored_probe_gives_its_permit_back_and_closes_nothing() {
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(1))
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .close_after(1)
        .excluding(|result: &Result<(), BoxError>| result.is_ok())
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 1).await;
    wait(secs(60)).await;
    for _ in 0..100 {
        calls(&mut service, Succeed, 1).await;
        assert_eq!(layer.handle().state(&()), State::HalfOpen);
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_inner_service_is_a_failure_and_leaks_no_permit() {
    for cancelled in [Cancelled::Failure, Cancelled::Ignored] {
        let (handle, mut service) = opened!(BreakerLayer::builder().cancelled(cancelled));
        let future = service.ready().await.unwrap().call(Request { key: "one", how: Panic });
        assert!(AssertUnwindSafe(future).catch_unwind().await.is_err());
        assert_eq!(handle.state(&()), State::Open, "it was not ignored");
        wait(secs(60)).await;
        assert!(call(&mut service, Succeed).await.is_response());
    }
}

#[tokio::test(start_paused = true)]
async fn a_panic_in_the_classifier_is_a_failure_and_leaks_no_permit() {
    let classify = |result: &Result<(), BoxError>| match result {
        Ok(()) => panic!("the classifier panics"),
        Err(_) => Outcome::RETRYABLE,
    };
    let layer = BreakerLayer::builder()
        .trip(Trip::consecutive(1))
        .open_for(OpenFor::new(secs(60)).jitter(0.0))
        .classify(classify)
        .build()
        .unwrap();
    let mut service = layer.layer(far());
    calls(&mut service, Fail, 1).await;
    for _ in 0..3 {
        wait(secs(60)).await;
        let future = service.ready().await.unwrap().call(Request { key: "one", how: Succeed });
        assert!(AssertUnwindSafe(future).catch_unwind().await.is_err());
        assert_eq!(layer.handle().state(&()), State::Open);
    }
    wait(secs(60)).await;
    assert!(call(&mut service, Fail).await.is_failure(), "the permit is there");
}

/// A service that panics in `call` itself, before there is a future, as often as it says.
#[derive(Clone)]
struct PanicsInCall(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Service<Request> for PanicsInCall {
    type Response = ();
    type Error = BoxError;
    type Future = std::future::Ready<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let left = &self.0;
        if request.how == Panic {
            left.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            panic!("the call itself panics");
        }
        std::future::ready(if request.how == Fail { Err("refused".into()) } else { Ok(()) })
    }
}

#[tokio::test(start_paused = true)]
async fn f19_a_probe_whose_call_panics_gives_its_permit_back_at_once() {
    for keyed in [false, true] {
        let builder = BreakerLayer::builder()
            .trip(Trip::consecutive(1))
            .open_for(OpenFor::new(secs(60)).jitter(0.0))
            .close_after(1);
        let panics = PanicsInCall(Default::default());
        // The two have different types.
        if keyed {
            let layer = builder.key(|request: &Request| request.key).build().unwrap();
            probe_that_panics(&mut layer.layer(panics.clone())).await;
            assert_eq!(layer.handle().state("one"), State::Closed);
        } else {
            let layer = builder.build().unwrap();
            probe_that_panics(&mut layer.layer(panics.clone())).await;
            assert_eq!(layer.handle().state(&()), State::Closed);
        }
        assert_eq!(panics.0.load(std::sync::atomic::Ordering::SeqCst), 3);
    }
}

async fn probe_that_panics<S>(service: &mut S)
where
    S: Service<Request, Response = (), Error = BoxError>,
{
    calls(service, Fail, 1).await;
    wait(secs(60)).await;
    for _ in 0..3 {
        let panicked = AssertUnwindSafe(call(service, Panic)).catch_unwind().await;
        assert!(panicked.is_err(), "the next probe was admitted, and reached the service");
    }
    assert!(call(service, Succeed).await.is_response());
}

/// The event of the change to half-open is emitted by the very call that is the first probe.
#[tokio::test(start_paused = true)]
async fn b08_f19_an_observer_that_panics_while_a_probe_is_admitted_gives_its_permit_back() {
    let builder = BreakerLayer::builder().close_after(1).observe(|event: &BreakerEvent| {
        assert!(!matches!(event, BreakerEvent::Changed { to: State::HalfOpen, .. }), "the observer panics");
    });
    let (handle, mut service) = opened!(builder);
    let call_it = async { service.ready().await.unwrap().call(Request { key: "one", how: Succeed }).await };
    assert!(AssertUnwindSafe(call_it).catch_unwind().await.is_err());
    assert_eq!((handle.state(&()), handle.status(&()).unwrap().probes), (State::HalfOpen, 0));
    assert!(call(&mut service, Succeed).await.is_response(), "it does not wait for a lease to end");
    assert_eq!(handle.state(&()), State::Closed);
}
