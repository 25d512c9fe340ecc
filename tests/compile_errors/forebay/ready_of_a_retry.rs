// code: E0599
// says: `ServiceExt::ready(&mut service)` says why

use forebay::{core::BoxError, retry::RetryLayer};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[cfg_attr(feature = "cure", derive(Clone))]
pub struct Job(u32);

pub async fn call() -> Result<u32, BoxError> {
    let double = service_fn(|job: Job| async move { Ok::<_, BoxError>(2 * job.0) });
    let mut service = ServiceBuilder::new().layer(RetryLayer::default()).service(double);
    service.ready().await?.call(Job(1)).await
}

fn main() {}
