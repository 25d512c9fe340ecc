// code: E0599
// says: `ServiceExt::ready(&mut service)` says why

use forebay::{breaker::BreakerLayer, core::BoxError};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[cfg(not(feature = "cure"))]
type Failure = String;
#[cfg(feature = "cure")]
type Failure = BoxError;

pub async fn call() -> Result<u32, BoxError> {
    let double = service_fn(|n: u32| async move { Ok::<_, Failure>(2 * n) });
    let mut service = ServiceBuilder::new().layer(BreakerLayer::builder().build()?).service(double);
    service.ready().await?.call(1).await
}

fn main() {}
