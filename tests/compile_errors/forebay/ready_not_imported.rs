// code: E0599
// says: use tower::ServiceExt;

use forebay::{core::BoxError, retry::RetryLayer};
#[cfg(feature = "cure")]
use tower::ServiceExt;
use tower::{Service, ServiceBuilder, service_fn};

pub async fn call() -> Result<u32, BoxError> {
    let double = service_fn(|n: u32| async move { Ok::<_, BoxError>(2 * n) });
    let mut service = ServiceBuilder::new().layer(RetryLayer::default()).service(double);
    service.ready().await?.call(1).await
}

fn main() {}
