//! What could not be delivered is spooled, and counted.

use crate::{
    harness::{Mode, Now, S, Server, emit, exporter, sorted, spool, until},
    support::{SimDisk, builder},
};
use forebay_export::{DropReason, Fate, Limits};
use std::{sync::Arc, time::Duration};
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

#[tokio::test(start_paused = true)]
async fn what_an_outage_leaves_behind_is_spooled_and_arrives_once_when_the_server_is_back() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(2 * S).build().unwrap();
    let lines = emit(&exporter, "line", 100);
    until("spooled", || exporter.totals().spooled == 100).await;
    let totals = exporter.totals();
    assert!(totals.balance() && totals.pending == 0 && totals.dropped.total() == 0, "{totals}");
    assert_eq!(spooled.pending(), 100);
    assert!(server.taken().is_empty());

    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 100).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert!(totals.balance() && totals.spooled == 0, "{totals}");
    assert_eq!((counters.replayed, counters.recovered, counters.evicted, counters.quarantined), (100, 0, 0, 0));
    assert_eq!(sorted(server.taken()), sorted(lines));
    assert_eq!(spooled.pending(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_without_time_spools_what_is_left_and_the_next_process_recovers_it() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::open(&disk);
    let first = exporter(&server).overflow_to(spool(&spooled)).build().unwrap();
    let lines = emit(&first, "line", 50);
    let began = Instant::now();
    let report = first.shutdown(4 * S).await;
    assert!(began.elapsed() <= 4 * S + Duration::from_millis(20), "{:?}", began.elapsed());
    assert_eq!((report.totals.spooled, report.totals.pending, report.unsent.len()), (50, 0, 0), "{}", report.totals);
    assert!(report.totals.balance());
    drop(first);
    sleep(S).await;
    let engine = Arc::into_inner(spooled.0).expect("the worker has ended").into_inner().unwrap();
    engine.close().unwrap();

    server.set(Mode::There);
    let spooled = Now::open(&disk);
    let second = exporter(&server).overflow_to(spool(&spooled)).build().unwrap();
    second.emit("fresh".to_owned());
    until("replayed", || second.counters().replayed == 50).await;
    second.flush().await;
    let (totals, counters) = (second.totals(), second.counters());
    assert_eq!((totals.offered, totals.delivered, totals.spooled), (1, 1, 0), "what is recovered is not offered twice");
    assert_eq!((counters.recovered, counters.replayed), (50, 50));
    assert!(totals.balance(), "{totals}");
    assert_eq!(sorted(server.taken()), sorted([lines, vec!["fresh".to_owned()]].concat()));
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_fills_makes_room_in_the_spool_and_drops_nothing() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server)
        .overflow_to(spool(&spooled))
        .limits(Limits::new().items(200))
        .attempt_timeout(60 * S)
        .spool_after(300 * S)
        .build()
        .unwrap();
    for round in 0..40 {
        emit(&exporter, &format!("round {round}"), 20);
        // The worker gets its turn, as it does where producers are not faster than a disk.
        sleep(Duration::from_millis(1)).await;
    }
    let totals = exporter.totals();
    assert_eq!((totals.offered, totals.dropped.total()), (800, 0), "{totals}");
    assert!(totals.pending <= 200 && totals.spooled >= 600 && totals.balance(), "{totals}");
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 800).await;
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn one_open_batch_that_fills_the_queue_is_spooled_from_the_first_refusal_on() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server)
        .overflow_to(spool(&spooled))
        .limits(Limits::new().items(100))
        .batching(forebay_export::Batching::new().max_items(1000).max_delay(600 * S))
        .build()
        .unwrap();
    for _ in 0..10 {
        emit(&exporter, "line", 100);
        sleep(Duration::from_millis(1)).await;
    }
    let totals = exporter.totals();
    // A burst that no disk could follow is refused at the door, as it is without a spool.
    assert_eq!((totals.offered, totals.dropped.get(DropReason::SoftLimit)), (1000, 100), "{totals}");
    assert!(totals.spooled >= 800 && totals.balance(), "{totals}");
}

#[tokio::test(start_paused = true)]
async fn what_the_spool_evicts_is_dropped_and_counted() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::of(builder(&disk).max_records(60));
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    for round in 0..10 {
        emit(&exporter, &format!("round {round}"), 16);
        sleep(2 * S).await;
    }
    until("evicted", || exporter.counters().evicted >= 100).await;
    let pending = spooled.pending();
    until("compared", || exporter.totals().spooled == pending).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert_eq!(totals.dropped.get(DropReason::Evicted), 160 - pending, "{totals}");
    assert_eq!((counters.evicted, totals.pending), (160 - pending, 0), "{totals}");
    assert!(totals.balance());
}

#[tokio::test(start_paused = true)]
async fn an_item_that_no_record_can_hold_costs_only_itself() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    // A record may have 64 KiB in the tests.
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    for item in ["one", "never", "panic", "two", &"x".repeat(70 << 10), "three", "panic at decode"] {
        exporter.emit(item.to_owned());
    }
    until("spooled", || exporter.totals().pending == 0).await;
    let totals = exporter.totals();
    assert_eq!((totals.spooled, totals.dropped.get(DropReason::Encode)), (4, 3), "{totals}");
    server.set(Mode::There);
    until("delivered", || exporter.totals().spooled == 0).await;
    assert_eq!(sorted(server.taken()), ["one", "three", "two"]);
    let dead = spooled.dead();
    assert_eq!((dead.len(), dead[0].0.as_str()), (1, "it cannot be decoded: the codec panics"));
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_drops_as_without_a_spool() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::of(builder(&disk).max_records(20).overflow(forebay_spool::Overflow::Refuse));
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    emit(&exporter, "line", 48);
    until("settled", || exporter.totals().pending == 0).await;
    let totals = exporter.totals();
    assert!(totals.spooled >= 16 && totals.dropped.get(DropReason::Expired) >= 16 && totals.balance(), "{totals}");
}

#[tokio::test(start_paused = true)]
async fn what_is_switched_off_is_neither_spooled_nor_replayed() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(2 * S).build().unwrap();
    emit(&exporter, "line", 20);
    until("spooled", || exporter.totals().spooled == 20).await;
    emit(&exporter, "off", 20);
    sleep(S / 2).await;
    exporter.handle().switch_off();
    server.set(Mode::There);
    sleep(60 * S).await;
    let totals = exporter.totals();
    assert_eq!((totals.spooled, totals.dropped.get(DropReason::Disabled)), (20, 20), "{totals}");
    assert!(server.taken().is_empty());
    exporter.handle().switch_on();
    until("delivered", || exporter.totals().delivered == 20).await;
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn a_caller_gets_the_fate_spooled() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    assert_eq!(exporter.clone().oneshot("line".to_owned()).await, Ok(Fate::Spooled));
}

/// The age at which an item is spooled, at the ends of its range.
#[tokio::test(start_paused = true)]
async fn f02_every_age_is_borne() {
    for age in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX] {
        let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
        let exporter = exporter(&server).overflow_to(spool(&Now::open(&disk))).spool_after(age).build().unwrap();
        let lines = emit(&exporter, "line", 20);
        sleep(20 * S).await;
        assert_eq!(exporter.totals().spooled, if age < S { 20 } else { 0 }, "{age:?}");
        server.set(Mode::There);
        until("delivered", || exporter.totals().delivered == 20).await;
        assert_eq!(sorted(server.taken()), sorted(lines), "{age:?}");
        assert!(exporter.totals().balance() && exporter.totals().pending == 0, "{age:?}");
    }
}
