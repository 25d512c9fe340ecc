//! Everything is durable before it is sent.

use crate::{
    harness::{Mode, Now, S, Server, Text, emit, exporter, sorted, spool, until},
    support::{SimDisk, builder},
};
use forebay_export::{Fate, Priority};
use forebay_spool::{ExporterSpool, replay::ReplayPolicy};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::{Service, ServiceExt};

#[tokio::test(start_paused = true)]
async fn s08_what_is_written_ahead_for_every_destination_is_sent_by_each() {
    let disk = SimDisk::new();
    let servers = [Server::new(Mode::There), Server::new(Mode::Away)];
    let spooled = Now::of(builder(&disk).destination("second", "https://b.example"));
    let ahead = ExporterSpool::new(spooled.clone(), "main", Text).for_every_destination();
    let first = exporter(&servers[0]).write_ahead(ahead.policy(ReplayPolicy::write_ahead()).unwrap()).build().unwrap();
    let beside = ExporterSpool::new(spooled.clone(), "second", Text);
    let second = exporter(&servers[1]).overflow_to(beside).build().unwrap();
    let lines = emit(&first, "line", 50);
    until("delivered", || first.totals().delivered == 50).await;
    assert!(servers[1].taken().is_empty());
    servers[1].set(Mode::There);
    until("replayed", || second.counters().replayed == 50).await;
    assert_eq!((second.counters().recovered, second.totals().offered), (50, 0));
    for server in &servers {
        assert_eq!(sorted(server.taken()), sorted(lines.clone()));
    }
    assert!(first.totals().balance() && second.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn what_is_urgent_is_written_ahead_in_the_high_lane_and_is_sent_first() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let policy = ReplayPolicy::write_ahead().max_in_flight(1).batch(10, 1 << 20);
    let ahead = spool(&spooled).policy(policy).unwrap();
    let exporter = exporter(&server)
        .priority(|line: &String| if line.starts_with("urgent") { Priority::High } else { Priority::Normal })
        .write_ahead(ahead)
        .build()
        .unwrap();
    emit(&exporter, "line", 40);
    exporter.flush().await;
    emit(&exporter, "urgent", 5);
    exporter.flush().await;
    assert_eq!(exporter.totals().spooled, 45);
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 45).await;
    let taken = server.taken();
    let last = taken.iter().rposition(|line| line.starts_with("urgent")).unwrap();
    // The probe may have been a line of the time before.
    assert!(last <= 5, "{taken:?}");
}

#[tokio::test(start_paused = true)]
async fn s06_after_an_outage_what_is_written_ahead_newest_first_arrives_within_two_seconds() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Away));
    let spooled = Now::open(&disk);
    let policy = ReplayPolicy::write_ahead().order(forebay_spool::Order::NewestFirst).backoff(S / 4, S);
    let ahead = spool(&spooled).policy(policy.max_records_per_second(200).batch(20, 1 << 20)).unwrap();
    let exporter = exporter(&server).breaker(|breaker| breaker.open_for(S)).write_ahead(ahead).build().unwrap();
    for round in 0..60 {
        emit(&exporter, &format!("old {round}"), 50);
        sleep(S).await;
    }
    assert_eq!(exporter.totals().spooled, 3000);
    server.set(Mode::There);
    let recovered = Instant::now();
    let mut emitted = Vec::new();
    for number in 0..200 {
        emitted.push(Instant::now());
        exporter.emit(format!("fresh {number}"));
        sleep(S / 20).await;
    }
    until("the last fresh one", || server.taken().iter().any(|line| line == "fresh 199")).await;
    let (mut fresh, mut old) = (0, 0);
    for (line, arrived) in &*server.0.1.lock().unwrap() {
        let Some(number) = line.strip_prefix("fresh ") else {
            old += 1;
            continue;
        };
        fresh += 1;
        // From the recovery on: a second until the circuit admits a probe, and no more than another one.
        let took = *arrived - emitted[number.parse::<usize>().unwrap()].max(recovered);
        assert!(took <= 2 * S, "{line}: {took:?}");
    }
    assert_eq!(fresh, 200);
    assert!((200..3000).contains(&old), "the backlog trickles beside it: {old}");
    until("all", || exporter.totals().delivered == 3200).await;
    assert!(exporter.totals().balance());
}

#[tokio::test(start_paused = true)]
async fn a_written_ahead_item_is_durable_before_it_is_sent() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::open(&disk);
    let ahead = spool(&spooled).policy(ReplayPolicy::write_ahead()).unwrap();
    let mut exporter = exporter(&server).write_ahead(ahead).build().unwrap();
    let first = exporter.ready().await.unwrap().call("first".to_owned());
    assert_eq!(first.await, Ok(Fate::Spooled));
    assert_eq!((spooled.pending(), server.taken().len()), (1, 0));
    let began = Instant::now();
    let lines = emit(&exporter, "line", 100);
    exporter.flush().await;
    assert!(began.elapsed() <= Duration::from_millis(50), "{:?}", began.elapsed());
    assert_eq!((exporter.totals().spooled, spooled.pending()), (101, 101));
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 101).await;
    assert_eq!(sorted(server.taken()), sorted([lines, vec!["first".to_owned()]].concat()));
    assert!(exporter.totals().balance() && exporter.totals().spooled == 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_sends_what_is_written_ahead_and_keeps_what_it_cannot() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::There));
    let spooled = Now::open(&disk);
    let ahead = || spool(&spooled).policy(ReplayPolicy::write_ahead()).unwrap();
    let first = exporter(&server).write_ahead(ahead()).build().unwrap();
    emit(&first, "line", 1000);
    let began = Instant::now();
    let report = first.shutdown(30 * S).await;
    assert_eq!((report.totals.delivered, report.totals.spooled), (1000, 0), "{}", report.totals);
    assert!(began.elapsed() < 5 * S, "{:?}", began.elapsed());

    server.set(Mode::Away);
    let second = exporter(&server).write_ahead(ahead()).build().unwrap();
    emit(&second, "late", 30);
    let began = Instant::now();
    let report = second.shutdown(3 * S).await;
    assert!(began.elapsed() <= 3 * S + Duration::from_millis(20), "{:?}", began.elapsed());
    assert_eq!((report.totals.delivered, report.totals.spooled, report.unsent.len()), (0, 30, 0), "{}", report.totals);
    assert_eq!(spooled.pending(), 30);

    server.set(Mode::There);
    sleep(300 * S).await;
    assert_eq!(spooled.pending(), 30, "the replay has ended with the shutdown");
    let third = exporter(&server).write_ahead(ahead()).build().unwrap();
    until("replayed", || third.counters().replayed == 30).await;
    assert_eq!((third.totals().offered, third.counters().recovered), (0, 30));
    assert_eq!(server.taken().len(), 1030);
}

#[tokio::test(start_paused = true)]
async fn what_the_disk_has_no_room_for_waits_and_is_written_when_it_has() {
    let (disk, server) = (SimDisk::new(), Server::new(Mode::Hangs));
    let spooled = Now::of(builder(&disk).max_records(20).overflow(forebay_spool::Overflow::Refuse));
    let ahead = spool(&spooled).policy(ReplayPolicy::write_ahead()).unwrap();
    let exporter = exporter(&server).write_ahead(ahead).build().unwrap();
    emit(&exporter, "line", 48);
    sleep(5 * S).await;
    let totals = exporter.totals();
    assert!(totals.pending >= 16 && totals.dropped.total() == 0, "{totals}");
    server.set(Mode::There);
    until("delivered", || exporter.totals().delivered == 48).await;
    assert!(exporter.totals().balance());
}
