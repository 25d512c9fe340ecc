//! Requests, clients, and a TCP stream for what an HTTP client would hide.

use bytes::Bytes;
use forebay_testkit::receiver::{
    Fault, Receiver, Signal, Totals,
    proto::{
        collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
        common::v1::{AnyValue, KeyValue, any_value::Value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    },
};
use http::{Request, Response, StatusCode, header::CONTENT_TYPE, request::Builder};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

pub(crate) const PROTOBUF: &str = "application/x-protobuf";
pub(crate) const JSON: &str = "application/json";

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

pub(crate) fn client() -> Http {
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn http2_client() -> Http {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

pub(crate) async fn scripted(script: impl IntoIterator<Item = Fault>) -> Receiver {
    Receiver::builder().script(script).start().await.unwrap()
}

pub(crate) fn text(text: &str) -> AnyValue {
    AnyValue { value: Some(Value::StringValue(text.to_owned())) }
}

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(text(value)), ..KeyValue::default() }
}

/// A logs request with one record for each body.
pub(crate) fn logs<'a>(bodies: impl IntoIterator<Item = &'a str>) -> ExportLogsServiceRequest {
    let record = |body| LogRecord { body: Some(text(body)), severity_number: 9, ..LogRecord::default() };
    let scope = ScopeLogs { log_records: bodies.into_iter().map(record).collect(), ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource] }
}

/// A traces request with one span for each name.
pub(crate) fn spans<'a>(names: impl IntoIterator<Item = &'a str>) -> ExportTraceServiceRequest {
    let span = |name: &str| Span { name: name.to_owned(), span_id: vec![7; 8], ..Span::default() };
    let scope = ScopeSpans { spans: names.into_iter().map(span).collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }
}

pub(crate) fn to(receiver: &Receiver, signal: Signal) -> Builder {
    Request::post(receiver.endpoint() + signal.path()).header(CONTENT_TYPE, PROTOBUF)
}

/// A logs request in protobuf.
pub(crate) fn request<'a>(receiver: &Receiver, bodies: impl IntoIterator<Item = &'a str>) -> Request<Full<Bytes>> {
    to(receiver, Signal::Logs).body(logs(bodies).encode_to_vec().into()).unwrap()
}

/// Sends, and reads the response to its end.
pub(crate) async fn call(http: &Http, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, Error> {
    let (head, body) = http.request(request).await?.into_parts();
    Ok(Response::from_parts(head, body.collect().await.unwrap().to_bytes()))
}

/// Sends a logs request over a new connection, and returns the status.
pub(crate) async fn send<'a>(receiver: &Receiver, bodies: impl IntoIterator<Item = &'a str>) -> StatusCode {
    call(&client(), request(receiver, bodies)).await.unwrap().status()
}

/// A connection on which a logs request was sent.
pub(crate) async fn raw(receiver: &Receiver, bodies: &[&str]) -> TcpStream {
    let body = logs(bodies.iter().copied()).encode_to_vec();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: {}\r\ncontent-type: {PROTOBUF}\r\ncontent-length: {}\r\n\r\n",
        receiver.address(),
        body.len()
    );
    let mut stream = TcpStream::connect(receiver.address()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    stream
}

/// Waits for what must happen, and fails where it would wait for ever.
pub(crate) async fn until(receiver: &Receiver, condition: impl FnMut(&Totals) -> bool) -> Totals {
    timeout(Duration::from_secs(20), receiver.until(condition)).await.unwrap()
}

/// All bytes until the connection ends, and how it ends.
pub(crate) async fn rest(stream: &mut TcpStream) -> (Vec<u8>, std::io::Result<()>) {
    let mut all = Vec::new();
    let end = stream.read_to_end(&mut all).await.map(|_| ());
    (all, end)
}

/// The head of a response: all lines up to the empty one.
pub(crate) fn head(response: &[u8]) -> String {
    let end = response.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    String::from_utf8(response[..end].to_vec()).unwrap()
}
