//! An HTTP client that keeps what it sends.

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, ResponseFuture, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message;
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
    pub(crate) fn new() -> Self {
        Self { client: Client::builder(TokioExecutor::new()).build_http(), requests: Arc::default() }
    }

    /// The body of every request so far, unpacked, and read once more by `opentelemetry-proto`.
    pub(crate) async fn read<M: Message + Default + DeserializeOwned>(&self) -> Vec<M> {
        let requests = std::mem::take(&mut *self.requests.lock().unwrap());
        let mut all = Vec::new();
        for request in requests {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap());
            let mut plain = Vec::new();
            match header("content-encoding") {
                None => plain.extend_from_slice(&body),
                Some("gzip") => drop(GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap()),
                other => panic!("{other:?}"),
            }
            all.push(match header("content-type") {
                Some("application/x-protobuf") => M::decode(&plain[..]).unwrap(),
                Some("application/json") => serde_json::from_slice(&plain).unwrap(),
                other => panic!("{other:?}"),
            });
        }
        all
    }
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
