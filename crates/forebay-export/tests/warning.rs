//! The one warning: when items are lost it is said, at most once a minute, by the worker.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::{Bytes, BytesMut};
use forebay_batch::Batching;
use forebay_core::{BoxError, DropReason, Priority};
use forebay_export::{Encode, Exporter, ExporterBuilder, Offer, Preset, Skipped};
use forebay_intake::{Limits, Overflow};
use forebay_testkit::events::{EventRecorder, RecordedEvent};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use std::{
    future::{Ready, ready},
    time::Duration,
};
use tokio::time::{advance, timeout};
use tower::{service_fn, util::ServiceFn};
use tracing::{Level, subscriber::set_default};

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

type Answer = Result<Response<Full<Bytes>>, BoxError>;

/// A server that responds with `status`. It is not a closure of `exporter`, where it would be a type of its own for each
/// `build`, and the exporter compiled for each.
fn server(status: StatusCode) -> ServiceFn<impl FnMut(Request<Full<Bytes>>) -> Ready<Answer> + Clone + Send> {
    service_fn(move |_| {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = status;
        ready(Ok(response))
    })
}

fn exporter(status: StatusCode, build: impl FnOnce(ExporterBuilder<u32>) -> ExporterBuilder<u32>) -> Exporter<u32> {
    let builder = build(Exporter::builder().name("logs").endpoint("https://far.example/"));
    builder.encoder(Lines).client(server(status)).build().unwrap()
}

/// Lets the worker do what it can without time going by.
async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

fn warnings(recorder: &EventRecorder) -> Vec<RecordedEvent> {
    recorder.events().into_iter().filter(|event| event.level < Level::DEBUG).collect()
}

/// `items` and `reasons` of each warning.
fn said(recorder: &EventRecorder) -> Vec<(String, String)> {
    let text = |event: &RecordedEvent, name| event.field(name).unwrap().to_owned();
    warnings(recorder).iter().map(|event| (text(event, "items"), text(event, "reasons"))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_loss_is_said_at_once_and_the_next_ones_together_a_minute_later() {
    let recorder = EventRecorder::of("forebay");
    let _guard = set_default(recorder.clone());
    let exporter = exporter(StatusCode::NOT_FOUND, |builder| builder.batching(Batching::new().max_items(2)));
    (0..2).for_each(|item| exporter.emit(item));
    exporter.flush().await;
    settle().await;
    assert_eq!(said(&recorder), [("2".to_owned(), "2 rejected".to_owned())]);
    let first = &warnings(&recorder)[0];
    assert_eq!((first.level, first.target.as_str()), (Level::WARN, "forebay_export"));
    assert_eq!((first.message.as_str(), first.field("exporter")), ("telemetry was lost", Some("logs")));

    // More of them, in three batches: silence.
    for item in 0..6 {
        exporter.emit(item);
    }
    exporter.flush().await;
    advance(Duration::from_secs(59)).await;
    settle().await;
    assert_eq!(warnings(&recorder).len(), 1, "not twice within a minute");
    advance(Duration::from_secs(1)).await;
    settle().await;
    let dropped = exporter.totals().dropped;
    let rest = dropped.total() - 2;
    assert_eq!(said(&recorder)[1].0, rest.to_string(), "{dropped:?}");

    // It has nothing to say any more, and no timer runs.
    advance(Duration::from_secs(3600)).await;
    settle().await;
    assert_eq!(warnings(&recorder).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_refused_at_the_door_of_an_idle_exporter_is_said() {
    let recorder = EventRecorder::of("forebay");
    let _guard = set_default(recorder.clone());
    let exporter = exporter(StatusCode::OK, |builder| builder.limits(Limits::new().bytes(2)));
    settle().await;
    exporter.emit(1);
    assert!(warnings(&recorder).is_empty(), "it is not said on the path of the host");
    settle().await;
    assert_eq!(said(&recorder), [("1".to_owned(), "1 too_large".to_owned())]);
    (0..1000).for_each(|item| exporter.emit(item));
    settle().await;
    assert_eq!(warnings(&recorder).len(), 1);
    advance(Duration::from_secs(60)).await;
    settle().await;
    assert_eq!(said(&recorder)[1], ("1000".to_owned(), "1000 too_large".to_owned()));

    // However it was handed over.
    let ways: [fn(&Exporter<u32>); 2] = [
        |exporter| exporter.emit(Offer::new(1).priority(Priority::High)),
        |exporter| exporter.emit(Offer::new(1).weight(3)),
    ];
    for (way, number) in ways.into_iter().zip(2..) {
        advance(Duration::from_secs(60)).await;
        settle().await;
        way(&exporter);
        settle().await;
        assert_eq!(said(&recorder)[number..], [("1".to_owned(), "1 too_large".to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_evicted_while_the_far_side_is_away_is_said() {
    let recorder = EventRecorder::of("forebay");
    let _guard = set_default(recorder.clone());
    let exporter = exporter(StatusCode::SERVICE_UNAVAILABLE, |builder| {
        builder.limits(Limits::new().items(8)).overflow(Overflow::DropOldest).batching(Batching::new().max_items(2))
    });
    (0..20).for_each(|item| exporter.emit(item));
    let first = timeout(Duration::from_secs(60), async {
        while warnings(&recorder).is_empty() {
            tokio::task::yield_now().await;
            advance(Duration::from_millis(100)).await;
        }
    });
    first.await.unwrap();
    let evicted = exporter.totals().dropped.get(DropReason::Evicted);
    assert!(evicted > 0);
    assert!(said(&recorder)[0].1.contains("evicted"), "{:?}", said(&recorder));
}

#[tokio::test(start_paused = true)]
async fn what_the_host_has_asked_for_is_not_said_and_nor_is_a_success() {
    let recorder = EventRecorder::of("forebay");
    let _guard = set_default(recorder.clone());
    let exporter_that_works = exporter(StatusCode::OK, |builder| builder);
    exporter_that_works.emit(1);
    exporter_that_works.flush().await;
    assert_eq!(exporter_that_works.totals().delivered, 1);
    assert!(recorder.events().is_empty(), "what succeeds says nothing at all: {:?}", recorder.events());

    let switched_off = exporter(StatusCode::SERVICE_UNAVAILABLE, |builder| builder);
    switched_off.emit(1);
    switched_off.handle().switch_off();
    settle().await;
    assert_eq!(switched_off.totals().dropped.get(DropReason::Disabled), 1);

    let shut_down = exporter(StatusCode::SERVICE_UNAVAILABLE, |builder| builder);
    shut_down.emit(1);
    let report = shut_down.shutdown(Duration::from_secs(1)).await;
    assert_eq!(report.totals.dropped.get(DropReason::Shutdown), 1);
    settle().await;
    assert_eq!(warnings(&recorder), []);
}

/// A subscriber that panics costs nobody anything.
struct Panics;

impl tracing::Subscriber for Panics {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "forebay_export" || metadata.target() == "forebay_batch"
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        std::panic::resume_unwind(Box::new("a subscriber that panics"));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_does_not_take_the_worker_along() {
    let _guard = set_default(Panics);
    let exporter = exporter(StatusCode::NOT_FOUND, |builder| builder);
    for item in 0..3 {
        exporter.emit(item);
        exporter.flush().await;
    }
    let handle = exporter.handle();
    handle.switch_off();
    handle.switch_on();
    let report = exporter.shutdown(Duration::from_secs(5)).await;
    assert_eq!((report.totals.offered, report.totals.dropped.get(DropReason::Rejected)), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_quiet_exporter_says_losses_at_debug_and_so_do_the_presets_of_the_drivers() {
    type Build = fn(ExporterBuilder<u32>) -> ExporterBuilder<u32>;
    let quiet: [Build; 3] = [
        ExporterBuilder::quiet,
        |builder| builder.preset(Preset::DatabricksNode),
        |builder| builder.preset(Preset::DatabricksCsharp),
    ];
    for build in quiet {
        let recorder = EventRecorder::of("forebay");
        let _guard = set_default(recorder.clone());
        let exporter = exporter(StatusCode::NOT_FOUND, build);
        for _ in 0..2 {
            (0..3).for_each(|item| exporter.emit(item));
            exporter.flush().await;
            settle().await;
        }
        assert!(warnings(&recorder).is_empty(), "{:?}", warnings(&recorder));
        let losses = || recorder.with_message("telemetry was lost");
        assert_eq!((losses().len(), losses()[0].level, losses()[0].field("items")), (1, Level::DEBUG, Some("3")));
        advance(Duration::from_secs(60)).await;
        settle().await;
        assert_eq!(losses().len(), 2, "as rarely as a warning");
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_of_the_circuit_leaves_the_count_of_its_openings_alone() {
    let opened = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&opened);
    let exporter = exporter(StatusCode::SERVICE_UNAVAILABLE, |builder| {
        builder.retry(|retry| retry.max_retries(0)).max_age(Duration::ZERO).observe_breaker(move |event| {
            if let forebay_breaker::BreakerEvent::Changed { to: forebay_breaker::State::Open, .. } = event {
                count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
            std::panic::resume_unwind(Box::new("in the observer"));
        })
    });
    // Ten failures in a row open the circuit, as several batches may be in flight.
    for item in 0..12 {
        exporter.emit(item);
        exporter.flush().await;
    }
    assert_eq!(opened.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(exporter.counters().breaker_opens, 1);
    assert!(exporter.totals().balance());
}
