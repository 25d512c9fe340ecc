//! A durable intake: a sender gets its response once its batch is in the spool, and the batch is stored from there.

use crate::support::{Gate, Kind, Sender, Temp, batches, config, on_a_disk_that_may_break, spool, until};
use forebay::core::{BoxError, DropReason};
use forebay_gateway::{Config, Gateway, StartError, sink::Sink};
use forebay_spool::Durability;
use std::{
    num::{NonZeroU8, NonZeroU64},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

fn durable(temp: &Temp) -> Config {
    Config { durability: Some(Durability::Process), spool: Some(spool(temp)), ..config() }
}

#[tokio::test]
async fn s01_a_sender_gets_its_response_once_its_batch_is_in_the_spool() {
    let temp = Temp::new("durable");
    let gate = Gate::closed();
    let gateway = Gateway::start(durable(&temp), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..20 {
        assert!(sender.send_as("shop", Kind::Healthy, n).await.is_taken());
    }
    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.offered, totals.spooled, totals.delivered, totals.pending), (20, 20, 0, 0));
    gate.let_through(20);
    until(|| batches(&gateway)[0].delivered == 20).await;
    let mut names = gate.names();
    names.sort_by_key(|name| name[5..].parse::<u32>().unwrap());
    assert_eq!(names, (0..20).map(|n| format!("span {n}")).collect::<Vec<_>>(), "each of them once");
    assert!(gate.taken.lock().unwrap().iter().all(|batch| &*batch.tenant == "shop"));
    let summary = gateway.stop().await;
    assert!(summary.balances() && summary.spool.batches == 0, "{summary}");
}

#[tokio::test]
async fn what_is_urgent_leaves_the_spool_first() {
    let temp = Temp::new("durable-lanes");
    let gate = Gate::closed();
    let config = || Config { workers: std::num::NonZeroUsize::MIN, ..durable(&temp) };
    let gateway = Gateway::start(config(), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    // The sink has one in its hands, so that the others wait.
    for (n, kind) in [Kind::Healthy, Kind::Healthy, Kind::Failed, Kind::Healthy, Kind::Slow].into_iter().enumerate() {
        assert!(sender.send(kind, n as u64).await.is_taken());
        until(|| gate.entered() == 1).await;
    }
    assert_eq!(gateway.stop().await.spool.batches, 5);
    gate.let_through(5);
    let gateway = Gateway::start(config(), gate.sink()).await.unwrap();
    until(|| gateway.summary().recovered.delivered == 5).await;
    assert_eq!(gate.names(), ["span 2", "span 4", "span 0", "span 1", "span 3"]);
    let summary = gateway.stop().await;
    assert_eq!((summary.recovered.found, summary.pages[0].batches().offered), (5, 0), "{summary}");
}

#[tokio::test]
async fn s05_what_the_spool_has_no_room_for_is_refused_and_nothing_acknowledged_is_dropped() {
    let temp = Temp::new("durable-full");
    let gate = Gate::closed();
    let mut config = durable(&temp);
    config.spool.as_mut().unwrap().batches = NonZeroU64::new(10).unwrap();
    let gateway = Gateway::start(config, gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..9 {
        assert!(sender.send(Kind::Healthy, n).await.is_taken());
    }
    assert_eq!(sender.send(Kind::Healthy, 9).await.rejected(), 1, "only what is urgent enters from here on");
    assert!(sender.send(Kind::Failed, 10).await.is_taken());
    let full = sender.send(Kind::Failed, 11).await;
    assert_eq!((full.status.as_u16(), full.headers.contains_key("retry-after")), (429, true));
    let [totals, ..] = batches(&gateway);
    let dropped =
        [DropReason::SoftLimit, DropReason::Full, DropReason::Evicted].map(|reason| totals.dropped.get(reason));
    assert_eq!((totals.spooled, dropped), (10, [1, 1, 0]));
    gate.let_through(10);
    until(|| batches(&gateway)[0].delivered == 10).await;
    assert!(sender.send(Kind::Healthy, 12).await.is_taken(), "there is room again");
    assert!(gateway.stop().await.balances());
}

#[tokio::test]
async fn a_broken_spool_refuses_with_503_and_recovers() {
    let temp = Temp::new("durable-broken");
    let mut config = durable(&temp);
    let broken = on_a_disk_that_may_break(config.spool.as_mut().unwrap());
    let gate = Gate::closed();
    let gateway = Gateway::start(config, gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    broken.store(true, Relaxed);
    for n in 0..3 {
        assert_eq!(sender.send(Kind::Healthy, n).await.status, 503);
    }
    broken.store(false, Relaxed);
    assert!(sender.send(Kind::Healthy, 3).await.is_taken());
    gate.let_through(1);
    until(|| batches(&gateway)[0].delivered == 1).await;
    assert!(gateway.stop().await.balances());
}

#[tokio::test]
async fn an_outage_of_the_sink_counts_against_no_batch_and_poison_ends_in_dead_letters() {
    let temp = Temp::new("durable-outage");
    let away = Arc::new(AtomicBool::new(true));
    let is_away = Arc::clone(&away);
    let sink = Sink::of_fn(move |batch| {
        let fails = is_away.load(Relaxed) || &*batch.tenant == "poison";
        async move { if fails { Err(BoxError::from("the sink does not take it")) } else { Ok(()) } }
    });
    let mut config = durable(&temp);
    let wanted = config.spool.as_mut().unwrap();
    wanted.tries = NonZeroU8::new(3).unwrap();
    wanted.pace.interval = Duration::from_millis(5);
    let gateway = Gateway::start(config, sink).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..9 {
        assert!(sender.send_as(if n == 0 { "poison" } else { "shop" }, Kind::Healthy, n).await.is_taken());
    }
    let failed = "forebay_gateway_dlq_total{signal=\"traces\",result=\"replay_failed\"}";
    // Far more tries than all batches have together.
    let tried = async { while crate::support::value(&sender.get("/metrics").await.1, failed).unwrap() < 30.0 {} };
    assert!(tokio::time::timeout(Duration::from_secs(20), tried).await.is_ok(), "{}", gateway.summary());
    assert_eq!(gateway.summary().spool.dead, 0);
    away.store(false, Relaxed);
    until(|| batches(&gateway)[0].delivered == 8).await;
    until(|| batches(&gateway)[0].dropped.get(DropReason::RetriesExhausted) == 1).await;
    let summary = gateway.stop().await;
    assert_eq!((summary.spool.batches, summary.spool.dead, summary.balances()), (0, 1, true), "{summary}");
}

#[tokio::test]
async fn a_durable_intake_needs_a_spool() {
    let wanted = Config { durability: Some(Durability::Process), ..config() };
    let started = Gateway::start(wanted, Gate::closed().sink()).await;
    assert!(matches!(started.unwrap_err(), StartError::Config(error) if error.knob() == "durability"));
}
