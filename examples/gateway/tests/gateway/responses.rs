//! What is said in which protocol.

use crate::support::{Gate, Kind, Sender, assert_ledger, config, failing, logs, metrics, span, traces, value};
use flate2::{Compression, write::GzEncoder};
use forebay::{otlp::Signal, queue::Limits};
use forebay_gateway::{Config, Gateway};
use opentelemetry_proto::tonic::collector::{
    logs::v1::logs_service_client::LogsServiceClient, metrics::v1::metrics_service_client::MetricsServiceClient,
    trace::v1::trace_service_client::TraceServiceClient,
};
use prost::Message;
use std::{io::Write, time::Duration};
use tonic::{Code, codec::CompressionEncoding};

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn all_three_signals_come_by_grpc_plain_and_compressed() {
    let gateway = Gateway::start(config(), failing(0)).await.unwrap();
    let url = format!("http://{}", gateway.grpc());
    let mut client = TraceServiceClient::connect(url.clone()).await.unwrap();
    client.export(traces(vec![span(Kind::Healthy, 1), span(Kind::Slow, 2)])).await.unwrap();
    let mut client = LogsServiceClient::connect(url.clone()).await.unwrap().send_compressed(CompressionEncoding::Gzip);
    client.export(logs(&["a", "b", "c"], 9)).await.unwrap();
    let mut client = MetricsServiceClient::connect(url).await.unwrap();
    client.export(metrics(&[1.0])).await.unwrap();
    gateway.flush().await;
    let summary = gateway.summary();
    assert_eq!(summary.pages.each_ref().map(|page| page.records().delivered), [2, 3, 1]);
    assert_ledger(&gateway);
}

#[tokio::test]
async fn all_three_signals_come_by_http_in_protobuf_and_json_plain_and_compressed() {
    let gate = Gate::closed();
    gate.let_through(9);
    let gateway = Gateway::start(config(), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    // RFC 9110 makes `x-gzip` an alias.
    let compressed = [("content-encoding", "x-gzip")];
    let body = traces(vec![span(Kind::Healthy, 1)]);
    assert!(sender.post(Signal::Traces, &compressed, gzip(&body.encode_to_vec())).await.is_taken());
    assert!(sender.post(Signal::Metrics, &[], metrics(&[1.0, 2.0]).encode_to_vec()).await.is_taken());
    let json = serde_json::to_vec(&logs(&["a", "b", "c"], 9)).unwrap();
    let reply = sender.post(Signal::Logs, &[("content-type", "application/json; charset=utf-8")], json).await;
    assert_eq!((reply.status.as_u16(), &*reply.body), (200, &b"{}"[..]));
    assert_eq!(reply.headers["content-type"], "application/json");
    gateway.flush().await;
    let taken = gate.taken.lock().unwrap();
    let body = |signal| &taken.iter().find(|batch| batch.signal == signal).unwrap().body;
    assert_eq!(**body(Signal::Traces), traces(vec![span(Kind::Healthy, 1)]).encode_to_vec());
    assert_eq!(**body(Signal::Logs), logs(&["a", "b", "c"], 9).encode_to_vec());
}

#[tokio::test]
async fn what_is_no_otlp_is_refused_and_is_no_batch() {
    let gateway = Gateway::start(Config { max_body: 1000, max_decoded: 30_000, ..config() }, failing(0)).await.unwrap();
    let sender = Sender::to(&gateway);
    let long_tenant = "t".repeat(257);
    let json = [("content-type", "application/json")];
    for (headers, body, status) in [
        (&[][..], b"not protobuf".to_vec(), 400),
        (&json, b"{\"resourceSpans\": 7}".to_vec(), 400),
        (&[("content-type", "text/plain")], b"hello".to_vec(), 415),
        (&[("content-encoding", "br")], Vec::new(), 415),
        (&[("content-encoding", "gzip")], b"not gzip".to_vec(), 400),
        (&[], vec![0; 1001], 413),
        (&[("content-encoding", "gzip")], gzip(&vec![0; 100_000]), 413),
        // Two bytes each, and a structure of hundreds in memory.
        (&[], traces(vec![Default::default(); 450]).encode_to_vec(), 413),
        (&json, format!("{{\"resourceSpans\":[{}{{}}]}}", "{},".repeat(320)).into_bytes(), 413),
        (&[("x-tenant-id", &*long_tenant)], traces(vec![span(Kind::Healthy, 1)]).encode_to_vec(), 400),
    ] {
        let reply = sender.post(Signal::Traces, headers, body).await;
        assert_eq!(reply.status, status, "{headers:?}");
        assert!(!reply.body.is_empty(), "a failure says what is wrong");
    }
    let mut grpc = TraceServiceClient::connect(format!("http://{}", gateway.grpc())).await.unwrap();
    let too_large = traces((0..100).map(|n| span(Kind::Healthy, n)).collect());
    let code = grpc.export(too_large).await.unwrap_err().code();
    assert!(matches!(code, Code::OutOfRange | Code::ResourceExhausted | Code::InvalidArgument), "{code:?}");

    assert_eq!(gateway.summary().queue.offered, 0);
    assert_eq!(value(&sender.get("/metrics").await.1, "forebay_gateway_malformed_total"), Some(10.0));
    assert_eq!(sender.get("/v1/traces").await.0, 405);
    assert_eq!(sender.get("/v1/profiles").await.0, 404);
}

#[tokio::test]
async fn a_partial_success_says_so_in_json_and_in_grpc() {
    let limits = Limits::new().items(10).soft_limit(0.0);
    let gateway = Gateway::start(Config { limits, ..config() }, Gate::closed().sink()).await.unwrap();
    let json = serde_json::to_vec(&logs(&["a", "b", "c"], 9)).unwrap();
    let reply = Sender::to(&gateway).post(Signal::Logs, &[("content-type", "application/json")], json).await;
    let said: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!(said["partialSuccess"]["rejectedLogRecords"], "3", "{said}");
    assert!(said["partialSuccess"]["errorMessage"].as_str().unwrap().contains("soft limit"), "{said}");

    let mut client = MetricsServiceClient::connect(format!("http://{}", gateway.grpc())).await.unwrap();
    let partial = client.export(metrics(&[1.0, 2.0])).await.unwrap().into_inner().partial_success.unwrap();
    assert_eq!(partial.rejected_data_points, 2);
}

#[tokio::test]
async fn who_sends_too_slowly_is_let_go() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let config = Config { request_timeout: Duration::from_millis(100), ..config() };
    let gateway = Gateway::start(config, failing(0)).await.unwrap();
    let mut stream = tokio::net::TcpStream::connect(gateway.http()).await.unwrap();
    let head =
        "POST /v1/logs HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-protobuf\r\ncontent-length: 9\r\n\r\nab";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut read_back = vec![0; 1024];
    let read = stream.read(&mut read_back).await.unwrap();
    assert!(read_back[..read].starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&read_back[..read]));
}

/// What a connection reads until it ends; a connection that is kept open fails the test.
async fn ends(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    use tokio::io::AsyncReadExt;
    let mut read = Vec::new();
    let in_time = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut read)).await;
    assert!(in_time.is_ok(), "the connection is kept");
    read
}

#[tokio::test]
async fn f16_a_connection_that_is_silent_or_never_finishes_its_head_is_closed() {
    use futures_util::future::join_all;
    use tokio::{io::AsyncWriteExt, net::TcpStream};
    let short = Duration::from_millis(100);
    let config = Config { header_timeout: short, idle_timeout: short, ..config() };
    let gateway = Gateway::start(config, failing(0)).await.unwrap();
    let http1 = b"GET /healthz HTTP/1.1\r\nhost: x\r\n";
    let whole = [&http1[..], b"\r\n"].concat();
    let http2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    // HEADERS without END_HEADERS, and nothing after it.
    let head = [&http2[..], b"\0\0\x01\x01\0\0\0\0\x01\x82"].concat();
    let closed = async |(address, sent): (_, &[u8])| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let read = ends(&mut stream).await;
        assert_eq!(read.starts_with(b"HTTP/1.1 200"), sent == whole, "{read:?}");
    };
    let sent = [&b""[..], b"PRI", http1, &whole, http2, &head];
    let cases = [gateway.http(), gateway.grpc()].into_iter().flat_map(|address| sent.map(|sent| (address, sent)));
    join_all(cases.map(closed)).await;
}

#[tokio::test]
async fn f16_connections_are_capped_and_a_place_is_given_back() {
    use tokio::{io::AsyncWriteExt, net::TcpStream};
    let config = Config { max_connections: std::num::NonZeroUsize::MIN, ..config() };
    let gateway = Gateway::start(config, failing(0)).await.unwrap();
    let request = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let first = TcpStream::connect(gateway.http()).await.unwrap();
    let mut second = TcpStream::connect(gateway.http()).await.unwrap();
    second.write_all(request).await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), second.peek(&mut byte)).await;
    assert!(early.is_err(), "the one place is taken");
    drop(first);
    assert!(ends(&mut second).await.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn ready_until_95_percent() {
    let gate = Gate::closed();
    let limits = Limits::new().items(20).soft_limit(1.0);
    let gateway = Gateway::start(Config { limits, ..config() }, gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..18 {
        sender.send(Kind::Healthy, n).await;
    }
    assert_eq!(sender.get("/readyz").await.0, 200);
    sender.send(Kind::Healthy, 18).await;
    assert_eq!(sender.get("/readyz").await.0, 503, "19 of 20");
    assert_eq!(sender.get("/healthz").await, (http::StatusCode::OK, "ok\n".to_owned()));
    assert_eq!(value(&sender.get("/metrics").await.1, "forebay_gateway_ready"), Some(0.0));
    gate.let_through(19);
    gateway.flush().await;
    assert_eq!(sender.get("/readyz").await.0, 200);
}
