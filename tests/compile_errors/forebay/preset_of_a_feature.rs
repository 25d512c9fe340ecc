// code: E0277
// says: `RetryLayer::grpc` needs the feature `grpc` of `forebay-retry`, or of `forebay`

use bytes::Bytes;
use forebay::{core::BoxError, retry::RetryLayer};
use http::{Request, Response};
use http_body_util::Full;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

pub async fn call(request: Request<String>) -> Result<u16, BoxError> {
    let channel = service_fn(|_: Request<String>| async { Ok::<_, BoxError>(Response::new(Full::<Bytes>::default())) });
    let mut service = ServiceBuilder::new().layer(RetryLayer::grpc()).service(channel);
    Ok(service.ready().await?.call(request).await?.status().as_u16())
}

fn main() {}
