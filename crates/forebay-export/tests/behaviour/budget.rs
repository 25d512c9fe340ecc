//! The exporters of three signals, which share one byte budget.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::{Bytes, BytesMut};
use forebay_core::{BoxError, DropReason};
use forebay_export::{Batching, ByteBudget, Encode, Exporter, Skipped};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use std::{
    sync::{Arc, atomic::AtomicBool, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::time::sleep;
use tower::service_fn;

const SECOND: Duration = Duration::from_secs(1);
const BUDGET: usize = 10_000;

struct Nothing;

impl Encode<usize> for Nothing {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, _: &[usize], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        body.extend_from_slice(b"items");
        Ok(Skipped::NONE)
    }
}

fn exporter(budget: &ByteBudget, is_away: &Arc<AtomicBool>) -> Exporter<usize> {
    let is_away = Arc::clone(is_away);
    let client = service_fn(move |_: Request<Full<Bytes>>| {
        let is_away = is_away.load(Relaxed);
        async move { if is_away { Err(BoxError::from("away")) } else { Ok(Response::new(Full::new(Bytes::new()))) } }
    });
    Exporter::builder()
        .endpoint("https://far.example/")
        .encoder(Nothing)
        .client(client)
        .weigh(|bytes: &usize| *bytes)
        .byte_budget(budget)
        .batching(Batching::new().max_items(10).max_delay(SECOND))
        .quiet()
        .build()
        .unwrap()
}

fn is_kept(signals: &[Exporter<usize>], budget: &ByteBudget) {
    let held: usize = signals.iter().map(|signal| signal.handle().bytes()).sum();
    assert_eq!(held, budget.bytes());
    assert!(held <= BUDGET, "{held} bytes");
}

#[tokio::test(start_paused = true)]
async fn e06_three_signals_keep_one_limit_through_an_outage() {
    let (budget, is_away) = (ByteBudget::new(BUDGET).unwrap(), Arc::new(AtomicBool::new(true)));
    let signals: Vec<_> = (0..3).map(|_| exporter(&budget, &is_away)).collect();
    for round in 0..300 {
        signals.iter().enumerate().for_each(|(signal, exporter)| exporter.emit(10 + signal * 5 + round % 7));
        is_kept(&signals, &budget);
        sleep(SECOND / 10).await;
    }
    for signal in &signals {
        let totals = signal.totals();
        assert!(totals.dropped.get(DropReason::ByteBudget) > 0 && totals.balance(), "{totals}");
    }
    is_away.store(false, Relaxed);
    sleep(300 * SECOND).await;
    is_kept(&signals, &budget);
    assert_eq!(budget.bytes(), 0, "all is delivered or dropped");
    signals.iter().for_each(|signal| {
        signal.emit(10);
    });
    assert_eq!(budget.bytes(), 30);
    sleep(3 * SECOND).await;
    assert!(signals.iter().all(|signal| signal.totals().delivered > 0));
    assert_eq!(budget.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn e06_a_shutdown_and_a_switch_off_make_room_for_the_other_signals() {
    let (budget, is_away) = (ByteBudget::new(BUDGET).unwrap(), Arc::new(AtomicBool::new(true)));
    let [logs, spans, metrics] = std::array::from_fn(|_| exporter(&budget, &is_away));
    logs.emit(5_000);
    spans.emit(4_000);
    metrics.emit(1_000);
    assert_eq!(metrics.totals().dropped.get(DropReason::ByteBudget), 1);
    sleep(2 * SECOND).await;
    let report = logs.shutdown(SECOND).await;
    assert_eq!((report.unsent.len(), budget.bytes()), (1, 4_000));
    metrics.emit(1_000);
    assert_eq!(budget.bytes(), 5_000);
    spans.handle().switch_off();
    sleep(SECOND).await;
    assert_eq!(budget.bytes(), 1_000);
}
