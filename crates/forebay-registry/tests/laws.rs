//! The laws of `tower::Service`, for a lease of a service and for the registry as a `MakeService`.

#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use forebay_core::{BoxError, ConfigError, is_caused_by};
use forebay_registry::{
    AcquireError, LeasedFuture, LeasedService, MakeFuture, Registry, RegistryBuilder, RegistryLayer, RegistryMake,
};
use forebay_testkit::{Probe, Watch, laws};
use std::{future::pending, task::Poll, time::Duration};
use tower::{Layer, MakeService, Service, ServiceExt};

/// A lease of `probe`, as a service, and the registry it is of.
fn leased(probe: Probe<u32>) -> (LeasedService<Probe<u32>>, Registry<&'static str, Probe<u32>>) {
    let registry = Registry::builder(move |_| std::future::ready(Ok::<_, BoxError>(probe.clone()))).build().unwrap();
    let mut acquire = tokio_test::task::spawn(registry.acquire(&"a"));
    let Poll::Ready(lease) = acquire.poll() else { panic!("the probe is there at once") };
    (lease.unwrap().into_service(), registry.clone())
}

fn shared(probe: Probe<u32>) -> LeasedService<Probe<u32>> {
    leased(probe).0
}

fn layer() -> RegistryLayer<u32, u32> {
    RegistryLayer::builder().linger(Duration::from_secs(1)).build().unwrap()
}

#[tokio::test]
async fn the_readied_instance_is_called() {
    laws::the_readied_instance_is_called(shared, 7).await;
    laws::the_readied_instance_is_called(|probe: Probe<u32>| layer().layer(probe), 7).await;
}

#[tokio::test]
async fn readiness_is_stable() {
    laws::readiness_is_stable(shared(Probe::with_slots(1, |n| async move { Ok(n) }))).await;
    laws::readiness_is_stable(layer().layer(Probe::<u32>::echo())).await;
}

#[tokio::test]
async fn clones_share_the_service_not_its_readiness() {
    laws::clones_share_slots_not_grants(shared, 7).await;
    laws::clones_share_slots_not_grants(|probe: Probe<u32>| layer().layer(probe), 7).await;
}

#[tokio::test]
async fn dropping_a_ready_service_gives_back() {
    laws::dropping_a_ready_service_gives_back(shared).await;
    laws::dropping_a_ready_service_gives_back(|probe: Probe<u32>| layer().layer(probe)).await;
}

#[tokio::test]
async fn dropping_a_future_gives_back() {
    laws::dropping_a_future_gives_back(shared, 7).await;
    laws::dropping_a_future_gives_back(|probe: Probe<u32>| layer().layer(probe), 7).await;
}

#[test]
fn f22_no_waker_runs_under_a_lock() {
    laws::a_service_runs_no_waker_under_a_lock(shared, 7);
    laws::a_service_runs_no_waker_under_a_lock(|probe: Probe<u32>| layer().layer(probe), 7);
}

#[tokio::test]
async fn a_caller_that_waits_for_the_shared_service_is_woken_when_it_fails() {
    let probe = Probe::<u32>::with_slots(0, |n| async move { Ok(n) });
    let watch: Watch = probe.watch();
    let service = shared(probe);
    laws::every_waiter_wakes_on_close(vec![service.clone(), service], move || watch.fail("closed")).await;
}

#[tokio::test]
async fn an_error_has_one_link_per_sentence() {
    let make = RegistryMake::<u32, u32>::clone(&layer().layer(Probe::<u32>::new(|_| async { Err("refused".into()) })));
    let error = make.oneshot(7).await.unwrap_err();
    laws::error_chain_has_one_link_per_sentence(&*error);
    assert!(is_caused_by::<AcquireError>(&*error));
}

#[tokio::test]
async fn everything_can_be_sent_and_shared() {
    laws::is_send_and_sync::<RegistryLayer<String, u32>>();
    laws::is_send_and_sync::<RegistryMake<String, u32>>();
    laws::is_send_and_sync::<MakeFuture<u32>>();
    laws::is_send_and_sync::<LeasedService<u32>>();
    laws::is_send_and_sync::<LeasedFuture<std::future::Ready<()>, u32>>();
    laws::is_send_and_sync::<RegistryBuilder<String, u32>>();
}

/// It is what Tower calls a `MakeService`: by its blanket implementation.
#[tokio::test]
async fn the_registry_is_a_make_service() {
    fn is_make_service<M: MakeService<&'static str, u32, Response = u32, MakeError = BoxError>>(_: &M) {}
    let registry = Registry::builder(|_| std::future::ready(Ok::<_, BoxError>(Probe::<u32>::echo()))).build().unwrap();
    let mut make = registry.into_make();
    is_make_service(&make);
    let mut first = make.ready().await.unwrap().call("a").await.unwrap();
    let second = make.clone().oneshot("a").await.unwrap();
    assert_eq!(first.ready().await.unwrap().call(7).await.unwrap(), 7);
    let entries = make.registry().snapshot().entries;
    assert_eq!(entries.iter().map(|entry| entry.leases).collect::<Vec<_>>(), [2]);
    drop((first, second));
    assert!(make.registry().snapshot().entries.is_empty());
}

/// A call without its service, as `oneshot` leaves it: the client stays open until the response is there.
#[tokio::test]
async fn a_client_is_not_closed_under_a_call() {
    let probe = Probe::<u32>::new(|_| pending());
    let watch = probe.watch();
    let (service, registry) = leased(probe);
    let mut call = tokio_test::task::spawn(service.oneshot(7));
    assert!(call.poll().is_pending());
    assert_eq!(watch.running(), 1);
    assert_eq!(registry.snapshot().entries.len(), 1, "closed under a call");
    drop(call);
    assert!(registry.snapshot().entries.is_empty());
}

#[test]
fn a_bad_knob_is_refused_by_the_layer_too() {
    let refused: ConfigError = RegistryLayer::<u32, u32>::builder().linger(Duration::MAX).build().unwrap_err();
    assert_eq!(refused.knob(), "linger");
}
