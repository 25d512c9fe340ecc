//! The laws of `tower::Service`, with keys and without.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_breaker::{
    Breaker, BreakerBuilder, BreakerEvent, BreakerHandle, BreakerLayer, CircuitOpen, Mode, OpenFor, State, Trip,
    future::ResponseFuture,
};
use forebay_core::{BoxError, ByError, Unkeyed};
use forebay_testkit::{Probe, ProbeFuture, laws};
use std::{future::pending, task::Poll, time::Duration};
use tower::{Layer, Service, ServiceExt};

type Response = Result<u32, BoxError>;

fn by_itself(request: &u32) -> &u32 {
    request
}

fn unkeyed(probe: Probe<u32>) -> impl Service<u32, Response = u32, Error = BoxError> + Clone {
    BreakerLayer::builder().build().unwrap().layer(probe)
}

fn keyed(probe: Probe<u32>) -> impl Service<u32, Response = u32, Error = BoxError> + Clone {
    BreakerLayer::builder().key(by_itself).build().unwrap().layer(probe)
}

#[tokio::test(start_paused = true)]
async fn the_readied_instance_is_called() {
    laws::the_readied_instance_is_called(unkeyed, 7).await;
    laws::the_readied_instance_is_called(keyed, 7).await;
}

#[tokio::test(start_paused = true)]
async fn readiness_is_stable() {
    laws::readiness_is_stable(unkeyed(Probe::with_slots(1, |n| async move { Ok(n) }))).await;
    laws::readiness_is_stable(keyed(Probe::with_slots(1, |n| async move { Ok(n) }))).await;
}

#[tokio::test(start_paused = true)]
async fn clones_share_the_state_not_a_grant() {
    laws::clones_share_slots_not_grants(unkeyed, 7).await;
    laws::clones_share_slots_not_grants(keyed, 7).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_gives_back() {
    laws::dropping_a_ready_service_gives_back(unkeyed).await;
    laws::dropping_a_ready_service_gives_back(keyed).await;
    // A call that is given up is a failure by default, and three rounds of this law do not open it.
    laws::dropping_a_future_gives_back(unkeyed, 7).await;
    laws::dropping_a_future_gives_back(keyed, 7).await;
}

#[tokio::test(start_paused = true)]
async fn every_waiter_wakes_on_close() {
    let probe = Probe::<u32>::with_slots(0, |n| async move { Ok(n) });
    let watch = probe.watch();
    let service = BreakerLayer::builder().build().unwrap().layer(probe);
    laws::every_waiter_wakes_on_close(vec![service.clone(), service], move || watch.fail("closed")).await;
}

#[tokio::test(start_paused = true)]
async fn b15_while_open_it_is_ready_at_once_even_if_the_inner_service_never_is() {
    let probe = Probe::<u32>::with_slots(0, |n| async move { Ok(n) });
    let watch = probe.watch();
    let layer = BreakerLayer::builder().build().unwrap();
    let mut service = layer.layer(probe);
    layer.handle().set_mode(&(), Mode::ForcedOpen);
    assert!(matches!(laws::poll_once(&mut service).await, Poll::Ready(Ok(()))));
    let error = service.call(7).await.unwrap_err();
    assert!(error.is::<CircuitOpen>());
    assert_eq!((watch.polls(), watch.calls(), watch.violations()), (0, 0, 0), "it was not even asked");
}

#[tokio::test(start_paused = true)]
async fn b15_a_promise_made_while_open_is_kept_when_it_closes() {
    let probe = Probe::<u32>::with_slots(0, |n| async move { Ok(n) });
    let watch = probe.watch();
    let layer = BreakerLayer::builder().build().unwrap();
    let mut service = layer.layer(probe);
    layer.handle().set_mode(&(), Mode::ForcedOpen);
    assert!(matches!(laws::poll_once(&mut service).await, Poll::Ready(Ok(()))));
    layer.handle().set_mode(&(), Mode::Normal);
    // Readiness is not taken back, although the inner service is not ready; nor is an unready instance called.
    assert!(matches!(laws::poll_once(&mut service).await, Poll::Ready(Ok(()))));
    assert!(service.call(7).await.unwrap_err().is::<CircuitOpen>());
    assert_eq!((watch.calls(), watch.violations()), (0, 0));
    assert!(laws::poll_once(&mut service).await.is_pending(), "from now on it waits for the inner service");
}

#[tokio::test(start_paused = true)]
async fn b15_a_promise_made_while_open_is_used_if_it_can_be() {
    let probe = Probe::<u32>::echo();
    let layer = BreakerLayer::builder().build().unwrap();
    let mut service = layer.layer(probe);
    layer.handle().set_mode(&(), Mode::ForcedOpen);
    service.ready().await.unwrap();
    layer.handle().set_mode(&(), Mode::Normal);
    assert_eq!(service.ready().await.unwrap().call(7).await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_keeps_the_readiness_for_the_next_one() {
    let probe = Probe::<u32>::with_slots(1, |n| async move { Ok(n) });
    let watch = probe.watch();
    let layer = BreakerLayer::builder().key(by_itself).build().unwrap();
    layer.handle().set_mode(&7, Mode::ForcedOpen);
    let mut service = layer.layer(probe);
    assert!(service.ready().await.unwrap().call(7).await.unwrap_err().is::<CircuitOpen>());
    assert_eq!(watch.reserved(), 1, "it was not used");
    assert_eq!(service.ready().await.unwrap().call(8).await.unwrap(), 8);
    assert_eq!((watch.reserved(), watch.violations(), watch.calls()), (0, 0, 1));
    // And it is given back with the service.
    assert!(service.ready().await.unwrap().call(7).await.unwrap_err().is::<CircuitOpen>());
    drop(service);
    assert_eq!(watch.reserved(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_opens_between_ready_and_call_rejects_and_keeps_the_readiness() {
    let probe = Probe::<u32>::with_slots(1, |n| async move { Ok(n) });
    let watch = probe.watch();
    let layer = BreakerLayer::builder().build().unwrap();
    let mut service = layer.layer(probe);
    service.ready().await.unwrap();
    layer.handle().set_mode(&(), Mode::ForcedOpen);
    assert!(service.call(7).await.unwrap_err().is::<CircuitOpen>());
    layer.handle().set_mode(&(), Mode::Normal);
    assert_eq!(watch.reserved(), 1);
    assert_eq!(service.ready().await.unwrap().call(8).await.unwrap(), 8);
    assert_eq!(watch.violations(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_inner_service_that_is_broken_says_so() {
    let probe = Probe::<u32>::echo();
    let watch = probe.watch();
    watch.fail("broken");
    let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).build().unwrap();
    let mut service = layer.layer(probe);
    assert_eq!(service.ready().await.map(|_| ()).unwrap_err().to_string(), "broken");
    assert_eq!(layer.handle().state(&()), State::Closed, "no call was made, none has failed");
}

#[tokio::test(start_paused = true)]
async fn a_rejection_needs_no_timer_and_wakes_no_waiter() {
    let minute = Duration::from_secs(60);
    let layer =
        BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(OpenFor::new(minute).jitter(0.0)).build().unwrap();
    // 0 fails, all else never ends.
    let far =
        Probe::new(|n: u32| async move { if n == 0 { Err("refused".into()) } else { pending::<Response>().await } });
    let mut service = layer.layer(far);
    assert!(service.ready().await.unwrap().call(0).await.is_err());
    tokio::time::advance(minute).await;
    let mut probe = tokio_test::task::spawn(service.ready().await.unwrap().call(1));
    assert!(probe.poll().is_pending());
    let mut task = tokio_test::task::spawn(async { service.ready().await.unwrap().call(1).await });
    assert!(matches!(task.poll(), Poll::Ready(Err(_))), "it ends with the first poll");
    assert!(!task.is_woken());
}

#[test]
fn f22_no_waker_runs_under_a_lock() {
    laws::a_service_runs_no_waker_under_a_lock(unkeyed, 7);
    laws::a_service_runs_no_waker_under_a_lock(keyed, 7);
}

#[test]
fn everything_can_be_sent_and_shared() {
    type Far = Probe<u32, ()>;
    laws::is_send_and_sync::<BreakerLayer<String, fn(&u32) -> &str, ByError>>();
    laws::is_send_and_sync::<Breaker<Far, (), Unkeyed, ByError>>();
    laws::is_send_and_sync::<BreakerHandle<String>>();
    laws::is_send_and_sync::<CircuitOpen>();
    laws::is_send_and_sync::<BreakerEvent>();
    const fn is_send<T: Send>() {}
    // The probe's future is not `Sync`; the breaker adds nothing that is not.
    is_send::<ResponseFuture<ProbeFuture<()>, String, ByError>>();
    laws::is_send_and_sync::<ResponseFuture<std::future::Ready<Result<(), BoxError>>, String, ByError>>();
    const fn is_debug<T: std::fmt::Debug>() {}
    is_debug::<BreakerBuilder>();
}
