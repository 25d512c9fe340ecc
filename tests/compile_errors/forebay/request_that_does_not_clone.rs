// code: E0277
// says: does not know how to send a `Job` again
// says: make the request `Clone`, or pass `.policy(|request: &Job| -> Option<Job> ..)`

use forebay::{
    core::{BoxError, ByError},
    retry::RetryLayer,
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

pub struct Job(u32);

pub async fn call() -> Result<u32, BoxError> {
    let retry = RetryLayer::builder(ByError::new());
    #[cfg(feature = "cure")]
    let retry = retry.policy(|request: &Job| -> Option<Job> { Some(Job(request.0)) });
    let double = service_fn(|job: Job| async move { Ok::<_, BoxError>(2 * job.0) });
    let service = ServiceBuilder::new().layer(retry.build()?).service(double);
    ServiceExt::oneshot(service, Job(1)).await
}

fn main() {}
