//! The Collector is late, ends, or is killed, and nothing is lost.

use crate::{collector::Collector, normal};
use forebay::{
    batch::Batching,
    export::Exporter,
    otlp::{LogRecord, LogsEncoder, Signal},
    retry::Backoff,
};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::sleep;

/// Numbers its records, and knows how many there are.
#[derive(Clone)]
struct Source {
    exporter: Exporter<LogRecord>,
    emitted: Arc<AtomicI64>,
}

impl Source {
    fn to(collector: &Collector) -> Self {
        let exporter = Exporter::builder()
            .endpoint(&collector.url(Signal::Logs.path()))
            .encoder(LogsEncoder::builder().build().unwrap())
            .client(Client::builder(TokioExecutor::new()).build_http())
            .batching(Batching::new().max_items(50).max_delay(Duration::from_millis(20)))
            .breaker(|breaker| breaker.open_for(Duration::from_millis(200)))
            .park_backoff(Backoff::constant(Duration::from_millis(100)))
            .build()
            .unwrap();
        Self { exporter, emitted: Arc::default() }
    }

    fn emit(&self, count: usize) {
        for _ in 0..count {
            self.exporter.emit(LogRecord::new(self.emitted.fetch_add(1, Relaxed)));
        }
    }

    /// Emits on and on, until the answer is dropped.
    fn emit_steadily(&self) -> Steadily {
        let (source, on) = (self.clone(), Arc::new(AtomicBool::new(true)));
        let keep = Arc::clone(&on);
        tokio::spawn(async move {
            while keep.load(Relaxed) {
                source.emit(20);
                sleep(Duration::from_millis(2)).await;
            }
        });
        Steadily(on)
    }

    fn totals(&self) -> (u64, u64) {
        let totals = self.exporter.totals();
        (totals.delivered, totals.dropped.total())
    }
}

struct Steadily(Arc<AtomicBool>);

impl Drop for Steadily {
    fn drop(&mut self) {
        self.0.store(false, Relaxed);
    }
}

/// How often the Collector took each record.
fn taken(collector: &Collector) -> BTreeMap<i64, usize> {
    let mut all = BTreeMap::new();
    for (.., record) in normal::logs(&collector.logs()) {
        let Some(Value::IntValue(number)) = record.body.and_then(|body| body.value) else { panic!("no number") };
        *all.entry(number).or_default() += 1;
    }
    all
}

/// Waits until as many different records were taken as were emitted.
async fn all_taken(collector: &Collector, source: &Source) -> BTreeMap<i64, usize> {
    let expected = usize::try_from(source.emitted.load(Relaxed)).unwrap();
    let found = collector.wait_for(expected, |collector| taken(collector).into_iter().collect()).await;
    assert_eq!(found.len(), expected);
    found.into_iter().collect()
}

#[tokio::test]
async fn started_late() {
    let mut collector = Collector::new("late");
    let source = Source::to(&collector);
    source.emit(2_000);
    sleep(Duration::from_millis(700)).await;
    assert_eq!(source.totals(), (0, 0), "the Collector is not there yet");

    collector.start().await;
    source.exporter.flush().await;

    assert_eq!(source.totals(), (2_000, 0));
    assert!(all_taken(&collector, &source).await.values().all(|times| *times == 1));
}

#[tokio::test]
async fn killed_while_nothing_is_under_way() {
    let mut collector = Collector::started("killed").await;
    let source = Source::to(&collector);
    source.emit(500);
    source.exporter.flush().await;
    // On its disk, so that a kill cannot take it away.
    all_taken(&collector, &source).await;

    collector.kill();
    source.emit(1_500);
    sleep(Duration::from_millis(700)).await;
    assert_eq!(source.totals(), (500, 0));
    collector.start().await;
    source.exporter.flush().await;

    assert_eq!(source.totals(), (2_000, 0));
    assert!(all_taken(&collector, &source).await.values().all(|times| *times == 1));
}

#[tokio::test]
async fn restarted_three_times_under_load() {
    let mut collector = Collector::started("restarted").await;
    let source = Source::to(&collector);
    let steadily = source.emit_steadily();
    for _ in 0..3 {
        sleep(Duration::from_millis(300)).await;
        collector.terminate();
        sleep(Duration::from_millis(300)).await;
        collector.start().await;
    }
    sleep(Duration::from_millis(300)).await;
    drop(steadily);
    sleep(Duration::from_millis(50)).await;
    source.exporter.flush().await;

    let emitted = u64::try_from(source.emitted.load(Relaxed)).unwrap();
    assert_eq!(source.totals(), (emitted, 0));
    let times = all_taken(&collector, &source).await;
    // A request whose answer was cut off is sent again: once and a half is better than not at all, and OTLP has no other way.
    let twice = times.values().filter(|times| **times > 1).count();
    println!("restarted under load: {emitted} records emitted, all taken, {twice} of them more than once");
    assert!(twice <= 3 * 50, "only what was under way when it ended can come twice");
}

#[tokio::test]
async fn killed_under_load() {
    let mut collector = Collector::started("killed-under-load").await;
    let source = Source::to(&collector);
    let steadily = source.emit_steadily();
    sleep(Duration::from_millis(500)).await;
    collector.kill();
    sleep(Duration::from_millis(300)).await;
    collector.start().await;
    sleep(Duration::from_millis(300)).await;
    drop(steadily);
    sleep(Duration::from_millis(50)).await;
    source.exporter.flush().await;

    let emitted = u64::try_from(source.emitted.load(Relaxed)).unwrap();
    assert_eq!(source.totals(), (emitted, 0));
    // What the Collector had acknowledged and not written yet is lost with it, and was never ours to keep.
    collector.terminate();
    let missing = emitted - taken(&collector).len() as u64;
    println!("killed under load: {emitted} records acknowledged, {missing} of them lost by the Collector itself");
    assert!(missing < emitted / 4, "no more than the Collector holds for 20 ms");
}
