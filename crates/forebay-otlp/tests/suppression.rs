//! The logs of the exporter's own HTTP client are never exported.
//!
//! In a program of its own, because the subscriber is that of the whole program.
#![cfg(feature = "opentelemetry")]
#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_export::Exporter;
use forebay_otlp::sdk::ForebayLogProcessor;
use forebay_testkit::receiver::Receiver;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, Error, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};
use tower::Service;
use tracing_subscriber::prelude::*;

type Http = Client<HttpConnector, Full<Bytes>>;

/// A client that logs: before a request, in a task of its own, and after the response.
#[derive(Clone)]
struct Talkative {
    client: Http,
    said: Arc<AtomicUsize>,
}

impl Service<Request<Full<Bytes>>> for Talkative {
    type Response = Response<Incoming>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Incoming>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        tracing::error!("the client sends");
        let said = Arc::clone(&self.said);
        let task = tokio::spawn(async move {
            tokio::task::yield_now().await;
            tracing::error!("a task of the client runs");
            said.fetch_add(1, Relaxed);
        });
        let response = self.client.call(request);
        Box::pin(async move {
            task.await.unwrap();
            let response = response.await;
            tracing::error!("the client has a response");
            response
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_exporter_does_not_export_itself() {
    let receiver = Receiver::builder().start().await.unwrap();
    let said = Arc::new(AtomicUsize::new(0));
    let client = Talkative { client: Client::builder(TokioExecutor::new()).build_http(), said: Arc::clone(&said) };
    let exporter = Exporter::builder().endpoint(&format!("{}/v1/logs", receiver.endpoint())).client(client);
    let processor = ForebayLogProcessor::builder(exporter).build().unwrap();
    let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
    // No filter at all: the events of hyper and tokio pass as well.
    tracing_subscriber::registry().with(OpenTelemetryTracingBridge::new(&provider)).init();

    for round in 0..5 {
        tracing::info!(round, "the program works");
        provider.force_flush().unwrap();
    }

    let bodies: Vec<_> = receiver.logs().into_iter().map(|log| log.body).collect();
    let own = bodies.iter().filter(|body| body.contains("client")).count();
    assert_eq!((own, said.load(Relaxed)), (0, 5), "{bodies:?}");
    let ours = bodies.iter().filter(|body| body.contains("the program works")).count();
    assert_eq!(ours, 5);
    // The same words from any other thread are exported: it is the thread that makes the difference.
    tracing::error!("the client sends");
    provider.force_flush().unwrap();
    assert!(receiver.logs().iter().any(|log| log.body.contains("the client sends")));
    provider.shutdown().unwrap();
}
