//! A request that is not idempotent is sent again only where the server has surely not processed it.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_core::{
    Advice, BoxError, DropReason, Outcome, Seen, Verdict,
    http::{Classifier, StatusError},
};
use forebay_retry::{Backoff, GaveUp, RetriesExhausted, RetryBuilder, RetryLayer, StopReason};
use forebay_testkit::Probe;
use http::{HeaderName, Method, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tower::{Layer, ServiceExt};

type Body = Full<Bytes>;
type Server = fn() -> Result<Response<()>, BoxError>;

const METHODS: [(Method, bool); 9] = [
    (Method::GET, true),
    (Method::HEAD, true),
    (Method::OPTIONS, true),
    (Method::TRACE, true),
    (Method::PUT, true),
    (Method::DELETE, true),
    (Method::POST, false),
    (Method::PATCH, false),
    (Method::CONNECT, false),
];

/// What a server or the way to it can do to one attempt, and whether the server has surely not processed it.
const SERVERS: [(&str, bool, Server); 17] = [
    ("429", true, || status(429, None)),
    ("429 with a hint", true, || status(429, Some("1"))),
    ("503 with a hint", true, || status(503, Some("1"))),
    ("503 without one", false, || status(503, None)),
    ("500", false, || status(500, None)),
    ("500 with a hint", false, || status(500, Some("1"))),
    ("502", false, || status(502, None)),
    ("504", false, || status(504, None)),
    ("refused", true, || Err(io::Error::from(io::ErrorKind::ConnectionRefused).into())),
    ("no way to the host", true, || Err(io::Error::from(io::ErrorKind::HostUnreachable).into())),
    ("not connected", true, || Err(io::Error::other("client error (Connect)").into())),
    ("circuit open", true, || {
        Err(io::Error::other(Verdict::new(DropReason::CircuitOpen, Seen::No, Advice::Retry)).into())
    }),
    ("reset", false, || Err(io::Error::from(io::ErrorKind::ConnectionReset).into())),
    ("cut", false, || Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())),
    ("timed out", false, || Err(Box::new(tower::timeout::error::Elapsed::new()))),
    ("anything", false, || Err("something".into())),
    ("a status as an error", false, || {
        Err(StatusError::new(StatusCode::INTERNAL_SERVER_ERROR, Outcome::RETRYABLE).into())
    }),
];

fn status(status: u16, hint: Option<&'static str>) -> Result<Response<()>, BoxError> {
    let response = Response::builder().status(status);
    Ok(match hint {
        Some(hint) => response.header(RETRY_AFTER, hint),
        None => response,
    }
    .body(())?)
}

fn request(method: &Method) -> Request<Body> {
    Request::builder().method(method).uri("http://service.example/orders").body(Full::from("one order")).unwrap()
}

/// How many requests the server got, and why it got no more.
async fn attempts(layer: &Layered, server: Server, request: Request<Body>) -> (usize, StopReason) {
    let probe = Probe::<Request<Body>, Response<()>>::new(move |_| async move { server() });
    let watch = probe.watch();
    let reason = match layer.layer(probe).oneshot(request).await {
        Ok(response) => GaveUp::of(response.extensions()).unwrap().stop_reason(),
        Err(error) => error.downcast_ref::<RetriesExhausted>().unwrap().stop_reason(),
    };
    (watch.calls(), reason)
}

type Layered = RetryLayer<
    Classifier,
    forebay_retry::http::HttpPolicy,
    forebay_retry::policy::Keyed<forebay_retry::http::Authority>,
>;

const AGAIN: (usize, StopReason) = (4, StopReason::Attempts);
const ONCE: (usize, StopReason) = (1, StopReason::NotIdempotent);

#[tokio::test(start_paused = true)]
async fn d02_what_may_have_been_processed_is_sent_again_only_if_it_is_idempotent() {
    for (name, unprocessed, server) in SERVERS {
        for (method, idempotent) in &METHODS {
            let expected = if *idempotent || unprocessed { AGAIN } else { ONCE };
            let got = attempts(&RetryLayer::http(), server, request(method)).await;
            assert_eq!(got, expected, "{method}, {name}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn d02_an_idempotency_key_and_a_named_method_open_it() {
    let named = RetryBuilder::http().methods([Method::POST]).build().unwrap();
    let key = HeaderName::from_static("idempotency-key");
    let given = RetryBuilder::http().request_id_header(key.clone()).build().unwrap();
    let other = RetryBuilder::http().request_id_header(HeaderName::from_static("x-request-id")).build().unwrap();
    for (name, unprocessed, server) in SERVERS {
        let or_once = if unprocessed { AGAIN } else { ONCE };
        assert_eq!(attempts(&named, server, request(&Method::POST)).await, AGAIN, "{name}");
        assert_eq!(attempts(&named, server, request(&Method::PATCH)).await, or_once, "{name}: PATCH was not named");
        assert_eq!(attempts(&given, server, request(&Method::PATCH)).await, AGAIN, "{name}: the layer gives a key");
        assert_eq!(attempts(&other, server, request(&Method::POST)).await, or_once, "{name}: an id is no such key");
        let mut keyed = request(&Method::POST);
        keyed.headers_mut().insert(key.clone(), "order-17".parse().unwrap());
        assert_eq!(attempts(&RetryLayer::http(), server, keyed).await, AGAIN, "{name}: the caller gave a key");
    }
}

#[tokio::test(start_paused = true)]
async fn d02_a_grpc_request_is_a_post_and_its_code_alone_decides() {
    let probe = Probe::<Request<Body>, Response<Full<Bytes>>>::new(|_| async {
        Ok(Response::builder().header("grpc-status", "14").body(Full::default())?)
    });
    let watch = probe.watch();
    RetryLayer::grpc().layer(probe).oneshot(request(&Method::POST)).await.unwrap();
    assert_eq!(watch.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn r05_the_general_preset_retries_429_and_5xx_and_nothing_else() {
    for code in 200..600_u16 {
        let probe = Probe::<Request<Body>, Response<()>>::new(move |_| async move { status(code, None) });
        let watch = probe.watch();
        let response = RetryLayer::http().layer(probe).oneshot(request(&Method::GET)).await.unwrap();
        let retried = code == 429 || (500..600).contains(&code) && code != 501 && code != 505;
        assert_eq!(watch.calls(), if retried { 4 } else { 1 }, "{code}");
        assert_eq!(GaveUp::of(response.extensions()).is_some(), retried, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_error_of_a_request_that_may_have_been_processed_says_so() {
    let cut = || Err(io::Error::from(io::ErrorKind::ConnectionReset).into());
    let probe = Probe::<Request<Body>, Response<()>>::new(move |_| async move { cut() });
    let error = RetryLayer::http().layer(probe).oneshot(request(&Method::POST)).await.unwrap_err();
    let text = "gave up after 1 attempt: the request is not idempotent and may have been processed";
    assert_eq!(error.to_string(), text);
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!((verdict.seen(), verdict.advice()), (Seen::Maybe, Advice::Never));
}

/// `REFUSED_STREAM` for the first stream, as a frame of HTTP/2.
const REFUSED: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 7];
/// `INTERNAL_ERROR` for the first stream.
const BROKEN: &[u8] = &[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, 2];
/// `GOAWAY` without an error that leaves every stream out.
const GRACEFUL: &[u8] = &[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// An HTTP/2 server that ends the first stream of each connection with `frame`, and counts the streams.
async fn http2(frame: &'static [u8]) -> (String, Arc<AtomicUsize>) {
    async fn connection(mut stream: TcpStream, frame: &[u8], streams: &AtomicUsize) -> io::Result<()> {
        stream.read_exact(&mut [0; 24]).await?;
        // Settings, and the acknowledgement of the client's.
        stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0]).await?;
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            stream.read_exact(&mut vec![0; length as usize]).await?;
            if head[3] == 1 {
                streams.fetch_add(1, SeqCst);
                stream.write_all(frame).await?;
                // The client closes the connection, or never sends on it again.
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest).await?;
                return Ok(());
            }
        }
    }

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (url, streams) = (format!("http://{}/", listener.local_addr().unwrap()), Arc::<AtomicUsize>::default());
    let count = Arc::clone(&streams);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = Arc::clone(&count);
            tokio::spawn(async move { connection(stream, frame, &count).await });
        }
    });
    (url, streams)
}

/// The words of a real client, which core reads without a dependency on it.
#[tokio::test]
async fn d02_a_real_http_2_client_says_which_streams_were_not_processed() {
    for (frame, seen, requests) in [(REFUSED, Seen::No, 3), (GRACEFUL, Seen::No, 3), (BROKEN, Seen::Maybe, 1)] {
        let (url, streams) = http2(frame).await;
        let backoff = Backoff::constant(Duration::from_millis(1));
        let layer = RetryBuilder::http().max_retries(2).backoff(backoff).build().unwrap();
        // Each attempt on a connection of its own: the frames above are for the first stream.
        let client = Client::builder(TokioExecutor::new())
            .http2_only(true)
            .pool_max_idle_per_host(0)
            .retry_canceled_requests(false)
            .build_http::<Body>();
        let request = Request::post(url).body(Full::from("one order")).unwrap();
        let error = layer.layer(client).oneshot(request).await.unwrap_err();
        assert_eq!(Verdict::of(&*error).unwrap().seen(), seen, "{error:?}");
        assert_eq!(streams.load(SeqCst), requests, "{error:?}");
    }
}
