// code: E0277
// says: `SharedResponse` cannot make the replies of a batch from a `Vec<Row>`
// says: make it `Clone`, or put it into an `Arc`
// says: `.respond_per_item()` gives each caller its own element

use forebay::{batch::BatchLayer, core::BoxError};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

pub struct Row(pub String);

pub async fn call() -> Result<(), BoxError> {
    let batch = BatchLayer::builder();
    #[cfg(feature = "cure")]
    let batch = batch.respond_per_item();
    let store =
        service_fn(|keys: Vec<String>| async move { Ok::<_, BoxError>(keys.into_iter().map(Row).collect::<Vec<_>>()) });
    let mut service = ServiceBuilder::new().layer(batch.build()?).service(store);
    let _row = service.ready().await?.call(String::new()).await?;
    Ok(())
}

fn main() {}
