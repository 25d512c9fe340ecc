//! All five layers on one `ServiceBuilder`, in front of a server over sockets.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay::{
    ServiceBuilderExt,
    batch::{BatchLayer, Batching},
    breaker::{BreakerLayer, CircuitOpen, OpenFor, State, Trip},
    core::{BoxError, ByError, is_caused_by},
    queue::{Limits, QueueLayer},
    registry::{LeasedService, RegistryLayer, RegistryMake},
    retry::{Backoff, RetryLayer},
};
use forebay_testkit::receiver::Receiver;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{
    collections::BTreeSet,
    future::poll_fn,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    task::ready,
    time::Duration,
};
use tower::{
    ServiceBuilder, ServiceExt, service_fn,
    util::{BoxCloneSyncService, Oneshot},
};

/// What the registry shares: a client of one server, which takes lines and says how many.
type Lines = BoxCloneSyncService<Vec<String>, usize, BoxError>;

type Delivering = Pin<Box<dyn Future<Output = Result<usize, BoxError>> + Send>>;

/// A batch on its way through a client that is lent.
type Lent = Oneshot<LeasedService<Lines>, Vec<String>>;

/// What the server has taken, and whether it works.
#[derive(Clone, Default)]
struct Server {
    taken: Arc<Mutex<Vec<String>>>,
    requests: Arc<AtomicUsize>,
    down: Arc<AtomicBool>,
}

impl Server {
    /// The first request is refused, and so is each while the server is down.
    fn respond(&self, request: &Request<Bytes>) -> Response<Bytes> {
        let mut response = Response::new(Bytes::new());
        if self.requests.fetch_add(1, SeqCst) == 0 || self.down.load(SeqCst) {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        } else {
            let body = std::str::from_utf8(request.body()).unwrap();
            self.taken.lock().unwrap().extend(body.lines().map(str::to_owned));
        }
        response
    }
}

fn client(base: &str) -> Lines {
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let url = format!("{base}/lines");
    Lines::new(service_fn(move |lines: Vec<String>| {
        let request = Request::post(&url).body(Full::from(lines.join("\n")));
        let client = client.clone();
        async move {
            let response = client.request(request?).await?;
            let status = response.status();
            response.into_body().collect().await?;
            if status == StatusCode::OK {
                Ok(lines.len())
            } else {
                Err(format!("the server responded with {status}").into())
            }
        }
    }))
}

/// Lends the client of `base` for one batch.
fn deliver(make: RegistryMake<String, Lines>, base: String, lines: Vec<String>) -> Delivering {
    let (mut making, mut lines) = (Box::pin(make.oneshot(base)), Some(lines));
    let mut delivering: Option<Pin<Box<Lent>>> = None;
    Box::pin(poll_fn(move |cx| {
        loop {
            if let Some(delivering) = &mut delivering {
                return delivering.as_mut().poll(cx);
            }
            let client = ready!(making.as_mut().poll(cx))?;
            delivering = Some(Box::pin(client.oneshot(lines.take().unwrap())));
        }
    }))
}

#[tokio::test]
async fn five_layers_on_one_builder_deliver_once_and_each_does_its_part() {
    let server = Server::default();
    let serving = server.clone();
    let receiver =
        Receiver::builder().route("/lines", move |request: &_| serving.respond(request)).start().await.unwrap();
    let (base, made) = (receiver.endpoint(), Arc::new(AtomicUsize::new(0)));

    let queue = QueueLayer::builder().limits(Limits::new().items(64).soft_limit(1.0));
    let queue = queue.workers(16).build().unwrap();
    let batching = Batching::new().max_items(8).max_delay(Duration::from_millis(20));
    let breaker = BreakerLayer::builder().trip(Trip::consecutive(3));
    let breaker = breaker.open_for(OpenFor::new(Duration::from_secs(3600))).build().unwrap();
    let backoff = Backoff::constant(Duration::from_millis(1));
    let retry = RetryLayer::builder(ByError::new()).max_retries(2).backoff(backoff).without_budget().build().unwrap();
    let circuit = breaker.handle();
    let count = Arc::clone(&made);
    let service = ServiceBuilder::new()
        .with_queue(queue)
        .with_batch(BatchLayer::builder().batching(batching).build().unwrap())
        .with_breaker(breaker)
        .with_retry(retry)
        // A batch goes through the client of its server, which the registry below makes or lends.
        .layer_fn(move |make: RegistryMake<String, Lines>| {
            let base = base.clone();
            Lines::new(service_fn(move |lines: Vec<String>| deliver(make.clone(), base.clone(), lines)))
        })
        .with_registry(RegistryLayer::builder().linger(Duration::from_secs(3600)).build().unwrap())
        .service(service_fn(move |base: String| {
            count.fetch_add(1, SeqCst);
            async move { Ok::<_, BoxError>(client(&base)) }
        }));

    let queue = service.handle();
    let calls = (0..64).map(|n| tokio::spawn(service.clone().oneshot(format!("line {n}"))));
    for call in calls.collect::<Vec<_>>() {
        call.await.unwrap().unwrap();
    }
    let expected: BTreeSet<_> = (0..64).map(|n| format!("line {n}")).collect();
    let taken = server.taken.lock().unwrap().clone();
    assert_eq!((taken.len(), taken.into_iter().collect::<BTreeSet<_>>()), (64, expected), "each line once");
    let requests = server.requests.load(SeqCst);
    assert!((9..40).contains(&requests), "batches, and one of them twice: {requests}");
    assert_eq!(made.load(SeqCst), 1, "one client for all");
    assert_eq!(circuit.state(&()), State::Closed, "a failure that a retry has mended is none");
    assert_eq!((queue.totals().delivered, queue.totals().pending), (64, 0));

    // The server goes down: three exports with their retries open the circuit, and the next one never reaches the server.
    server.down.store(true, SeqCst);
    for n in 0..3 {
        let error = service.clone().oneshot(format!("lost {n}")).await.unwrap_err();
        assert!(!is_caused_by::<CircuitOpen>(&*error), "{error}");
    }
    assert_eq!(server.requests.load(SeqCst), requests + 9, "three attempts each");
    let error = service.clone().oneshot("refused".to_owned()).await.unwrap_err();
    assert!(is_caused_by::<CircuitOpen>(&*error), "{error}");
    assert_eq!((server.requests.load(SeqCst), circuit.state(&())), (requests + 9, State::Open));
    let totals = queue.totals();
    assert!(totals.balance() && totals.offered == 68 && totals.dropped.total() == 4, "{totals}");
}
