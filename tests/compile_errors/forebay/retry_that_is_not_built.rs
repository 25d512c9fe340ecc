// code: E0277
// says: is no retry
// says: a `RetryBuilder` is finished by `.build()?`; other layers are added by `.layer(..)`

use forebay::{ServiceBuilderExt, core::ByError, retry::RetryLayer};
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

fn main() -> Result<(), BoxError> {
    let client = service_fn(|row: u32| async move { Ok::<_, BoxError>(row) });
    let retry = RetryLayer::builder(ByError::new());
    #[cfg(feature = "cure")]
    let retry = retry.build()?;
    let service = ServiceBuilder::new().with_retry(retry).service(client);
    drop(service.oneshot(7));
    Ok(())
}
