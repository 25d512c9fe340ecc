//! A tonic server under ten times its load: a queue in front of its services, and a `Status` that says when to try again.
//!
//! ```text
//! cargo run -p forebay-example-tonic --bin shed_tonic
//! ```

use forebay::{
    core::Priority,
    http::Reply as Problem,
    queue::{Limits, QueueLayer},
};
use forebay_example_support::{
    load::{self, ITEMS, Lane, Reply, SOFT_LIMIT, WORK, WORKERS},
    server::say,
};
use forebay_example_tonic::Empty;
use http::uri::PathAndQuery;
use std::convert::Infallible;
use tokio::net::TcpListener;
use tonic::{
    Code, Status,
    body::Body,
    client, server,
    transport::{Channel, Endpoint, Server, server::TcpIncoming},
};
use tower::{BoxError, ServiceBuilder, service_fn};

/// How long a client is asked to wait, in milliseconds; [gRPC's clients](https://github.com/grpc/proposal/blob/master/A6-client-retries.md)
/// obey it.
const PUSHBACK: &str = "grpc-retry-pushback-ms";

type Request = http::Request<Body>;
type Response = http::Response<Body>;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let queue = QueueLayer::builder()
        .limits(Limits::new().items(ITEMS).soft_limit(SOFT_LIMIT))
        .workers(WORKERS)
        .weigh(|_: &Request| 4096)
        .priority(priority)
        .shared()?;
    let handle = queue.handle();
    let layer = ServiceBuilder::new()
        .map_result(|result: Result<Response, BoxError>| {
            Ok::<_, BoxError>(result.unwrap_or_else(|error| status(&error).into_http()))
        })
        .layer(queue)
        .into_inner();

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder().layer(layer);
    // A generated server is added with `add_service`.
    tokio::spawn(server.serve_with_incoming(service_fn(serve), TcpIncoming::from(listener)));

    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
    let tally = load::offer(|lane, _| call(channel.clone(), lane)).await;
    say(format_args!("{tally}\n{}", handle.totals()))?;
    tally.check(&handle.totals())
}

/// What an error of the queue, or of a layer below it, is to a client of gRPC: never `Unknown`.
fn status(error: &BoxError) -> Status {
    let problem = Problem::to(&**error);
    let mut status = Status::new(Code::from(problem.code), problem.message);
    if let Some(wait) = problem.retry_after {
        let millis = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        status.metadata_mut().insert(PUSHBACK, millis.into());
    }
    status
}

/// Paid calls go before free ones.
fn priority(request: &Request) -> Priority {
    let is_paid = request.headers().get("x-plan").is_some_and(|plan| plan == "paid");
    if is_paid { Priority::High } else { Priority::Normal }
}

async fn serve(request: Request) -> Result<Response, Infallible> {
    let work = service_fn(|_: tonic::Request<()>| async {
        tokio::time::sleep(WORK).await;
        Ok::<_, Status>(tonic::Response::new(()))
    });
    Ok(server::Grpc::new(Empty).unary(work, request).await)
}

async fn call(channel: Channel, lane: Lane) -> Reply {
    let mut client = client::Grpc::new(channel);
    if let Err(error) = client.ready().await {
        return Reply::Wrong(error.to_string());
    }
    let mut request = tonic::Request::new(());
    let plan = if lane == Lane::High { "paid" } else { "free" };
    request.metadata_mut().insert("x-plan", tonic::metadata::MetadataValue::from_static(plan));
    match client.unary(request, PathAndQuery::from_static("/shop.Orders/Put"), Empty).await {
        Ok(_) => Reply::Served,
        Err(status) if status.code() == Code::ResourceExhausted && status.metadata().contains_key(PUSHBACK) => {
            Reply::Refused
        }
        Err(status) => Reply::Wrong(status.to_string()),
    }
}
