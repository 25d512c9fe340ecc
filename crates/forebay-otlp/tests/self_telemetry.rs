//! An exporter that fails, and reports it, does not export these reports.
//!
//! In a program of its own, because the subscriber is that of the whole program.
#![cfg(feature = "opentelemetry")]
#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_core::BoxError;
use forebay_export::Exporter;
use forebay_otlp::sdk::ForebayLogProcessor;
use forebay_retry::Backoff;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use opentelemetry::InstrumentationScope;
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    logs::{LogProcessor, SdkLogRecord, SdkLoggerProvider},
};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tower::service_fn;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{
    filter::LevelFilter,
    layer::{Context, Layer},
    prelude::*,
};

/// The provider owns its processors; this one is shared with the test.
#[derive(Clone, Debug)]
struct Shared(Arc<ForebayLogProcessor>);

impl LogProcessor for Shared {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.emit(record, scope);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }
}

/// Collects the events of forebay, exported or not.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<Level>>>);

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target().starts_with("forebay") {
            self.0.lock().unwrap().push(*event.metadata().level());
        }
    }
}

impl Events {
    fn counts(&self) -> (usize, usize) {
        let levels = self.0.lock().unwrap();
        (levels.len(), levels.iter().filter(|level| **level == Level::WARN).count())
    }
}

#[test]
fn an_exporter_that_fails_does_not_export_its_own_telemetry() {
    let away = service_fn(|_: Request<Full<Bytes>>| async {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok::<_, BoxError>(response)
    });
    let exporter = Exporter::builder()
        .name("logs")
        .endpoint("https://far.example/v1/logs")
        .client(away)
        .retry(|retry| retry.max_retries(2).backoff(Backoff::constant(Duration::from_millis(1))).without_budget())
        .park_backoff(Backoff::constant(Duration::from_millis(5)))
        .breaker(|breaker| breaker.open_for(Duration::from_millis(5)))
        .max_age(Duration::from_millis(300));
    let processor = Shared(Arc::new(ForebayLogProcessor::builder(exporter).build().unwrap()));
    let provider = SdkLoggerProvider::builder().with_log_processor(processor.clone()).build();
    let events = Events::default();
    tracing_subscriber::registry()
        .with(LevelFilter::TRACE)
        .with(OpenTelemetryTracingBridge::new(&provider))
        .with(events.clone())
        .init();

    for round in 1..=3 {
        tracing::info!(round, "the program works");
        assert!(provider.force_flush().is_err(), "it was dropped");
        let totals = processor.0.totals();
        assert_eq!((totals.offered, totals.dropped.total(), totals.pending), (round, round, 0), "{totals}");
    }
    let (count, warnings) = events.counts();
    assert!(count > 20, "many attempts failed, and each was reported: {count}");
    assert_eq!(warnings, 1, "and one warning, though there were three losses");

    // What the thread makes of it: the same from elsewhere is a record like any other.
    let other = Exporter::<String>::builder();
    let client =
        service_fn(|_: Request<Full<Bytes>>| async { Ok::<_, BoxError>(Response::new(Full::new(Bytes::new()))) });
    let other = other.endpoint("https://other.example/").encoder(Text).client(client).build().unwrap();
    other.handle().switch_off();
    assert_eq!(processor.0.totals().offered, 4, "`switched off` was said on the thread of the program");

    assert!(provider.shutdown_with_timeout(Duration::from_millis(100)).is_err());
    assert_eq!(processor.0.totals().offered, 4);
}

struct Text;

impl forebay_export::Encode<String> for Text {
    fn content_type(&self) -> http::HeaderValue {
        http::HeaderValue::from_static("text/plain")
    }

    fn encode(&self, items: &[String], body: &mut bytes::BytesMut) -> Result<forebay_export::Skipped, BoxError> {
        items.iter().for_each(|item| body.extend_from_slice(item.as_bytes()));
        Ok(forebay_export::Skipped::NONE)
    }
}
