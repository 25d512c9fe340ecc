//! Every duration that a user or a server can say, at the ends of its range: refused by name, or borne.
//!
//! The drop-ins run on threads of their own, in real time; nothing here waits for longer than a retry takes.

use crate::support::{exporter, receiver};
use forebay_otlp::sdk::{ForebayLogProcessor, ForebayMetricExporter, ForebaySpanProcessor};
use forebay_retry::Backoff;
use forebay_testkit::receiver::Fault;
use http::StatusCode;
use opentelemetry::{
    logs::{LogRecord as _, Logger as _, LoggerProvider as _},
    metrics::MeterProvider as _,
    trace::{Span as _, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::{
    logs::SdkLoggerProvider,
    metrics::{PeriodicReader, SdkMeterProvider},
    trace::SdkTracerProvider,
};
use std::{
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A thread keeps its panic to itself; here each is counted.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.location().is_some_and(|at| at.file().contains("forebay") && !at.file().contains("tests")) {
                PANICS.fetch_add(1, Relaxed);
            }
            report(panic);
        }));
    });
}

const ENDS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX];

/// One failure before all goes well, with a hint and without.
fn script(number: usize) -> [Fault; 1] {
    let status = StatusCode::SERVICE_UNAVAILABLE;
    [if number.is_multiple_of(2) { Fault::status(status) } else { Fault::retry_after(status, 0) }]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f02_every_timeout_of_a_processor_is_borne_at_the_ends_of_its_range() {
    count_panics();
    let before = PANICS.load(Relaxed);
    for (number, flush) in ENDS.into_iter().enumerate() {
        for shutdown in ENDS {
            let what = format!("flush_timeout = {flush:?}, shutdown within {shutdown:?}");
            let long = flush > Duration::from_secs(1);
            let receiver = receiver(script(number)).await;
            let fast = |retry: forebay_export::ExportRetry| retry.backoff(Backoff::constant(Duration::from_millis(1)));

            let exporting = exporter(&receiver, "/v1/logs").retry(fast);
            let processor = ForebayLogProcessor::builder(exporting).flush_timeout(flush).build().unwrap();
            let provider = SdkLoggerProvider::builder().with_log_processor(processor).build();
            let logger = provider.logger("shop");
            let mut record = logger.create_log_record();
            record.set_body("one".into());
            logger.emit(record);
            let (flushed, ended) =
                blocking(move || (provider.force_flush(), provider.shutdown_with_timeout(shutdown))).await;
            assert!(flushed.is_ok() || !long, "{what}: logs: {flushed:?}");
            assert!(ended.is_ok() || !long || shutdown < Duration::from_secs(1), "{what}: logs: {ended:?}");

            let exporting = exporter(&receiver, "/v1/traces").retry(fast);
            let processor = ForebaySpanProcessor::builder(exporting).flush_timeout(flush).build().unwrap();
            let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
            provider.tracer("shop").start("one").end();
            let (flushed, ended) =
                blocking(move || (provider.force_flush(), provider.shutdown_with_timeout(shutdown))).await;
            assert!(flushed.is_ok() || !long, "{what}: spans: {flushed:?}");
            assert!(ended.is_ok() || !long || shutdown < Duration::from_secs(1), "{what}: spans: {ended:?}");

            let exporting = exporter(&receiver, "/v1/metrics").retry(fast);
            let metrics = ForebayMetricExporter::builder(exporting).flush_timeout(flush).build().unwrap();
            // The reader of the SDK ticks at an interval of its own, which has to be one that its thread can wait for.
            let reader = PeriodicReader::builder(metrics).with_interval(Duration::from_secs(3_600)).build();
            let provider = SdkMeterProvider::builder().with_reader(reader).build();
            provider.meter("shop").u64_counter("orders").build().add(1, &[]);
            let (flushed, ended) =
                blocking(move || (provider.force_flush(), provider.shutdown_with_timeout(shutdown))).await;
            assert!(flushed.is_ok(), "{what}: metrics: {flushed:?}");
            assert!(ended.is_ok() || shutdown < Duration::from_secs(1), "{what}: metrics: {ended:?}");
        }
    }
    assert_eq!(PANICS.load(Relaxed), before, "something panicked");
}

/// The calls of the SDK block; the receiver runs meanwhile.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::time::timeout(Duration::from_secs(30), tokio::task::spawn_blocking(work)).await.unwrap().unwrap()
}
