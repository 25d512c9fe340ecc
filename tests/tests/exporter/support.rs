//! Exporters, clients, and a server that is a function.

use bytes::Bytes;
use forebay::{
    batch::Batching,
    core::{BoxError, ByFootprint, Totals},
    export::{AllNormal, Exporter, ExporterBuilder},
    otlp::{LogRecord, LogsEncoder, Protocol, Signal},
    queue::Limits,
    retry::Backoff,
};
use forebay_testkit::receiver::Receiver;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header::HeaderName};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::{
    future::Ready,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};
use tower::Service;

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BoxError>;
pub(crate) type Builder<C> = ExporterBuilder<LogRecord, LogsEncoder, C, ByFootprint, AllNormal>;

/// What a server saw of each request.
pub(crate) type Log = Arc<Mutex<Vec<(tokio::time::Instant, Request<Full<Bytes>>)>>>;

pub(crate) fn http1() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn http2() -> Http {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// An exporter of logs to `receiver`, with waits that a test can stand.
pub(crate) fn to(receiver: &Receiver, protocol: Protocol) -> Builder<Http> {
    let (url, client) = match protocol {
        Protocol::Grpc => (receiver.endpoint(), http2()),
        _ => (receiver.endpoint() + Signal::Logs.path(), http1()),
    };
    over(&url, protocol, client)
}

pub(crate) fn over<C: Service<Request<Full<Bytes>>>>(url: &str, protocol: Protocol, client: C) -> Builder<C> {
    Exporter::builder()
        .endpoint(url)
        .encoder(LogsEncoder::builder().protocol(protocol).build().unwrap())
        .client(client)
        .limits(Limits::new().soft_limit(1.0))
        .batching(Batching::new().max_items(100).max_delay(Duration::from_millis(50)))
        .retry(|retry| retry.backoff(Backoff::constant(Duration::from_millis(5))).without_budget())
        .park_backoff(Backoff::constant(Duration::from_millis(20)))
        .breaker(|breaker| breaker.open_for(Duration::from_millis(50)))
}

pub(crate) fn line(number: usize) -> String {
    format!("line {number}")
}

pub(crate) fn record(text: impl Into<String>) -> LogRecord {
    LogRecord::new(text.into())
}

pub(crate) fn emit(exporter: &Exporter<LogRecord>, lines: std::ops::Range<usize>) {
    lines.for_each(|number| exporter.emit(record(line(number))));
}

pub(crate) fn balanced(totals: Totals) -> Totals {
    assert!(totals.balance(), "{totals}");
    totals
}

/// Waits for what must happen, and fails where it would wait for ever.
pub(crate) async fn soon<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(Duration::from_secs(30), what).await.unwrap()
}

/// What a server of a test says to its requests, by their number.
type Respond = dyn Fn(usize) -> Result<Response<Body>, BoxError> + Send + Sync;

/// A server that is a function. It is one type, whatever the function: the exporter in front of it is compiled once, and not
/// for every test.
#[derive(Clone)]
pub(crate) struct Server {
    respond: Arc<Respond>,
    log: Log,
}

impl Service<Request<Full<Bytes>>> for Server {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Ready<Result<Response<Body>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        let number = {
            let mut log = self.log.lock().unwrap();
            log.push((tokio::time::Instant::now(), request));
            log.len()
        };
        std::future::ready((self.respond)(number))
    }
}

/// A server that is a function from the number of the request, from 1, to its response.
pub(crate) fn server(
    respond: impl Fn(usize) -> Result<Response<Body>, BoxError> + Send + Sync + 'static,
) -> (Server, Log) {
    let log = Log::default();
    (Server { respond: Arc::new(respond), log: Arc::clone(&log) }, log)
}

/// How many requests there were.
pub(crate) fn requests(log: &Log) -> usize {
    log.lock().unwrap().len()
}

pub(crate) fn response(status: u16, headers: &[(&'static str, &str)], body: &'static [u8]) -> Response<Body> {
    let body = Full::new(Bytes::from_static(body)).map_err(|never| match never {}).boxed_unsync();
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = map(headers);
    response
}

/// The response to a call: a message, and a status in the trailers.
pub(crate) fn call(message: &'static [u8], trailers: &[(&'static str, &str)]) -> Response<Body> {
    let trailers = map(trailers);
    let body = Full::new(Bytes::from_static(message))
        .with_trailers(async move { Some(Ok(trailers)) })
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
    headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}
