// code: E0277
// says: `RetryLayer::grpc` needs the feature `grpc` of `forebay-retry`, or of `forebay`

use forebay::{core::BoxError, retry::RetryLayer};
use http::{Request, Response};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

pub async fn call(request: Request<String>) -> Result<Response<()>, BoxError> {
    let channel = service_fn(|_: Request<String>| async { Ok::<_, BoxError>(Response::new(())) });
    let mut service = ServiceBuilder::new().layer(RetryLayer::grpc()).service(channel);
    service.ready().await?.call(request).await
}

fn main() {}
