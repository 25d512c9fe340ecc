//! A panic of user code (a recorder of metrics, a subscriber, a closure that describes an item) costs no batch and no worker.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use bytes::{Bytes, BytesMut};
use forebay_batch::Batching;
use forebay_core::{BoxError, Fate, Priority};
use forebay_export::{Encode, Exporter, ExporterBuilder, Offer, Skipped};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use std::{
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};
use tower::{Service, service_fn, util::ServiceFn};
use tracing::{
    Event, Subscriber,
    span::{Attributes, Id, Record},
    subscriber::{Interest, set_default},
};

struct Lines;

impl Encode<u32> for Lines {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn encode(&self, items: &[u32], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        items.iter().for_each(|item| body.extend_from_slice(item.to_string().as_bytes()));
        Ok(Skipped::NONE)
    }
}

fn silent() {
    std::panic::set_hook(Box::new(|_| {}));
}

type Answer = Result<Response<Full<Bytes>>, BoxError>;

/// A server that refuses the first request. It is not a closure of `exporter`, where it would be a type of its own for each
/// `change`, and the exporter compiled for each.
fn server() -> ServiceFn<impl FnMut(Request<Full<Bytes>>) -> Ready<Answer> + Clone + Send> {
    let refused = Arc::new(AtomicBool::new(false));
    service_fn(move |_| {
        let status = if refused.swap(true, SeqCst) { 200 } else { 404 };
        ready(Response::builder().status(status).body(Full::new(Bytes::new())).map_err(BoxError::from))
    })
}

/// An exporter of batches of two, the first of which the server refuses.
fn exporter(change: impl FnOnce(ExporterBuilder<u32, Lines>) -> ExporterBuilder<u32, Lines>) -> Exporter<u32> {
    let builder = Exporter::builder()
        .endpoint("https://far.example/")
        .encoder(Lines)
        .batching(Batching::new().max_items(2).max_delay(Duration::from_millis(1)));
    change(builder).client(server()).build().unwrap()
}

/// The first batch is rejected, the second delivered, whatever panics.
async fn works(mut exporter: Exporter<u32>) {
    let mut fates = Vec::new();
    for item in 0..4 {
        fates.push(exporter.call(item));
    }
    let mut delivered = 0;
    for fate in fates {
        delivered += usize::from(fate.await.unwrap() == Fate::Delivered);
    }
    assert_eq!(delivered, 2);
    let report = exporter.shutdown(Duration::from_secs(5)).await;
    assert!(report.totals.balance());
    assert_eq!((report.totals.delivered, report.totals.pending), (2, 0));
    assert_eq!(report.totals.dropped.get(forebay_core::DropReason::Rejected), 2);
}

/// A recorder that panics when a metric is described and registered, or else when it is recorded.
struct Panics {
    at_once: bool,
}

impl Panics {
    fn spring(&self) {
        assert!(!self.at_once, "the recorder");
    }
}

impl CounterFn for Panics {
    fn increment(&self, _: u64) {
        panic!("a counter");
    }

    fn absolute(&self, _: u64) {
        panic!("a counter");
    }
}

impl GaugeFn for Panics {
    fn increment(&self, _: f64) {
        panic!("a gauge");
    }

    fn decrement(&self, _: f64) {
        panic!("a gauge");
    }

    fn set(&self, _: f64) {
        panic!("a gauge");
    }
}

impl HistogramFn for Panics {
    fn record(&self, _: f64) {
        panic!("a histogram");
    }
}

impl Recorder for Panics {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.spring();
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.spring();
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {
        self.spring();
    }

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        self.spring();
        Counter::from_arc(Arc::new(Self { at_once: false }))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        self.spring();
        Gauge::from_arc(Arc::new(Self { at_once: false }))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        self.spring();
        Histogram::from_arc(Arc::new(Self { at_once: false }))
    }
}

#[tokio::test(start_paused = true)]
async fn f18_a_recorder_of_metrics_that_panics_costs_no_batch() {
    silent();
    for at_once in [true, false] {
        let recorder = Panics { at_once };
        let exporter = metrics::with_local_recorder(&recorder, || exporter(|builder| builder));
        exporter.handle().record_metrics();
        works(exporter).await;
    }
}

/// A subscriber that panics in `enabled`, or else in `event`.
struct Listens {
    at_once: bool,
}

impl Subscriber for Listens {
    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        assert!(!self.at_once, "in `enabled`");
        true
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &Event<'_>) {
        panic!("in `event`");
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test(start_paused = true)]
async fn f18_a_subscriber_that_panics_costs_no_batch() {
    silent();
    for at_once in [true, false] {
        let _subscriber = set_default(Listens { at_once });
        works(exporter(|builder| builder)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn f18_closures_that_panic_are_counted_and_cost_no_item() {
    silent();
    let exporter = exporter(|builder| builder.flush_when(|_| panic!("whether it closes its batch")));
    works(exporter.clone()).await;
    assert_eq!(exporter.counters().closure_panics, 4);
}

#[tokio::test(start_paused = true)]
async fn f15_a_dropped_future_does_not_take_its_item_back() {
    let mut exporter = exporter(|builder| builder);
    (0..4).for_each(|item| drop(exporter.call(item)));
    exporter.emit(Offer::new(4).priority(Priority::Normal));
    let report = exporter.shutdown(Duration::from_secs(5)).await;
    assert_eq!((report.totals.delivered, report.totals.dropped.total(), report.totals.pending), (3, 2, 0));
    assert_eq!(report.totals.dropped.get(forebay_core::DropReason::Cancelled), 0);
}
