//! In order: one endpoint receives everything, and the next while it is away.

use crate::servers::{A, B, C, Mode, Servers, builder, emit, exporter, ms};
use forebay_export::{DropReason, Failover, State};
use std::{ops::Range, time::Duration};
use tokio::time::{Instant, sleep};

fn all(batches: Range<u32>) -> Vec<u32> {
    (batches.start * 10..batches.end * 10).collect()
}

#[tokio::test(start_paused = true)]
async fn e01_what_an_endpoint_does_not_take_for_its_own_sake_goes_to_the_next_at_once() {
    for (mode, within) in [
        (Mode::Refuses, ms(50)),
        (Mode::Status(503), ms(50)),
        (Mode::Status(401), ms(50)),
        (Mode::Status(403), ms(50)),
        (Mode::Throttles(30), ms(50)),
        (Mode::Hangs, ms(1050)),
    ] {
        let servers = Servers::default();
        servers.turn(A, mode);
        let exporter = builder(Failover::new([A, B])).client(servers.client()).attempt_timeout(ms(1000)).build();
        let (exporter, began) = (exporter.unwrap(), Instant::now());
        emit(&exporter, 0..1);
        exporter.flush().await;
        assert!(began.elapsed() <= within, "{mode:?}: {:?}", began.elapsed());
        assert_eq!((servers.requests(A), servers.taken(B)), (1, all(0..1)), "{mode:?}");
        assert_eq!(exporter.counters().retries, 1, "{mode:?}: it counts as an attempt");
        assert_eq!(exporter.totals().delivered, 10);
    }
}

#[tokio::test(start_paused = true)]
async fn e01_the_circuit_of_one_endpoint_opens_and_lets_one_probe_through_now_and_then() {
    let servers = Servers::default();
    servers.turn(A, Mode::Refuses);
    let exporter = exporter(Failover::new([A, B]), servers.client());
    for batch in 0..100 {
        emit(&exporter, batch..batch + 1);
        sleep(ms(100)).await;
    }
    exporter.flush().await;
    assert_eq!(servers.taken(B), all(0..100));
    let requests = servers.requests(A);
    assert!((5 + 7..=5 + 10).contains(&requests), "{requests}: five, then one each second");
    let [a, b] = &exporter.handle().endpoints()[..] else { panic!("two") };
    assert!(matches!(a.circuit, State::Open | State::HalfOpen) && b.circuit == State::Closed);
    assert!(!a.is_current && b.is_current);
    assert_eq!((a.failures, a.requests), (requests as u64, requests as u64));
    assert_eq!(exporter.handle().breaker().state(&()), State::Closed, "the exporter itself is well");
    let counters = exporter.counters();
    // With the fifth failure, and with each probe since.
    assert_eq!((a.opens, b.opens, counters.endpoint_opens), (requests as u64 - 4, 0, requests as u64 - 4));
    assert_eq!(counters.breaker_opens, 0);
}

#[tokio::test(start_paused = true)]
async fn e01_a_pause_that_one_endpoint_asks_for_holds_that_endpoint_alone() {
    let servers = Servers::default();
    servers.turn(A, Mode::Throttles(30));
    let exporter = exporter(Failover::new([A, B]).return_after(Duration::ZERO), servers.client());
    let began = Instant::now();
    for batch in 0..290 {
        emit(&exporter, batch..batch + 1);
        sleep(ms(100)).await;
        let taken = servers.at(B, |server| server.taken.last().map(|(_, at)| *at)).unwrap();
        assert!(taken.elapsed() < ms(200), "nothing else waits: {:?}", began.elapsed());
    }
    assert_eq!(servers.requests(A), 1, "it is left alone for as long as it has asked");
    let away = exporter.handle().endpoints()[0].away_for.unwrap();
    assert!(away > ms(500) && away < ms(1500), "{away:?}");
    servers.turn(A, Mode::Up);
    sleep(ms(1500)).await;
    emit(&exporter, 290..300);
    exporter.flush().await;
    assert_eq!(servers.requests(A), 11, "its time is over");
    assert_eq!(exporter.totals().delivered, 3000);
}

#[tokio::test(start_paused = true)]
async fn e01_everything_returns_to_the_first_once_that_has_held_for_a_while() {
    let servers = Servers::default();
    servers.turn(A, Mode::Refuses);
    let exporter = exporter(Failover::new([A, B]).return_after(ms(10_000)), servers.client());
    let run = async |from: u32, batches: u32| {
        servers.clear(A);
        servers.clear(B);
        for batch in from..from + batches {
            emit(&exporter, batch..batch + 1);
            sleep(ms(100)).await;
        }
        exporter.flush().await;
        (servers.at(A, |server| server.bodies.len()), servers.at(B, |server| server.bodies.len()))
    };
    assert_eq!(run(0, 50).await, (0, 50));
    servers.turn(A, Mode::Up);
    let (a, b) = run(50, 80).await;
    assert!((3..=12).contains(&a) && a + b == 80, "one trial a second: {a}");
    sleep(ms(3000)).await;
    assert_eq!(run(130, 50).await, (50, 0));
    assert!(exporter.handle().endpoints()[0].is_current);
}

#[tokio::test(start_paused = true)]
async fn e01_an_endpoint_that_flaps_costs_nothing() {
    let servers = Servers::default();
    let exporter = exporter(Failover::new([A, B]), servers.client());
    for batch in 0..300 {
        servers.turn(A, if batch / 3 % 2 == 0 { Mode::Status(503) } else { Mode::Up });
        emit(&exporter, batch..batch + 1);
        sleep(ms(100)).await;
    }
    exporter.flush().await;
    let mut taken = servers.taken(A);
    taken.extend(servers.taken(B));
    taken.sort_unstable();
    assert_eq!(taken, all(0..300), "each once");
}

#[tokio::test(start_paused = true)]
async fn e01_while_all_are_away_everything_waits_and_then_goes() {
    for mode in [Mode::Refuses, Mode::Status(503), Mode::Throttles(20), Mode::Hangs] {
        let servers = Servers::default();
        [A, B, C].into_iter().for_each(|url| servers.turn(url, mode));
        let exporter = exporter(Failover::new([A, B, C]), servers.client());
        emit(&exporter, 0..20);
        sleep(ms(60_000)).await;
        assert_eq!(exporter.totals().pending, 200, "{mode:?}");
        let requests: usize = [A, B, C].into_iter().map(|url| servers.requests(url)).sum();
        assert!(requests < 400, "{mode:?}: {requests} requests in a minute");
        servers.turn(B, Mode::Up);
        sleep(ms(120_000)).await;
        assert_eq!((exporter.totals().delivered, exporter.totals().dropped.total()), (200, 0), "{mode:?}");
        assert_eq!(servers.taken(B), all(0..20), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn e01_what_is_refused_for_its_content_goes_nowhere_else() {
    for (status, reason) in [(400, DropReason::Rejected), (404, DropReason::Rejected)] {
        let servers = Servers::default();
        servers.turn(A, Mode::Status(status));
        let exporter = exporter(Failover::new([A, B]), servers.client());
        exporter.emit(1);
        exporter.flush().await;
        assert_eq!((servers.requests(A), servers.requests(B)), (1, 0), "{status}");
        assert_eq!(exporter.totals().dropped.get(reason), 1, "{status}");
        assert_eq!(exporter.last_error().unwrap().endpoint_name(), Some(A));
    }
}

#[tokio::test(start_paused = true)]
async fn e01_the_size_that_one_endpoint_takes_is_learned_for_that_one_alone() {
    let servers = Servers::default();
    servers.turn(A, Mode::Takes(20));
    let exporter = exporter(Failover::new([A, B]), servers.client());
    emit(&exporter, 0..1);
    exporter.flush().await;
    assert_eq!((servers.taken(A), servers.requests(B)), (all(0..1), 0), "it is sent in parts");
    let first = servers.requests(A);
    emit(&exporter, 1..2);
    exporter.flush().await;
    assert_eq!(servers.at(A, |server| server.bodies.len()), servers.requests(A) - 1, "413 once, and never again");
    assert!(servers.requests(A) < 2 * first + 1);
    servers.turn(A, Mode::Refuses);
    emit(&exporter, 2..10);
    exporter.flush().await;
    let whole = servers.at(B, |server| server.bodies.iter().filter(|bytes| **bytes == 40).count());
    assert!(whole >= 6, "the other takes whole batches: {whole} of 8");
    assert_eq!(exporter.totals().delivered, 100);
}

#[tokio::test(start_paused = true)]
async fn e01_no_credential_anywhere_is_the_end_and_one_that_is_away_is_waited_for() {
    let servers = Servers::default();
    [A, B].into_iter().for_each(|url| servers.turn(url, Mode::Status(401)));
    let failing = exporter(Failover::new([A, B]), servers.client());
    failing.emit(1);
    failing.flush().await;
    assert_eq!((servers.requests(A), servers.requests(B)), (1, 1));
    assert_eq!(failing.totals().dropped.total(), 1, "as with one endpoint");

    servers.turn(B, Mode::Throttles(20));
    let waiting = exporter(Failover::new([A, B]), servers.client());
    waiting.emit(1);
    sleep(ms(10_000)).await;
    assert_eq!(waiting.totals().pending, 1);
    servers.turn(B, Mode::Up);
    sleep(ms(60_000)).await;
    assert_eq!((waiting.totals().delivered, servers.taken(B)), (1, vec![1]));
}
