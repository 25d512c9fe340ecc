// code: E0277
// says: how much memory a `Job` holds is not known
// says: .weigh(|item: &Job| ..)

use forebay::{batch::BatchLayer, core::BoxError};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

pub struct Job(String);

pub async fn call() -> Result<usize, BoxError> {
    let batch = BatchLayer::builder();
    #[cfg(feature = "cure")]
    let batch = batch.weigh(|item: &Job| item.0.len());
    let store = service_fn(|jobs: Vec<Job>| async move { Ok::<_, BoxError>(jobs.len()) });
    let mut service = ServiceBuilder::new().layer(batch.build()?).service(store);
    service.ready().await?.call(Job(String::new())).await
}

fn main() {}
