//! The HTTP client of the examples.

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Plain HTTP/1.1 with kept connections. TLS would be another connector; forebay does not mind.
pub type HttpClient = Client<HttpConnector, Full<Bytes>>;

/// A client for the current runtime.
#[must_use]
pub fn http_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).build(connector())
}

/// The same for gRPC, which needs HTTP/2.
#[must_use]
pub fn grpc_client() -> HttpClient {
    Client::builder(TokioExecutor::new()).http2_only(true).build(connector())
}

fn connector() -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector
}
