//! The laws of Tower, as far as they apply.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_collect::{Aggregator, Emission, FetchError, Filter, FilterLayer, FoldFn, Gathered, Place, RemoteConfig};
use forebay_testkit::{Probe, laws};
use tower_layer::Layer;

fn filtering(
    inner: Probe<u32>,
) -> impl tower::Service<u32, Error: std::fmt::Debug, Future: Send> + Clone + Send + Sync {
    FilterLayer::new(Filter::all(), |_: &u32| "name").layer(inner)
}

fn aggregator() -> Aggregator<u32, u32, u32> {
    let fold = FoldFn::new(|event: &u32| Place::Part(*event), |all: Gathered<u32, u32>| all.key);
    Aggregator::builder(fold).build(|_: Emission<u32>| ()).unwrap()
}

#[tokio::test]
async fn the_readied_instance_is_called() {
    laws::the_readied_instance_is_called(filtering, 7).await;
}

#[tokio::test]
async fn clones_share_slots_not_grants() {
    laws::clones_share_slots_not_grants(filtering, 7).await;
}

#[tokio::test]
async fn dropping_gives_back() {
    laws::dropping_a_ready_service_gives_back(filtering).await;
    laws::dropping_a_future_gives_back(filtering, 7).await;
}

#[tokio::test]
async fn readiness_is_stable() {
    laws::readiness_is_stable::<u32, _>(aggregator()).await;
}

#[test]
fn f22_no_waker_runs_under_a_lock() {
    laws::a_service_runs_no_waker_under_a_lock(filtering, 7);
}

#[test]
fn an_error_says_each_thing_once() {
    let all = aggregator();
    all.close();
    laws::error_chain_has_one_link_per_sentence(&all.offer(1).unwrap_err());
    let cause = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    for error in [FetchError::status(500), FetchError::unreadable("no JSON"), FetchError::no_response(cause)] {
        laws::error_chain_has_one_link_per_sentence(&error);
    }
}

#[test]
fn everything_is_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    fn sent<T: Send + 'static>(_: T) {}
    check::<Aggregator<u32, u32, u32>>();
    check::<RemoteConfig<u32>>();
    check::<FilterLayer<fn(&u32) -> &str>>();
    let (_, worker) = RemoteConfig::<u32>::builder(|| async { Err(FetchError::status(500)) }).build().unwrap();
    sent(worker.run());
    sent(aggregator().ticker());
}
