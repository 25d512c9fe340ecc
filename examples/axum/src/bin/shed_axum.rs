//! An axum server under ten times its load: one queue for all routes and connections, with a lane for those who pay.
//!
//! ```text
//! cargo run -p forebay-example-axum --bin shed_axum
//! ```

use axum::{Router, body::Body, error_handling::HandleErrorLayer, extract::Request, routing::get};
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
use http::Uri;
use tokio::net::TcpListener;
use tower::{BoxError, ServiceBuilder};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let queue = QueueLayer::builder()
        .limits(Limits::new().items(ITEMS).soft_limit(SOFT_LIMIT))
        .workers(WORKERS)
        .weigh(|_: &Request| 4096)
        .priority(priority)
        .shared()?;
    let handle = queue.handle();

    let errors = HandleErrorLayer::new(|error: BoxError| async move { respond::<Body>(&*error) });
    let router = Router::new()
        .route("/orders", get(work))
        .route("/users", get(work))
        .route("/health", get(work))
        .layer(ServiceBuilder::new().layer(errors).layer(queue));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });

    let client = http_client();
    let uri = |path: &str| format!("http://{address}/{path}").parse::<Uri>();
    let (orders, users, health) = (uri("orders")?, uri("users")?, uri("health")?);
    let tally = load::offer(|lane, n| {
        let uri = match n % 100 {
            0 => &health,
            n if n % 2 == 0 => &orders,
            _ => &users,
        };
        load::send_http(client.clone(), uri.clone(), lane)
    })
    .await;
    say(format_args!("{tally}\n{}", handle.totals()))?;
    tally.check(&handle.totals())
}

/// Paid requests and health checks go before free ones.
fn priority(request: &Request) -> Priority {
    let is_paid = request.headers().get("x-plan").is_some_and(|plan| plan == "paid");
    if is_paid || request.uri().path() == "/health" { Priority::High } else { Priority::Normal }
}

async fn work() -> &'static str {
    tokio::time::sleep(WORK).await;
    "done"
}
