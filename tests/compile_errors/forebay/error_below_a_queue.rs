// code: E0277
// says: `String` is not an error that a classifier can walk
// says: .map_err(BoxError::from)

use forebay::{breaker::BreakerLayer, core::BoxError, queue::QueueLayer};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

pub async fn call() -> Result<u32, BoxError> {
    let service =
        ServiceBuilder::new().layer(QueueLayer::<u32>::builder().build()?).layer(BreakerLayer::builder().build()?);
    #[cfg(feature = "cure")]
    let service = service.map_err(BoxError::from);
    let mut service = service.service(service_fn(|n: u32| async move { Ok::<_, String>(2 * n) }));
    service.ready().await?.call(1).await
}

fn main() {}
