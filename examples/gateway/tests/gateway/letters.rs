//! Batches that the sink did not take.

use crate::support::{
    Kind, Sender, Temp, assert_ledger, batches, config, failing, on_a_disk_that_may_break, spool, value,
};
use forebay::core::DropReason;
use forebay_gateway::{Config, Gateway};
use forebay_spool::{DiskSpool, Engine, Group, NewRecord};
use std::{
    num::{NonZeroU8, NonZeroU64, NonZeroUsize},
    sync::atomic::Ordering::Relaxed,
    time::Duration,
};

async fn with_failures(temp: &Temp, failures: usize, change: impl FnOnce(&mut Config)) -> (Gateway, Sender) {
    let mut config = Config { workers: NonZeroUsize::MIN, spool: Some(spool(temp)), ..config() };
    change(&mut config);
    let gateway = Gateway::start(config, failing(failures)).await.unwrap();
    let sender = Sender::to(&gateway);
    (gateway, sender)
}

async fn counted(sender: &Sender, result: &str) -> Option<f64> {
    let (_, page) = sender.get("/metrics").await;
    value(&page, &format!("forebay_gateway_dlq_total{{signal=\"traces\",result=\"{result}\"}}"))
}

#[tokio::test]
async fn without_a_spool_a_failed_batch_is_dropped_and_counted() {
    let temp = Temp::new("none");
    let (gateway, sender) = with_failures(&temp, 1, |config| config.spool = None).await;
    sender.send(Kind::Healthy, 1).await;
    gateway.flush().await;
    assert_eq!(batches(&gateway)[0].dropped.get(DropReason::Failed), 1);
    assert_eq!(counted(&sender, "no_sink").await, Some(1.0));
    // The slot and its bytes are free.
    assert_eq!(value(&sender.get("/metrics").await.1, "forebay_gateway_queue_bytes"), Some(0.0));
    assert_ledger(&gateway);
}

#[tokio::test]
async fn a_spool_that_takes_nothing_is_counted_as_well() {
    let temp = Temp::new("gone");
    let mut broken = None;
    let (gateway, sender) = with_failures(&temp, 1, |config| {
        broken = Some(on_a_disk_that_may_break(config.spool.as_mut().unwrap()));
    })
    .await;
    broken.unwrap().store(true, Relaxed);
    sender.send(Kind::Healthy, 1).await;
    gateway.flush().await;
    assert_eq!(batches(&gateway)[0].dropped.get(DropReason::Failed), 1);
    assert_eq!(counted(&sender, "enqueue_failed").await, Some(1.0));
    assert_ledger(&gateway);
}

#[tokio::test]
async fn failures_at_the_same_time_are_all_kept_in_private_files() {
    let temp = Temp::new("collide");
    let (gateway, sender) = with_failures(&temp, usize::MAX, |config| {
        config.workers = NonZeroUsize::new(16).unwrap();
    })
    .await;
    for n in 0..100 {
        sender.send(Kind::Failed, n).await;
    }
    gateway.flush().await;
    assert_eq!((batches(&gateway)[0].spooled, gateway.summary().spool.batches), (100, 100));
    for file in std::fs::read_dir(temp.path().join("spool")).unwrap() {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    assert_ledger(&gateway);
    gateway.stop().await;
    let mut ids = std::collections::BTreeSet::new();
    let verified = engine(&temp).read_all(|record, destinations| {
        assert_eq!(destinations, ["sink"]);
        ids.insert(record.payload.clone());
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!((verified.records, verified.bad, ids.len()), (100, 0, 100));
}

#[tokio::test]
async fn the_oldest_letters_make_room_and_are_counted() {
    let temp = Temp::new("evict");
    let (gateway, sender) = with_failures(&temp, 5, |config| {
        config.spool.as_mut().unwrap().batches = NonZeroU64::new(3).unwrap();
    })
    .await;
    for n in 0..5 {
        sender.send(Kind::Healthy, n).await;
    }
    gateway.flush().await;
    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.spooled, totals.dropped.get(DropReason::Evicted)), (3, 2));
    assert_eq!((counted(&sender, "enqueued").await, counted(&sender, "evicted").await), (Some(5.0), Some(2.0)));
    assert_eq!(sender.get("/readyz").await.0, 503, "a spool that is full is no place to send to");
    assert_ledger(&gateway);
}

#[tokio::test]
async fn a_round_replays_no_more_than_it_may_and_a_sink_that_is_away_ends_it() {
    let temp = Temp::new("rounds");
    // Ten fail, and three replays after them.
    let (gateway, sender) = with_failures(&temp, 13, |config| {
        config.spool.as_mut().unwrap().pace.most = NonZeroUsize::new(4).unwrap();
    })
    .await;
    for n in 0..10 {
        sender.send(Kind::Healthy, n).await;
    }
    gateway.flush().await;
    let round = gateway.replay().await;
    assert_eq!((round.replayed, round.failed), (0, 3), "three in a row are enough");
    for replayed in [4, 4, 2, 0] {
        assert_eq!(gateway.replay().await.replayed, replayed);
    }
    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.delivered, totals.spooled), (10, 0));
    assert_eq!(counted(&sender, "replay_failed").await, Some(3.0));
    assert_ledger(&gateway);
}

#[tokio::test]
async fn a_sink_that_is_away_counts_against_no_batch() {
    let temp = Temp::new("away");
    let (gateway, sender) = with_failures(&temp, usize::MAX, |config| {
        config.spool.as_mut().unwrap().tries = NonZeroU8::new(2).unwrap();
    })
    .await;
    for n in 0..5 {
        sender.send(Kind::Healthy, n).await;
    }
    gateway.flush().await;
    for _ in 0..6 {
        let round = gateway.replay().await;
        assert_eq!((round.replayed, round.failed), (0, 3));
    }
    assert_eq!((batches(&gateway)[0].spooled, gateway.summary().spool.dead), (5, 0));
    assert_ledger(&gateway);
}

#[tokio::test]
async fn batches_that_are_never_taken_do_not_keep_the_others_from_the_sink() {
    let temp = Temp::new("behind");
    let seen = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let sink = forebay_gateway::sink::Sink::of_fn(move |batch| {
        // At first none is taken; of those that are replayed, the first three never are.
        let fails = seen.fetch_add(1, Relaxed) < 6 || &*batch.tenant == "poison";
        async move { if fails { Err("not this one".into()) } else { Ok(()) } }
    });
    let config = Config { workers: NonZeroUsize::MIN, spool: Some(spool(&temp)), ..config() };
    let gateway = Gateway::start(config, sink).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..6 {
        sender.send_as(if n < 3 { "poison" } else { "" }, Kind::Healthy, n).await;
    }
    gateway.flush().await;
    let rounds = [gateway.replay().await, gateway.replay().await].map(|round| (round.replayed, round.failed));
    assert_eq!(rounds, [(0, 3), (3, 3)], "the second round begins with the newest");
    assert_ledger(&gateway);
}

#[tokio::test]
async fn s07_a_batch_that_is_never_taken_is_a_dead_letter_until_it_is_requeued() {
    let temp = Temp::new("poison");
    let (gateway, sender) = with_failures(&temp, usize::MAX, |config| {
        config.spool.as_mut().unwrap().tries = NonZeroU8::new(2).unwrap();
    })
    .await;
    sender.send(Kind::Failed, 1).await;
    gateway.flush().await;
    gateway.replay().await;
    assert_eq!(batches(&gateway)[0].spooled, 1);
    gateway.replay().await;
    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.spooled, totals.dropped.get(DropReason::RetriesExhausted)), (0, 1));
    assert_eq!(counted(&sender, "given_up").await, Some(1.0));
    assert_eq!((gateway.summary().spool.batches, gateway.summary().spool.dead), (0, 1));
    assert_ledger(&gateway);
    gateway.stop().await;

    // What `forebay-spool requeue` does.
    let mut engine = engine(&temp);
    let letters = engine.dead_letters(None, 9).unwrap();
    assert_eq!((letters.len(), &*letters[0].destination, &letters[0].record.key[..]), (1, "sink", &b"traces"[..]));
    assert_eq!(engine.requeue(None, None, |_| ()).unwrap(), 1);
    engine.close().unwrap();
    let (gateway, _) = with_failures(&temp, 0, |_| ()).await;
    assert_eq!((gateway.summary().recovered.found, gateway.replay().await.replayed), (1, 1));
    assert_eq!((gateway.summary().recovered.delivered, gateway.summary().spool.dead), (1, 0));
    assert_ledger_of_found(&gateway);
}

#[tokio::test]
async fn replay_comes_by_itself_and_knows_how_often_a_letter_was_tried_before_a_restart() {
    let temp = Temp::new("itself");
    let config = || Config { workers: NonZeroUsize::MIN, spool: Some(spool(&temp)), ..config() };
    let gateway = Gateway::start(config(), failing(2)).await.unwrap();
    Sender::to(&gateway).send(Kind::Healthy, 1).await;
    gateway.flush().await;
    assert_eq!(gateway.replay().await.failed, 1);
    gateway.stop().await;
    let mut tried = Vec::new();
    engine(&temp).read_all(|record, _| {
        tried.push(record.attempts);
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(tried, [1]);

    let mut often = config();
    often.spool.as_mut().unwrap().pace.interval = Duration::from_millis(5);
    let gateway = Gateway::start(often, failing(0)).await.unwrap();
    crate::support::until(|| gateway.summary().recovered.delivered == 1).await;
    assert_ledger_of_found(&gateway);
}

#[tokio::test]
async fn tries_are_counted_over_a_restart() {
    let temp = Temp::new("counted");
    let twice = |config: &mut Config| config.spool.as_mut().unwrap().tries = NonZeroU8::new(2).unwrap();
    let (gateway, sender) = with_failures(&temp, usize::MAX, twice).await;
    sender.send(Kind::Healthy, 1).await;
    gateway.flush().await;
    assert_eq!(gateway.replay().await.failed, 1);
    gateway.stop().await;
    // One try is left of two.
    let (gateway, sender) = with_failures(&temp, usize::MAX, twice).await;
    gateway.replay().await;
    assert_eq!(counted(&sender, "given_up").await, Some(1.0));
    let summary = gateway.summary();
    assert_eq!((summary.recovered.dropped, summary.spool.batches, summary.spool.dead), (1, 0, 1), "{summary}");
}

#[tokio::test]
async fn a_record_that_is_no_batch_is_quarantined_and_counted() {
    let temp = Temp::new("foreign");
    let mut foreign = DiskSpool::builder(temp.path().join("spool"))
        .destination("sink", "sink")
        .open_engine(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    foreign.append(vec![Group::new([NewRecord::new("half a let")])], 0).remove(0).unwrap();
    foreign.close().unwrap();
    let (gateway, sender) = with_failures(&temp, 1, |_| ()).await;
    sender.send(Kind::Healthy, 1).await;
    gateway.flush().await;
    let round = gateway.replay().await;
    assert_eq!((round.replayed, round.failed), (1, 0), "the rest goes on");
    let (_, page) = sender.get("/metrics").await;
    assert_eq!(value(&page, "forebay_gateway_dlq_unreadable_total"), Some(1.0));
    let summary = gateway.stop().await;
    assert_eq!((summary.pages[0].batches().delivered, summary.recovered.dropped, summary.spool.dead), (1, 1, 1));
    let letters = engine(&temp).dead_letters(None, 9).unwrap();
    assert_eq!((&*letters[0].reason, &letters[0].record.payload[..]), ("no batch of a gateway", &b"half a let"[..]));
}

/// The spool, as the program `forebay-spool` opens it.
fn engine(temp: &Temp) -> Engine {
    DiskSpool::builder(temp.path().join("spool")).open_engine(std::time::SystemTime::UNIX_EPOCH).unwrap()
}

/// A batch that was found was never in this run's queue.
fn assert_ledger_of_found(gateway: &Gateway) {
    let summary = gateway.summary();
    assert!(summary.balances() && summary.queue.offered == 0, "{summary}");
}

#[tokio::test]
async fn f23_readiness_and_responses_follow_the_spool() {
    let temp = Temp::new("full");
    let mut broken = None;
    let (gateway, sender) = with_failures(&temp, 1, |config| {
        broken = Some(on_a_disk_that_may_break(config.spool.as_mut().unwrap()));
    })
    .await;
    let broken = broken.unwrap();
    broken.store(true, Relaxed);
    assert!(sender.send(Kind::Healthy, 1).await.is_taken());
    gateway.flush().await;
    let (status, why) = sender.get("/readyz").await;
    assert_eq!(status, 503);
    assert!(why.contains("the spool cannot be written to") && why.contains("the disk is broken"), "{why}");
    let refused = sender.send(Kind::Healthy, 2).await;
    assert_eq!((refused.status.as_u16(), refused.headers.contains_key("retry-after")), (503, true));
    assert_eq!(value(&sender.get("/metrics").await.1, "forebay_gateway_ready"), Some(0.0));

    broken.store(false, Relaxed);
    assert_eq!(sender.get("/readyz").await.0, 200, "it recovers by itself");
    assert!(sender.send(Kind::Healthy, 3).await.is_taken());
    assert_ledger(&gateway);
}

/// A spool that is broken is not written to by each sender that is refused.
#[tokio::test]
async fn f23_a_broken_spool_is_tried_no_more_often_than_it_may_be() {
    let temp = Temp::new("probes");
    let mut broken = None;
    let (gateway, sender) = with_failures(&temp, 1, |config| {
        config.spool.as_mut().unwrap().probe_every = Duration::from_secs(3600);
        broken = Some(on_a_disk_that_may_break(config.spool.as_mut().unwrap()));
    })
    .await;
    let broken = broken.unwrap();
    broken.store(true, Relaxed);
    assert!(sender.send(Kind::Healthy, 1).await.is_taken());
    gateway.flush().await;
    // It could be written to again, and is not tried before its time.
    broken.store(false, Relaxed);
    for n in 2..10 {
        assert_eq!(sender.send(Kind::Healthy, n).await.status, 503);
        let (status, why) = sender.get("/readyz").await;
        assert_eq!(status, 503);
        assert!(why.contains("the spool cannot be written to"), "{why}");
    }
    assert_eq!(gateway.summary().spool.batches, 0);
    assert_ledger(&gateway);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn f23_a_folder_that_cannot_be_written_stops_the_start() {
    // It can be opened and read, and no user can make a file there, root included.
    let folder = forebay_gateway::SpoolConfig::new("/proc/self/fdinfo".into());
    let started = Gateway::start(Config { spool: Some(folder), ..config() }, failing(0)).await;
    let error = started.unwrap_err();
    assert_eq!(error.to_string(), "/proc/self/fdinfo cannot be used");
}

#[tokio::test]
async fn f23_a_stop_puts_aside_more_batches_than_a_thousand() {
    let temp = Temp::new("many");
    let gate = crate::support::Gate::closed();
    let wanted =
        Config { workers: NonZeroUsize::MIN, drain: Duration::from_millis(1), spool: Some(spool(&temp)), ..config() };
    let gateway = Gateway::start(wanted, gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..1_100 {
        assert!(sender.send(Kind::Healthy, n).await.is_taken());
    }
    let summary = gateway.stop().await;
    let totals = summary.pages[0].batches();
    assert_eq!((totals.spooled, totals.dropped.total()), (1_100, 0), "{summary}");
}
