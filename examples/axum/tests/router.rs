//! A queue as a layer of an `axum` router, which applies a layer to each route, and for each connection again.

#![expect(clippy::unwrap_used, reason = "test code")]

use axum::{Router, body::Body, error_handling::HandleErrorLayer, extract::Request, routing::get};
use bytes::Bytes;
use forebay::{
    core::{DropReason, Priority},
    http::respond,
    queue::{Limits, QueueBuilder, QueueLayer},
};
use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::timeout,
};
use tower::{BoxError, ServiceBuilder};

/// Ten requests, eight of them normal, and two at a time.
const ITEMS: usize = 10;
const WORKERS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);

type HttpClient = Client<HttpConnector, Empty<Bytes>>;

/// Routes that work until the test lets them go.
#[derive(Clone)]
struct Work {
    gate: Arc<Semaphore>,
    begun: mpsc::UnboundedSender<()>,
    most: Arc<AtomicUsize>,
    now: Arc<AtomicUsize>,
}

// === impl Work ===

impl Work {
    async fn say(self, name: &'static str) -> &'static str {
        self.begun.send(()).unwrap();
        self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
        self.gate.acquire().await.unwrap().forget();
        self.now.fetch_sub(1, SeqCst);
        name
    }

    fn routes(&self) -> Router {
        let (orders, users, health) = (self.clone(), self.clone(), self.clone());
        Router::new()
            .route("/orders", get(|| orders.say("orders")))
            .route("/users", get(|| users.say("users")))
            .route("/health", get(|| health.say("health")))
    }
}

fn work() -> (Work, mpsc::UnboundedReceiver<()>) {
    let (begun, begins) = mpsc::unbounded_channel();
    (Work { gate: Arc::new(Semaphore::new(0)), begun, most: Arc::default(), now: Arc::default() }, begins)
}

fn builder() -> QueueBuilder<Request, impl Fn(&Request) -> usize, impl Fn(&Request) -> Priority> {
    QueueLayer::builder()
        .limits(Limits::new().items(ITEMS).soft_limit(0.8))
        .workers(WORKERS)
        .weigh(|_: &Request| 1024)
        .priority(|request: &Request| if request.uri().path() == "/health" { Priority::High } else { Priority::Normal })
}

async fn to_response(error: BoxError) -> http::Response<Body> {
    respond(&*error)
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

/// Sends so many requests at once, each over a connection of its own.
fn send(client: &HttpClient, address: SocketAddr, paths: &[&str], many: usize) -> JoinSet<(StatusCode, bool, String)> {
    let mut requests = JoinSet::new();
    for path in paths.iter().cycle().take(many) {
        let response = client.get(format!("http://{address}{path}").parse().unwrap());
        requests.spawn(async move {
            let (head, body) = response.await.unwrap().into_parts();
            let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
            (head.status, head.headers.contains_key("retry-after"), text)
        });
    }
    requests
}

#[tokio::test]
async fn without_a_shared_queue_every_route_and_connection_has_its_own_and_nothing_is_shed() {
    let ((work, mut begins), client) = (work(), Client::builder(TokioExecutor::new()).build_http());
    let queue = builder().build().unwrap();
    let stack = ServiceBuilder::new().layer(HandleErrorLayer::new(to_response)).layer(queue);
    let address = serve(work.routes().layer(stack)).await;
    let mut requests = send(&client, address, &["/orders", "/users"], 40);
    for _ in 0..40 {
        timeout(PATIENCE, begins.recv()).await.unwrap().unwrap();
    }
    assert_eq!(work.now.load(SeqCst), 40, "all are worked on at once, whatever the queue was to hold");
    work.gate.add_permits(40);
    while let Some(response) = requests.join_next().await {
        assert_eq!(response.unwrap().0, 200);
    }
}

#[tokio::test]
async fn d04_a_shared_queue_sheds_across_routes_and_connections() {
    let ((work, _begins), client) = (work(), Client::builder(TokioExecutor::new()).build_http());
    let queue = builder().shared().unwrap();
    let handle = queue.handle();
    let stack = ServiceBuilder::new().layer(HandleErrorLayer::new(to_response)).layer(queue);
    let address = serve(work.routes().layer(stack)).await;

    let mut normal = send(&client, address, &["/orders", "/users"], 40);
    for _ in 0..32 {
        let (status, says_when, _) = timeout(PATIENCE, normal.join_next()).await.unwrap().unwrap().unwrap();
        assert_eq!((status, says_when), (StatusCode::TOO_MANY_REQUESTS, true));
    }
    assert_eq!((handle.totals().pending, handle.totals().dropped.get(DropReason::SoftLimit)), (8, 32));

    // What is left is for high priority, and not a request more.
    let mut high = send(&client, address, &["/health"], 3);
    let (status, says_when, _) = timeout(PATIENCE, high.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!((status, says_when), (StatusCode::TOO_MANY_REQUESTS, true));
    assert_eq!((handle.totals().pending, handle.totals().dropped.get(DropReason::Full)), (10, 1));

    work.gate.add_permits(10);
    let (mut names, mut all) = (Vec::new(), normal);
    while let Some(response) = all.join_next().await {
        names.push(response.unwrap());
    }
    while let Some(response) = high.join_next().await {
        names.push(response.unwrap());
    }
    assert!(names.iter().all(|(status, ..)| *status == 200));
    let of = |name: &str| names.iter().filter(|(.., text)| text == name).count();
    assert_eq!((of("health"), of("orders") + of("users")), (2, 8), "each got the response of its own route");
    assert_eq!(work.most.load(SeqCst), WORKERS, "as many at a time as there are workers, over all connections");
    let totals = handle.totals();
    assert!(totals.balance());
    assert_eq!((totals.offered, totals.delivered, totals.pending), (43, 10, 0));
}
