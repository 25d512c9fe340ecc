//! A plain hyper server under ten times its load: a queue in front of the service, and clones of it for all connections.
//!
//! ```text
//! cargo run -p forebay-example-hyper --bin shed_hyper
//! ```

use bytes::Bytes;
use forebay::{
    core::Priority,
    http::respond,
    queue::{Limits, QueueLayer},
};
use forebay_example_support::{
    client::http_client,
    load::{self, ITEMS, SOFT_LIMIT, WORK, WORKERS},
    server::say,
};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use std::convert::Infallible;
use tokio::net::TcpListener;
use tower::{BoxError, ServiceBuilder, service_fn};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let queue = QueueLayer::builder()
        .limits(Limits::new().items(ITEMS).soft_limit(SOFT_LIMIT))
        .workers(WORKERS)
        .weigh(|_: &Request<Incoming>| 4096)
        .priority(priority)
        .shared()?;
    let handle = queue.handle();
    let service = ServiceBuilder::new()
        .then(|result: Result<_, BoxError>| async {
            Ok::<_, BoxError>(result.unwrap_or_else(|error| respond::<Full<Bytes>>(&*error)))
        })
        .layer(queue)
        .service(service_fn(work));

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let uri: Uri = format!("http://{}/", listener.local_addr()?).parse()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });

    let client = http_client();
    let tally = load::offer(|lane, _| load::send_http(client.clone(), uri.clone(), lane)).await;
    say(format_args!("{tally}\n{}", handle.totals()))?;
    tally.check(&handle.totals())
}

/// Paid requests go before free ones.
fn priority(request: &Request<Incoming>) -> Priority {
    let is_paid = request.headers().get("x-plan").is_some_and(|plan| plan == "paid");
    if is_paid { Priority::High } else { Priority::Normal }
}

async fn work(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    tokio::time::sleep(WORK).await;
    Ok(Response::new(Full::from("done")))
}
