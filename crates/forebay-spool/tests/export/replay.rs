//! How a backlog is sent: behind the circuit, at a bounded rate, beside what is fresh, each destination by itself.

use crate::{
    harness::{Mode, Now, S, Server, Text, emit, exporter, sorted, spool, until},
    support::{SimDisk, builder},
};
use bytes::Bytes;
use forebay_export::DropReason;
use forebay_spool::{ExporterSpool, replay::ReplayPolicy};
use std::time::Duration;
use tokio::time::{Instant, advance, sleep};

#[tokio::test(start_paused = true)]
async fn an_outage_costs_one_request_per_backoff_and_no_storm() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(2 * S).build().unwrap();
    emit(&exporter, "line", 500);
    until("spooled", || exporter.totals().spooled == 500).await;
    let before = server.requests();
    advance(Duration::ZERO).await;
    sleep(600 * S).await;
    // One probe a minute once the backoff has grown, each with its retry; and while it grows, a few more.
    let requests = server.requests() - before;
    assert!((4..=60).contains(&requests), "{requests}");
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 500).await;
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn a_backlog_never_starves_what_is_fresh() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let policy = ReplayPolicy::default().ramp(S).max_records_per_second(500);
    let backlog = spool(&spooled).policy(policy).unwrap();
    let exporter = exporter(&server).overflow_to(backlog).spool_after(S).build().unwrap();
    for round in 0..50 {
        emit(&exporter, &format!("old {round}"), 100);
        sleep(S / 10).await;
    }
    until("spooled", || exporter.totals().spooled == 5000).await;
    server.set(Mode::There);
    until("the first is delivered", || exporter.totals().delivered > 0).await;
    // The circuit closes, its ramp ends, and so does what is left of the pause that it asked of live items: 5 s, and up to a tenth.
    sleep(6 * S).await;
    let backlog = exporter.totals().spooled;
    assert!(backlog > 1000, "{backlog}");
    let mut emitted = Vec::new();
    for number in 0..200 {
        emitted.push(Instant::now());
        exporter.emit(format!("fresh {number}"));
        sleep(Duration::from_millis(10)).await;
    }
    let drained = backlog - exporter.totals().spooled;
    assert!(drained >= 500, "the backlog drains beside it: {drained}");
    until("delivered", || exporter.totals().delivered == 5200).await;
    for (line, arrived) in &*server.0.1.lock().unwrap() {
        if let Some(number) = line.strip_prefix("fresh ") {
            let took = *arrived - emitted[number.parse::<usize>().unwrap()];
            assert!(took <= Duration::from_millis(60), "{line}: {took:?}");
        }
    }
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn poison_in_the_spool_costs_only_itself_and_is_a_dead_letter() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let exporter = exporter(&server).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    emit(&exporter, "line", 20);
    exporter.emit("bad one".to_owned());
    emit(&exporter, "more", 20);
    until("spooled", || exporter.totals().spooled == 41).await;
    server.set(Mode::Picky);
    until("settled", || exporter.totals().spooled == 0).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected)), (40, 1), "{totals}");
    assert_eq!((counters.replayed, counters.quarantined), (40, 1));
    assert!(totals.balance());
    assert_eq!(spooled.dead(), [("rejected".to_owned(), Bytes::from_static(b"bad one"))]);
    // A dead letter that is requeued was counted already: it is recovered.
    assert_eq!(spooled.0.lock().unwrap().requeue(None, None, |_| ()).unwrap(), 1);
    server.set(Mode::There);
    until("replayed", || exporter.counters().replayed == 41).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert_eq!(
        (totals.delivered, totals.dropped.get(DropReason::Rejected), counters.recovered),
        (40, 1, 1),
        "{totals}"
    );
    assert!(totals.balance());
}

#[tokio::test(start_paused = true)]
async fn s07_what_fails_again_and_again_is_soon_alone_and_ends_among_the_dead_letters() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    // Nothing may be spent on finding out which item is at fault.
    let exporter = exporter(&server).split_budget(0).overflow_to(spool(&spooled)).spool_after(S).build().unwrap();
    let mut lines = emit(&exporter, "line", 30);
    exporter.emit("bad one".to_owned());
    lines.extend(emit(&exporter, "more", 30));
    until("spooled", || exporter.totals().spooled == 61).await;
    server.set(Mode::Picky);
    until("settled", || exporter.totals().spooled == 0).await;
    let (totals, counters) = (exporter.totals(), exporter.counters());
    assert_eq!((totals.delivered, counters.replayed, counters.quarantined), (60, 60, 1), "{totals}");
    assert!(totals.balance());
    assert_eq!(sorted(server.taken()), sorted(lines));
    assert_eq!(spooled.dead()[0].1, "bad one");
}

#[tokio::test(start_paused = true)]
async fn s06_the_replay_sends_no_more_a_second_than_its_policy_allows() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let policy = ReplayPolicy::default().ramp(2 * S).max_records_per_second(100).batch(50, 1 << 20);
    let slow = spool(&spooled).policy(policy).unwrap();
    let exporter = exporter(&server).overflow_to(slow).spool_after(S).build().unwrap();
    emit(&exporter, "line", 1000);
    until("spooled", || exporter.totals().spooled == 1000).await;
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 1000).await;
    let taken: Vec<_> = server.0.1.lock().unwrap().iter().map(|(_, at)| *at).collect();
    let within = |from: Duration, to: Duration| {
        taken.iter().filter(|at| (from..to).contains(&at.duration_since(taken[0]))).count()
    };
    assert!(within(Duration::ZERO, S) <= 60, "the rate grows: {}", within(Duration::ZERO, S));
    for second in 3..9 {
        let records = within(second * S, (second + 1) * S);
        assert!((80..=120).contains(&records), "second {second}: {records}");
    }
}

#[tokio::test(start_paused = true)]
async fn s08_two_exporters_share_a_spool_and_each_sends_what_is_its_own() {
    let disk = SimDisk::new();
    let servers = [Server::new(Mode::Away), Server::new(Mode::Away)];
    let spooled = Now::of(builder(&disk).destination("second", "https://b.example"));
    let of = |server: &Server, name: &str| {
        let spool = ExporterSpool::new(spooled.clone(), name, Text);
        exporter(server).overflow_to(spool).spool_after(S).build().unwrap()
    };
    let exporters = [of(&servers[0], "main"), of(&servers[1], "second")];
    let lines = [emit(&exporters[0], "first", 20), emit(&exporters[1], "second", 30)];
    until("spooled", || exporters[0].totals().spooled == 20 && exporters[1].totals().spooled == 30).await;
    servers[0].set(Mode::There);
    until("the first is delivered", || exporters[0].totals().delivered == 20).await;
    sleep(60 * S).await;
    assert_eq!((exporters[1].totals().spooled, servers[1].taken().len()), (30, 0), "each has its own progress");
    servers[1].set(Mode::There);
    until("the second is delivered", || exporters[1].totals().delivered == 30).await;
    for (number, server) in servers.iter().enumerate() {
        assert_eq!(sorted(server.taken()), sorted(lines[number].clone()));
        assert_eq!(exporters[number].counters().recovered, 0);
        assert!(exporters[number].totals().balance());
    }
}
