//! What an exporter holds for a server that never responds: no more memory than its limit in bytes allows.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, clippy::print_stderr, reason = "test code")]

use bytes::Bytes;
use forebay_batch::Batching;
use forebay_core::{BoxError, Footprint};
use forebay_export::{Encode, Exporter, ExporterBuilder};
use forebay_intake::Limits;
use forebay_otlp::{
    AnyValue, AsLogRecord, HistogramPoint, KeyValue, LogRecord, LogRecordWriter, LogsEncoder, Metric, MetricData,
    MetricsEncoder, NumberPoint, Protocol, Span, SpanEvent, SpanLink, StatusCode, Temporality, TracesEncoder,
};
use http::{Request, Response};
use http_body_util::Full;
use std::{
    future::{Pending, pending},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tower_service::Service;
use tracking_allocator::{AllocationGroupId, AllocationRegistry, AllocationTracker, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

/// Bytes that were asked for since the count began and not given back.
static HELD: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicI64 = AtomicI64::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// One test counts at a time.
static COUNTING: Mutex<()> = Mutex::new(());

struct Counter;

impl AllocationTracker for Counter {
    fn allocated(&self, _: usize, size: usize, _: usize, _: AllocationGroupId) {
        let held = HELD.fetch_add(size as i64, Relaxed) + size as i64;
        MOST.fetch_max(held, Relaxed);
    }

    fn deallocated(&self, _: usize, size: usize, _: usize, _: AllocationGroupId, _: AllocationGroupId) {
        HELD.fetch_sub(size as i64, Relaxed);
    }
}

/// The most bytes that were held at a time during `work`, above those that were before. What it returns is dropped afterwards.
///
/// An exporter that ends puts what was not sent into one list, which takes the size of the items once more for a moment.
fn most_held<K>(work: impl FnOnce() -> K) -> usize {
    let _one_at_a_time = COUNTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !INSTALLED.swap(true, Relaxed) {
        AllocationRegistry::set_global_tracker(Counter).unwrap();
    }
    HELD.store(0, Relaxed);
    MOST.store(0, Relaxed);
    AllocationRegistry::enable_tracking();
    let kept = work();
    let most = usize::try_from(MOST.load(Relaxed)).unwrap();
    drop(kept);
    // What a thread of its own lets go of a moment later must not be taken off what is counted next.
    #[expect(clippy::disallowed_methods, reason = "an allocator's counts do not follow virtual time")]
    let begun = Instant::now();
    while HELD.load(Relaxed) > 1 << 20 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes are never let go", HELD.load(Relaxed));
        std::thread::yield_now();
    }
    AllocationRegistry::disable_tracking();
    most
}

const LIMIT: usize = 4 << 20;

/// Of one batch, and so about of its body, of which there are two: one that is sent, one that is written.
const BATCH: usize = 256 << 10;

/// Beyond the limit and a quarter of it: the bodies, and what is fixed.
const CONSTANT: usize = 4 * BATCH;

/// A server that never responds.
#[derive(Clone)]
struct Silent;

impl Service<Request<Full<Bytes>>> for Silent {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pending<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), BoxError>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Self::Future {
        pending()
    }
}

fn builder<T>() -> ExporterBuilder<T, (), Silent> {
    // As many items as their bytes allow.
    let limits = Limits::new().items(1 << 24).bytes(LIMIT).soft_limit(1.0);
    Exporter::builder().endpoint("http://localhost:4318/v1").client(Silent).limits(limits).batching(
        // Nothing closes by its age, so that batches are as large as they may be.
        Batching::new().max_bytes(BATCH).max_items(1 << 20).max_delay(Duration::from_secs(3600)),
    )
}

fn check(name: &str, most: usize, offered: u64) {
    eprintln!("{name}: {offered} offered, {most} bytes held at most, {:.3} of the limit", most as f64 / LIMIT as f64);
    assert!(most as f64 <= 1.25 * LIMIT as f64 + CONSTANT as f64, "{name}: {most} bytes held");
    assert!(most as f64 > 0.5 * LIMIT as f64, "{name}: {most}: the room is used");
}

/// Offers such items until a hundred were refused.
fn fill<T: Footprint + Send + Sync + 'static>(name: &str, encoder: impl Encode<T>, make: impl Fn(u64) -> T) {
    let mut offered = 0;
    let most = most_held(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let exporter = runtime.block_on(async {
            let exporter = builder::<T>().encoder(encoder).build().unwrap();
            while exporter.totals().dropped.total() < 100 {
                exporter.emit(make(offered));
                offered += 1;
                assert!(offered < 1 << 22, "nothing is ever refused");
                if offered % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            exporter
        });
        (exporter, runtime)
    });
    check(name, most, offered);
}

fn logs() -> LogsEncoder {
    LogsEncoder::builder().build().unwrap()
}

fn nested(n: u64) -> AnyValue {
    let pair = KeyValue::new(format!("a key of its own {n}"), "v".repeat(50));
    AnyValue::Array(vec![AnyValue::KvList(vec![pair; 3]), AnyValue::from(vec![1; 200])])
}

#[test]
fn f17_log_records_of_every_size_hold_no_more_than_the_limit() {
    fill("20 kB", logs(), |_| LogRecord::new("x".repeat(20_000)));
    fill("a short text", logs(), |n| LogRecord::new(format!("line {n} of a log")));
    fill("a literal", logs(), |_| LogRecord::new("a literal"));
    let encoder = LogsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
    fill("many attributes, as JSON", encoder, |n| {
        let record = LogRecord::new(String::with_capacity(500)).attribute("nested", nested(n));
        (0..20).fold(record, |record, at| record.attribute(format!("key.{at}"), "value".repeat(3)))
    });
}

#[test]
fn f17_spans_and_metrics_hold_no_more_than_the_limit() {
    fill("spans", TracesEncoder::builder().build().unwrap(), |n| {
        let span = Span::new([1; 16], [2; 8], format!("GET /orders/{n}")).status(StatusCode::Error, "e".repeat(100));
        (0..8).fold(span, |span, at| {
            span.attribute("key", "v".repeat(40))
                .event(SpanEvent::new(at, "retry").attribute("why", "w".repeat(100)))
                .link(SpanLink::new([3; 16], [4; 8]).attribute("key", nested(n)))
        })
    });
    let metrics = || MetricsEncoder::builder().build().unwrap();
    fill("sums", metrics(), |_| {
        let points = (0..50).map(|cpu| NumberPoint::new(2, 7).attribute("cpu", format!("cpu{cpu}"))).collect();
        Metric::new("sum", MetricData::Sum { points, temporality: Temporality::Cumulative, monotonic: true })
    });
    fill("histograms", metrics(), |_| {
        let mut point = HistogramPoint::new(2).attribute("route", "r".repeat(40));
        (point.bucket_counts, point.explicit_bounds) = (vec![1; 100], vec![0.5; 99]);
        Metric::new("h", MetricData::Histogram { points: vec![point; 20], temporality: Temporality::Delta })
    });
}

#[test]
fn f17_a_type_of_ones_own_holds_no_more_than_it_says() {
    struct Line {
        text: String,
        labels: Vec<String>,
    }

    impl Footprint for Line {
        fn heap(&self) -> usize {
            self.text.heap() + self.labels.heap()
        }
    }

    impl AsLogRecord for Line {
        fn record<W: LogRecordWriter>(&self, w: &mut W) {
            w.body(&self.text);
            self.labels.iter().for_each(|label| w.attribute("label", label));
        }
    }

    fill("own", logs(), |n| Line { text: "x".repeat(1_000), labels: vec![n.to_string(); 5] });
}

#[cfg(feature = "opentelemetry")]
mod sdk {
    use super::*;
    use forebay_core::{Priority, Totals};
    use forebay_otlp::sdk::{ForebayLogProcessor, ForebaySpanProcessor, SdkLog};
    use opentelemetry::{
        InstrumentationScope,
        logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _},
        trace::{Span as _, Tracer as _, TracerProvider as _},
    };
    use opentelemetry_sdk::{
        Resource,
        error::OTelSdkResult,
        logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider},
        trace::{SdkTracerProvider, SpanData, SpanProcessor},
    };
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        thread,
    };

    /// Emits by `emit` until a hundred were refused.
    fn until_refused(totals: impl Fn() -> Totals, emit: impl Fn(u64)) -> u64 {
        let mut offered = 0;
        while totals().dropped.total() < 100 {
            emit(offered);
            offered += 1;
            assert!(offered < 1 << 22, "nothing is ever refused");
        }
        offered
    }

    fn logger() -> SdkLogger {
        SdkLoggerProvider::builder().build().logger("shop")
    }

    fn record(logger: &SdkLogger, text: usize, n: u64) -> SdkLogRecord {
        let mut record = logger.create_log_record();
        record.set_body(AnyValue::from("x".repeat(text)));
        (0..8).for_each(|at| record.add_attribute(format!("key.{at}"), format!("value {n}")));
        record
    }

    #[test]
    fn f17_log_records_of_the_sdk_hold_no_more_than_the_limit() {
        let (logger, scope) = (logger(), InstrumentationScope::builder("shop").build());
        for text in [20, 20_000] {
            let mut offered = 0;
            let most = most_held(|| {
                let exporter = builder();
                let processor = ForebayLogProcessor::builder(exporter).flush_timeout(Duration::ZERO).build().unwrap();
                offered =
                    until_refused(|| processor.totals(), |n| processor.emit(&mut record(&logger, text, n), &scope));
                processor
            });
            check(&format!("encoded, {text}"), most, offered);
            let most = most_held(|| {
                let exporter = builder();
                let processor = ForebayLogProcessor::taking(exporter).flush_timeout(Duration::ZERO).build().unwrap();
                offered =
                    until_refused(|| processor.totals(), |n| processor.emit(&mut record(&logger, text, n), &scope));
                processor
            });
            check(&format!("taken, {text}"), most, offered);
        }
    }

    /// Lets the test ask the processor that its provider owns.
    #[derive(Debug)]
    struct Spans(Arc<ForebaySpanProcessor>);

    impl SpanProcessor for Spans {
        fn on_start(&self, _: &mut opentelemetry_sdk::trace::Span, _: &opentelemetry::Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.on_end(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }

        fn set_resource(&mut self, _: &Resource) {}
    }

    #[test]
    fn f17_spans_of_the_sdk_hold_no_more_than_the_limit() {
        let mut offered = 0;
        let most = most_held(|| {
            let exporter = builder();
            let processor =
                Arc::new(ForebaySpanProcessor::builder(exporter).flush_timeout(Duration::ZERO).build().unwrap());
            let provider = SdkTracerProvider::builder().with_span_processor(Spans(Arc::clone(&processor))).build();
            let tracer = provider.tracer("shop");
            offered = until_refused(
                || processor.totals(),
                |n| {
                    let mut span = tracer.start(format!("GET /orders/{n}"));
                    for at in 0..8 {
                        span.set_attribute(opentelemetry::KeyValue::new(format!("key.{at}"), format!("value {n}")));
                        span.add_event(
                            format!("event {at}"),
                            vec![opentelemetry::KeyValue::new("why", "w".repeat(50))],
                        );
                    }
                    span.end();
                },
            );
            (processor, provider)
        });
        check("spans of the SDK", most, offered);
    }

    /// What `threads` threads leave behind that emit `each` record of `text` bytes and end: in memory, and as it is counted.
    fn held_after(threads: u64, each: u64, text: usize) -> (usize, usize) {
        let (logger, scope) = (logger(), InstrumentationScope::builder("shop").build());
        let counted = Arc::new(AtomicUsize::new(0));
        let most = most_held(|| {
            // What a record is counted for is seen where its lane is asked for.
            let weights = Arc::clone(&counted);
            let lane = move |log: &SdkLog| {
                weights.fetch_add(log.bytes(), Relaxed);
                Priority::Normal
            };
            let exporter = builder().limits(Limits::new().items(1 << 24).bytes(1 << 30)).priority(lane);
            let processor = ForebayLogProcessor::builder(exporter).flush_timeout(Duration::ZERO).build().unwrap();
            for n in 0..threads {
                let emit = || (0..each).for_each(|_| processor.emit(&mut record(&logger, text, n), &scope));
                thread::scope(|threads| threads.spawn(emit).join().unwrap());
            }
            assert_eq!(processor.totals().pending, threads * each);
            processor
        });
        (most, counted.load(Relaxed))
    }

    #[test]
    fn f16_short_threads_hold_no_more_than_their_records_weigh() {
        for (threads, each) in [(5_000, 1), (500, 20), (100, 100), (50, 1_000)] {
            let (most, counted) = held_after(threads, each, 100);
            eprintln!("{threads} threads of {each}: {most} bytes held, {counted} counted");
            assert!(most as f64 <= 1.25 * counted as f64 + CONSTANT as f64, "{threads} of {each}: {most}, {counted}");
        }
    }
}
