//! X04: nothing of a secret is in any log, error, `Debug` or panic message. The whole process logs at TRACE meanwhile.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay::{
    batch::Batching,
    core::BoxError,
    export::{Compression, Credential, Endpoint, EndpointGuard, ExportError, Exporter, GrpcError},
    otlp::{Environment, LogRecord, LogsEncoder, Protocol, Signal},
    retry::Backoff,
};
use forebay_testkit::receiver::{Fault, Receiver};
use http::{HeaderValue, Response};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::{
    fmt::{Debug, Display, Write},
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::ServiceExt;

/// All secrets have this in them.
const CANARY: &str = "hunter2canary";

/// Everything that was said.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<String>>);

impl Said {
    fn debug(&self, value: &impl Debug) {
        writeln!(self.0.lock().unwrap(), "{value:?} {value:#?}").unwrap();
    }

    fn both(&self, value: &(impl Debug + Display)) {
        self.debug(value);
        writeln!(self.0.lock().unwrap(), "{value} {value:#}").unwrap();
    }

    fn chain(&self, error: &(dyn std::error::Error + 'static)) {
        let mut link = Some(error);
        while let Some(error) = link {
            writeln!(self.0.lock().unwrap(), "{error:?} {error:#?} {error} {error:#}").unwrap();
            link = error.source();
        }
    }
}

impl io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn x04_no_secret_is_in_any_log_error_debug_or_panic_message() {
    let said = Said::default();
    let writer = said.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let before = std::panic::take_hook();
    let panics = said.clone();
    std::panic::set_hook(Box::new(move |info| panics.both(info)));

    for protocol in Protocol::ALL {
        // Each ends otherwise: refused by the server, cut, away, and well in the end.
        let faults = vec![
            Fault::status(http::StatusCode::SERVICE_UNAVAILABLE),
            Fault::Reset { when: forebay_testkit::receiver::ResetWhen::Unprocessed },
            Fault::Garbage { processed: false },
        ];
        let authorization = HeaderValue::from_static("Bearer hunter2canary-2");
        let receiver = Receiver::builder().script(faults).require_authorization(authorization).start().await.unwrap();
        let base = receiver.endpoint();
        // Over gRPC there is no query to have a secret in.
        let (url, fallback) = match protocol {
            Protocol::Grpc => (base.clone(), format!("{base}/elsewhere")),
            _ => (format!("{base}/v1/logs?token={CANARY}"), format!("{base}/elsewhere?token={CANARY}")),
        };
        let http = Client::builder(TokioExecutor::new()).http2_only(protocol == Protocol::Grpc).build_http();
        let asked = Arc::new(Mutex::new(0));
        let said_too = said.clone();
        let builder = Exporter::builder()
            .endpoint(&url)
            .encoder(LogsEncoder::builder().protocol(protocol).build().unwrap())
            .client(http)
            .compression(Compression::gzip())
            .header("x-api-key", CANARY)
            .header("cookie", format!("session={CANARY}"))
            .fallback(&fallback)
            .auth(move || {
                let mut asked = asked.lock().unwrap();
                *asked += 1;
                std::future::ready(Credential::bearer(&format!("{CANARY}-{asked}")))
            })
            .batching(Batching::new().max_age(Duration::from_millis(10)))
            .retry(|retry| retry.max_retries(1).backoff(Backoff::constant(Duration::from_millis(1))))
            .park_backoff(Backoff::constant(Duration::from_millis(10)))
            .observe(move |error: &ExportError| {
                said_too.both(error);
                said_too.chain(error);
                write!(said_too.0.lock().unwrap(), "{}", error.report()).unwrap();
                panic!("an observer that panics");
            });
        said.debug(&builder);
        let exporter = builder.build().unwrap();
        said.debug(&exporter);
        said.debug(&exporter.handle());
        let future = exporter.clone().oneshot(LogRecord::new("one"));
        said.debug(&exporter.emit_or_wait(LogRecord::new("two")));
        let Ok(fate) = future.await;
        said.debug(&fate);
        tokio::time::timeout(Duration::from_secs(20), exporter.flush()).await.unwrap();
        let report = exporter.shutdown(Duration::from_secs(5)).await;
        assert_eq!(report.totals.delivered, 1, "{protocol}: {:?}", report.last_error);
        said.debug(&report);
        said.debug(&exporter.handle());
    }

    // A server that repeats what it was sent, over HTTP and over gRPC.
    for protocol in [Protocol::HttpJson, Protocol::Grpc] {
        let echo = tower::service_fn(move |request: http::Request<Full<Bytes>>| {
            let value = request.headers()["authorization"].to_str().unwrap().to_owned();
            let text = format!("no such token: {value}");
            let mut response = Response::new(Full::new(Bytes::from(text.clone())));
            match protocol {
                Protocol::Grpc => {
                    response.headers_mut().insert("grpc-status", HeaderValue::from_static("3"));
                    response.headers_mut().insert("grpc-message", HeaderValue::try_from(text).unwrap());
                }
                _ => {
                    *response.status_mut() = http::StatusCode::FORBIDDEN;
                    response.headers_mut().insert("content-type", HeaderValue::from_static("text/plain"));
                }
            }
            std::future::ready(Ok::<_, BoxError>(response))
        });
        let exporter = Exporter::builder()
            .endpoint("https://far.example/")
            .encoder(LogsEncoder::builder().protocol(protocol).build().unwrap())
            .client(echo)
            .header("authorization", format!("Bearer {CANARY}"))
            .build()
            .unwrap();
        exporter.emit(LogRecord::new("one"));
        exporter.flush().await;
        let error = exporter.last_error().unwrap();
        assert_eq!(error.server_text().as_str(), "no such token: [redacted]");
        assert_eq!(forebay::core::is_caused_by::<GrpcError>(&error), protocol == Protocol::Grpc);
        said.both(&error);
        said.chain(&error);
        write!(said.0.lock().unwrap(), "{}", error.report()).unwrap();
    }

    // What is refused when it is configured.
    let refused = format!("https://user:{CANARY}@far.example/?token={CANARY}");
    said.both(&refused.parse::<Endpoint>().unwrap_err());
    said.both(&EndpointGuard::new().check(&refused).unwrap_err());
    said.both(&Credential::bearer(&format!("{CANARY}\n")).unwrap_err());
    said.both(&Credential::header(format!("{CANARY} "), "x").unwrap_err());
    said.debug(&Credential::bearer(CANARY).unwrap());
    said.both(&format!("https://far.example/?token={CANARY}").parse::<Endpoint>().unwrap());
    let environment = |name: &str| match name {
        "OTEL_EXPORTER_OTLP_HEADERS" => Some(format!("authorization=Bearer%20{CANARY}")),
        _ => None,
    };
    said.debug(&Environment::of(Signal::Logs, environment).unwrap());
    let broken = |name: &str| (name == "OTEL_EXPORTER_OTLP_HEADERS").then(|| format!("{CANARY}=a%00,{CANARY}"));
    let ignored = Environment::of(Signal::Logs, broken).unwrap();
    assert_eq!(ignored.warnings.len(), 2);
    ignored.warnings.iter().for_each(|warning| said.both(warning));
    said.debug(&ignored);

    std::panic::set_hook(before);
    let said = said.0.lock().unwrap();
    assert!(said.contains("TRACE") && said.contains("an observer that panics"), "the logs were kept");
    for event in ["request failed", "export failed", "attempt failed, will be repeated", "credential refreshed"] {
        assert!(said.contains(event), "forebay's own events were kept, among them: {event}");
    }
    assert!(said.contains("authorization") && said.len() > 50_000, "{} bytes", said.len());
    if let Some(at) = said.find(CANARY) {
        let (start, end) = (at.saturating_sub(300), (at + 200).min(said.len()));
        panic!("a secret was shown: {}", String::from_utf8_lossy(&said.as_bytes()[start..end]));
    }
}
