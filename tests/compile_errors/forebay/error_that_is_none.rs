// code: E0277
// says: `ByError<_>` cannot classify the results of this service
// says: the classifiers of the presets take errors that implement `std::error::Error`, and `BoxError`
// says: .map_err(BoxError::from)

use forebay::{core::BoxError, retry::RetryLayer};
use tower::{ServiceBuilder, ServiceExt, service_fn};

pub async fn call() -> Result<u32, BoxError> {
    let service = ServiceBuilder::new().layer(RetryLayer::default());
    #[cfg(feature = "cure")]
    let service = service.map_err(BoxError::from);
    let service = service.service(service_fn(|n: u32| async move { Ok::<_, String>(2 * n) }));
    ServiceExt::oneshot(service, 1).await
}

fn main() {}
