//! TLS of both listeners, and of forwarding.

use crate::support::{Gate, Kind, Sender, Temp, batches, config, span, spool, traces, until, value};
use bytes::Bytes;
use forebay::otlp::Signal;
use forebay_example_support::{
    client::http_client,
    tls::{HttpsClient, Identity, Trust, https_client, https_grpc_client},
};
use forebay_gateway::{
    Config, Gateway,
    sink::{Forward, forward},
};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use prost::Message;
use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

pub(crate) fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../support/tls").join(name)
}

fn secured() -> Config {
    let identity = Identity::read(&file("server.pem"), &file("server-key.pem")).unwrap();
    Config { identity: Some(identity), ..config() }
}

fn request(scheme: &str, address: SocketAddr) -> Request<Full<Bytes>> {
    let body = Full::from(traces(vec![span(Kind::Healthy, 1)]).encode_to_vec());
    let url = format!("{scheme}://localhost:{}{}", address.port(), Signal::Traces.path());
    Request::post(url).header(header::CONTENT_TYPE, "application/x-protobuf").body(body).unwrap()
}

/// One call by gRPC; its status.
async fn export(client: &HttpsClient, address: SocketAddr) -> String {
    let message = traces(vec![span(Kind::Healthy, 2)]).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let framed = [&[0][..], &length, &message].concat();
    let path = "opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let request = Request::post(format!("https://localhost:{}/{path}", address.port()))
        .header(header::CONTENT_TYPE, "application/grpc")
        .header(header::TE, "trailers")
        .body(Full::from(framed))
        .unwrap();
    let (head, body) = client.request(request).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned().unwrap_or_default();
    let status = trailers.get("grpc-status").or_else(|| head.headers.get("grpc-status")).unwrap();
    status.to_str().unwrap().to_owned()
}

#[tokio::test]
async fn both_listeners_speak_tls_and_nothing_else() {
    let gate = Gate::closed();
    gate.let_through(9);
    let gateway = Gateway::start(secured(), gate.sink()).await.unwrap();
    let trust = Trust::only(&file("ca.pem")).unwrap();
    let client = https_client(&trust);
    assert_eq!(client.request(request("https", gateway.http())).await.unwrap().status(), 200);
    assert_eq!(export(&https_grpc_client(&trust), gateway.grpc()).await, "0");
    gateway.flush().await;
    assert_eq!(batches(&gateway)[0].delivered, 2);

    // Plain text is no handshake, and neither is the last word of a client that does not know the authority.
    assert!(http_client().request(request("http", gateway.http())).await.is_err());
    let stranger = https_client(&Trust::only(&file("other-ca.pem")).unwrap());
    assert!(stranger.request(request("https", gateway.grpc())).await.is_err());
    assert_eq!(batches(&gateway)[0].offered, 2);
    let metrics = async || {
        let url = format!("https://localhost:{}/metrics", gateway.http().port());
        let response = client.request(Request::get(url).body(Full::default()).unwrap()).await.unwrap();
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    };
    let counted = async { while value(&metrics().await, "forebay_gateway_tls_failures_total") != Some(2.0) {} };
    tokio::time::timeout(Duration::from_secs(20), counted).await.unwrap();
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_does_not_keep_its_place() {
    use tokio::{io::AsyncReadExt, net::TcpStream};
    let config = Config { max_connections: NonZeroUsize::MIN, header_timeout: Duration::from_millis(200), ..secured() };
    let gateway = Gateway::start(config, Gate::closed().sink()).await.unwrap();
    let mut silent = TcpStream::connect(gateway.http()).await.unwrap();
    let closed = tokio::time::timeout(Duration::from_secs(20), silent.read(&mut [0])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");
    let client = https_client(&Trust::only(&file("ca.pem")).unwrap());
    let url = format!("https://localhost:{}/healthz", gateway.http().port());
    let response = client.request(Request::get(url).body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn batches_are_forwarded_over_tls_to_a_receiver_that_is_trusted_and_to_no_other() {
    let gate = Gate::closed();
    gate.let_through(9);
    let receiver = Gateway::start(secured(), gate.sink()).await.unwrap();
    for (authority, arrives) in [("ca.pem", true), ("other-ca.pem", false)] {
        let temp = Temp::new(authority);
        let to = Forward {
            url: format!("https://localhost:{}", receiver.http().port()),
            workers: NonZeroUsize::MIN,
            patience: Duration::from_millis(if arrives { 20_000 } else { 50 }),
            trust: Some(Trust::only(&file(authority)).unwrap()),
        };
        let config = Config { spool: Some(spool(&temp)), ..config() };
        let gateway = Gateway::start(config, forward(to).unwrap().0).await.unwrap();
        assert!(Sender::to(&gateway).send(Kind::Failed, 1).await.is_taken());
        gateway.flush().await;
        let [totals, ..] = batches(&gateway);
        assert_eq!((totals.delivered, totals.spooled), if arrives { (1, 0) } else { (0, 1) }, "{authority}");
    }
    until(|| batches(&receiver)[0].delivered == 1).await;
    assert_eq!(batches(&receiver)[0].offered, 1);
}
