//! An HTTP client that keeps what it sends.

use bytes::Bytes;
use flate2::read::GzDecoder;
use forebay::otlp::Protocol;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
use ruzstd::decoding::StreamingDecoder;
use serde::de::DeserializeOwned;
use std::{
    io::Read,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tower::Service;

#[derive(Clone)]
pub(crate) struct Tee {
    client: Client<HttpConnector, Full<Bytes>>,
    requests: Arc<Mutex<Vec<Request<Full<Bytes>>>>>,
}

impl Tee {
    /// gRPC goes over HTTP/2 alone.
    pub(crate) fn for_protocol(protocol: Protocol) -> Self {
        let client = Client::builder(TokioExecutor::new()).http2_only(protocol == Protocol::Grpc).build_http();
        Self { client, requests: Arc::default() }
    }

    /// The body of every request so far, unpacked, and read once more by `opentelemetry-proto`.
    pub(crate) async fn read<M: Message + Default + DeserializeOwned>(&self) -> Vec<M> {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        let mut all = Vec::new();
        for request in requests {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
            let grpc = header("content-type").is_some_and(|kind| kind.starts_with("application/grpc"));
            let plain = if grpc {
                let (head, message) = body.split_first_chunk::<5>().unwrap();
                let [packed, length @ ..] = *head;
                assert_eq!(u32::from_be_bytes(length) as usize, message.len());
                unpack(header("grpc-encoding").filter(|_| packed == 1), message)
            } else {
                unpack(header("content-encoding"), &body)
            };
            all.push(match header("content-type") {
                Some("application/x-protobuf") => M::decode(&plain[..]).unwrap(),
                Some("application/json") => serde_json::from_slice(&plain).unwrap(),
                _ if grpc => M::decode(&plain[..]).unwrap(),
                other => panic!("{other:?}"),
            });
        }
        all
    }
}

fn unpack(encoding: Option<&str>, packed: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        None | Some("identity") => plain.extend_from_slice(packed),
        Some("gzip") => drop(GzDecoder::new(packed).read_to_end(&mut plain).unwrap()),
        Some("zstd") => drop(StreamingDecoder::new(packed).unwrap().read_to_end(&mut plain).unwrap()),
        other => panic!("{other:?}"),
    }
    plain
}

impl Service<Request<Full<Bytes>>> for Tee {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper_util::client::legacy::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Service::poll_ready(&mut self.client, cx)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        self.requests.lock().unwrap().push(request.clone());
        self.client.call(request)
    }
}
