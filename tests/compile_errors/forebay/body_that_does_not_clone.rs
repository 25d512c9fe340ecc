// code: E0277
// says: an `http::Request` is sent again where its body is `Clone`, as `http_body_util::Full` is
// says: `.replay_body()` below a `ReplayLayer`

use bytes::Bytes;
use forebay::{
    core::BoxError,
    retry::{RetryBuilder, http::ReplayLayer},
};
use http::{Request, Response};
use http_body_util::combinators::BoxBody;
use tower::{ServiceBuilder, ServiceExt, service_fn};

type Body = BoxBody<Bytes, BoxError>;

#[cfg(not(feature = "cure"))]
pub async fn call(request: Request<Body>) -> Result<Response<()>, BoxError> {
    let _unused = ReplayLayer::default();
    let client = service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(Response::new(())) });
    let service = ServiceBuilder::new().layer(RetryBuilder::http().build()?).service(client);
    ServiceExt::oneshot(service, request).await
}

#[cfg(feature = "cure")]
pub async fn call(request: Request<Body>) -> Result<Response<()>, BoxError> {
    use forebay::retry::http::ReplayBody;
    let client = service_fn(|_: Request<ReplayBody<Body>>| async { Ok::<_, BoxError>(Response::new(())) });
    let retry = RetryBuilder::http().replay_body().build()?;
    let service = ServiceBuilder::new().layer(ReplayLayer::default()).layer(retry).service(client);
    ServiceExt::oneshot(service, request).await
}

fn main() {}
