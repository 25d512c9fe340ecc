//! The exporters of `opentelemetry-otlp` over the stack of forebay.
#![cfg(feature = "opentelemetry-http")]
#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_otlp::sdk::ForebayHttpClient;
use forebay_testkit::receiver::{Fault, Receiver};
use http::StatusCode;
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{
    logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _},
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_http::HttpClient;
use opentelemetry_otlp::{LogExporter, Protocol, RetryPolicy, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{logs::SdkLoggerProvider, trace::SdkTracerProvider};
use std::{
    iter,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, util::MapRequestLayer};

fn http() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

fn client() -> ForebayHttpClient {
    ForebayHttpClient::new(http()).unwrap()
}

fn refusal(status: StatusCode) -> Fault {
    Fault::Status { status, retry_after: Vec::new() }
}

/// Its own retries are off: ours are what is tested.
fn logs(receiver: &Receiver, client: ForebayHttpClient) -> SdkLoggerProvider {
    let exporter = LogExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_retry_policy(RetryPolicy::default().with_max_retries(0))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/logs", receiver.endpoint()))
        .build();
    SdkLoggerProvider::builder().with_batch_exporter(exporter.unwrap()).build()
}

fn spans(receiver: &Receiver, client: ForebayHttpClient) -> SdkTracerProvider {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_retry_policy(RetryPolicy::default().with_max_retries(0))
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(format!("{}/v1/traces", receiver.endpoint()))
        .build();
    SdkTracerProvider::builder().with_batch_exporter(exporter.unwrap()).build()
}

fn say(provider: &SdkLoggerProvider, text: &'static str) {
    let logger = provider.logger("test");
    let mut record = logger.create_log_record();
    record.set_body(AnyValue::from(text));
    logger.emit(record);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn what_may_pass_is_sent_again_and_arrives() {
    let receiver = Receiver::builder().script([refusal(StatusCode::SERVICE_UNAVAILABLE)]).start().await.unwrap();
    let provider = logs(&receiver, client());
    say(&provider, "again");
    provider.force_flush().unwrap();
    assert_eq!(receiver.logs().len(), 1);
    assert_eq!(receiver.totals().requests, 2);
    provider.shutdown().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn exporters_that_share_a_client_share_what_a_server_asks_for() {
    let unavailable = iter::repeat_n(refusal(StatusCode::SERVICE_UNAVAILABLE), 3);
    let script = unavailable.chain([Fault::retry_after(StatusCode::TOO_MANY_REQUESTS, 1)]);
    let receiver = Receiver::builder().script(script).start().await.unwrap();
    let sent = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&sent);
    let watched = MapRequestLayer::new(move |request: http::Request<Full<Bytes>>| {
        noted.lock().unwrap().push(Instant::now());
        request
    });
    let client = ForebayHttpClient::new(watched.layer(http())).unwrap();
    let (logs, spans) = (logs(&receiver, client.clone()), spans(&receiver, client));

    say(&logs, "given up with the fourth response, which has a `Retry-After`");
    logs.force_flush().unwrap_err();
    spans.tracer("test").start("held back").end();
    spans.force_flush().unwrap();
    assert_eq!((receiver.logs().len(), receiver.spans().len()), (0, 1));
    let sent = sent.lock().unwrap();
    assert_eq!(sent.len(), 5);
    assert!(sent[4] - sent[3] >= Duration::from_secs(1), "{:?}", sent[4] - sent[3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_circuit_opens_for_a_server_that_only_fails() {
    let receiver = Receiver::builder()
        .script(iter::repeat_n(refusal(StatusCode::INTERNAL_SERVER_ERROR), 100))
        .start()
        .await
        .unwrap();
    let provider = logs(&receiver, client());
    for _ in 0..20 {
        say(&provider, "in vain");
        provider.force_flush().unwrap_err();
    }
    assert_eq!(receiver.totals().requests, 5, "the circuit is open after five");
}

#[test]
fn it_needs_no_runtime_and_a_response_has_an_end() {
    let client = ForebayHttpClient::over(tower::service_fn(|_: http::Request<Full<Bytes>>| async {
        // A timer of tokio, which panics where there is no runtime.
        tokio::time::sleep(Duration::from_millis(1)).await;
        Ok::<_, std::io::Error>(http::Response::new(Full::new(Bytes::from(vec![0; (4 << 20) + 1]))))
    }));
    let client = client.unwrap();
    let request = http::Request::post("http://127.0.0.1/v1/logs").body(Bytes::new()).unwrap();
    let mut sent = client.send_bytes(request);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let error = loop {
        if let std::task::Poll::Ready(response) = sent.as_mut().poll(&mut context) {
            break response.unwrap_err();
        }
        std::thread::yield_now();
    };
    assert!(error.is::<opentelemetry_http::ResponseBodyTooLarge>(), "{error}");
}
