//! Each law of `tower::Service` on each layer that is an ordinary one: inner call per call, no worker in between.
//!
//! Queue and batch have their own forms of the laws beside their code.

use forebay::{breaker::BreakerLayer, retry::RetryLayer};
use forebay_testkit::{Probe, laws};
use tower::{Layer, ServiceBuilder};

macro_rules! every_law {
    ($($name:ident: $layer:expr;)*) => {$(
        mod $name {
            use super::*;

            #[tokio::test(start_paused = true)]
            async fn the_readied_instance_is_called() {
                laws::the_readied_instance_is_called(|probe: Probe<u32>| Layer::layer(&$layer, probe), 7).await;
            }

            #[tokio::test(start_paused = true)]
            async fn readiness_is_stable() {
                laws::readiness_is_stable(Layer::layer(&$layer, Probe::<u32>::echo())).await;
            }

            #[tokio::test(start_paused = true)]
            async fn clones_share_slots_not_grants() {
                laws::clones_share_slots_not_grants(|probe: Probe<u32>| Layer::layer(&$layer, probe), 7).await;
            }

            #[tokio::test(start_paused = true)]
            async fn dropping_gives_back() {
                laws::dropping_a_ready_service_gives_back(|probe: Probe<u32>| Layer::layer(&$layer, probe)).await;
                laws::dropping_a_future_gives_back(|probe: Probe<u32>| Layer::layer(&$layer, probe), 7).await;
            }
        }
    )*};
}

every_law! {
    retry: RetryLayer::default();
    breaker: BreakerLayer::driver().build().unwrap();
    breaker_per_key: BreakerLayer::driver().key(|request: &u32| request).build().unwrap();
    retry_over_breaker: ServiceBuilder::new()
        .layer(RetryLayer::default())
        .layer(BreakerLayer::driver().build().unwrap());
    breaker_over_retry: ServiceBuilder::new()
        .layer(BreakerLayer::driver().build().unwrap())
        .layer(RetryLayer::default());
    among_towers_own: ServiceBuilder::new()
        .layer(BreakerLayer::driver().build().unwrap())
        .concurrency_limit(2)
        .layer(RetryLayer::default())
        .timeout(std::time::Duration::from_secs(3600));
}
