// code: E0277
// says: `BreakerLayer::http` needs the feature `http` of `forebay-breaker`, or of `forebay`

use forebay_breaker::{BoxError, BreakerLayer};
use http::{Request, Response};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

pub async fn call(request: Request<String>) -> Result<Response<()>, BoxError> {
    let client = service_fn(|_: Request<String>| async { Ok::<_, BoxError>(Response::new(())) });
    let mut service = ServiceBuilder::new().layer(BreakerLayer::http().build()?).service(client);
    service.ready().await?.call(request).await
}

fn main() {}
