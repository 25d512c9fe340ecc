//! Endpoints that share the load.

use crate::servers::{A, B, C, Mode, Servers, builder, emit, exporter, ms};
use forebay_export::{Balance, Batching, Destination, Exporter};
use std::time::Duration;
use tokio::time::sleep;

fn limited(url: &str, requests: usize) -> Destination {
    Destination::new(url).max_in_flight(requests)
}

#[tokio::test(start_paused = true)]
async fn the_load_is_spread_by_weight() {
    let servers = Servers::default();
    let exporter = exporter(Balance::new([Destination::new(A).weight(3), Destination::new(B)]), servers.client());
    for batch in 0..2000 {
        emit(&exporter, batch..batch + 1);
        sleep(ms(10)).await;
    }
    exporter.flush().await;
    let (a, b) = (servers.requests(A), servers.requests(B));
    assert!(a + b == 2000 && (1400..=1600).contains(&a), "{a} and {b}");
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_receives_little_of_it() {
    let servers = Servers::default();
    servers.at(A, |server| server.latency = ms(200));
    servers.at(B, |server| server.latency = ms(10));
    servers.at(C, |server| server.latency = ms(10));
    let exporter = exporter(Balance::new([A, B, C]), servers.client());
    for batch in 0..2000 {
        emit(&exporter, batch..batch + 1);
        sleep(ms(10)).await;
    }
    exporter.flush().await;
    let (a, b, c) = (servers.requests(A), servers.requests(B), servers.requests(C));
    assert!(a > 0 && a < 200 && b > 700 && c > 700, "{a}, {b}, {c}");
}

#[tokio::test(start_paused = true)]
async fn e02_a_survivor_never_gets_more_than_its_own_limit() {
    for mode in [Mode::Refuses, Mode::Hangs, Mode::Throttles(20)] {
        let servers = Servers::default();
        [A, B].into_iter().for_each(|url| servers.at(url, |server| server.latency = ms(100)));
        let endpoints = Balance::new([limited(A, 3), limited(B, 3)]);
        let exporter = builder(endpoints).client(servers.client()).attempt_timeout(ms(1000)).build().unwrap();
        emit(&exporter, 0..60);
        sleep(ms(550)).await;
        servers.turn(A, mode);
        sleep(ms(60_000)).await;
        assert_eq!(exporter.totals().delivered, 600, "{mode:?}");
        let most = |url| servers.at(url, |server| server.most);
        assert_eq!((most(A), most(B)), (3, 3), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn e02_where_no_endpoint_has_room_a_batch_waits_and_goes_on_time() {
    let servers = Servers::default();
    servers.at(A, |server| server.latency = ms(100));
    let exporter = exporter(Balance::new([limited(A, 2)]), servers.client());
    emit(&exporter, 0..32);
    exporter.flush().await;
    let came = servers.at(A, |server| server.came.clone());
    let took = came.last().unwrap().duration_since(came[0]);
    assert!((ms(1500)..ms(1650)).contains(&took), "32 of 100 ms, two at a time: {took:?}");
    assert_eq!((servers.at(A, |server| server.most), exporter.counters().retries), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn e01_the_load_comes_back_by_one_probe_and_a_ramp() {
    let servers = Servers::default();
    [A, B].into_iter().for_each(|url| servers.at(url, |server| server.latency = ms(100)));
    servers.turn(A, Mode::Refuses);
    let batching = Batching::new().max_items(10).max_delay(ms(5)).max_in_flight(64);
    let endpoints = Balance::new([limited(A, 16), limited(B, 16)]);
    let exporter = builder(endpoints).batching(batching).client(servers.client()).build().unwrap();
    let load = async |from: u32, rounds: u32| {
        for round in from..from + rounds {
            emit(&exporter, round * 20..(round + 1) * 20);
            sleep(ms(100)).await;
        }
    };
    load(0, 30).await;
    servers.clear(A);
    servers.turn(A, Mode::Up);
    load(30, 30).await;
    let came = servers.at(A, |server| server.came.clone());
    let back = came[came.len() - 1].duration_since(came[0]);
    assert!(back > ms(1500), "{back:?}");
    let probe = servers.at(A, |server| server.taken[0].1);
    let within =
        |time: Duration| came.iter().filter(|at| at.saturating_duration_since(probe) < time && **at >= probe).count();
    assert_eq!(came.iter().filter(|at| **at < probe).count(), 1, "one probe");
    let (one, two, three) = (within(ms(95)), within(ms(195)), within(ms(295)));
    assert!(one <= 2 && two <= 2 + 4 && three <= 2 + 4 + 8, "{one}, {two}, {three}");
    assert!(within(ms(1500)) > 40, "and then its share");
    exporter.flush().await;
    assert_eq!(exporter.totals().delivered, exporter.totals().offered);
    assert!(servers.at(A, |server| server.most) <= 16);
}

/// Two rounds of load, with what happens between them; then how many of the batches of the second went to A.
async fn share_after(latency: Duration, happens: impl AsyncFnOnce(&Servers, &Exporter<u32>)) -> (usize, usize) {
    let servers = Servers::default();
    [A, B].into_iter().for_each(|url| servers.at(url, |server| server.latency = latency));
    let exporter = exporter(Balance::new([A, B]), servers.client());
    let load = async |batches: std::ops::Range<u32>| {
        for batch in batches {
            emit(&exporter, batch..batch + 1);
            sleep(ms(10)).await;
        }
    };
    load(0..100).await;
    happens(&servers, &exporter).await;
    // What there is to learn is learned within the first seconds.
    load(1000..1600).await;
    servers.clear(A);
    servers.clear(B);
    load(1600..1800).await;
    exporter.flush().await;
    assert_eq!(exporter.totals().delivered, exporter.totals().offered);
    (servers.requests(A), servers.requests(B))
}

fn is_even((a, b): (usize, usize)) -> bool {
    a + b == 200 && a.abs_diff(b) <= 20
}

#[tokio::test(start_paused = true)]
async fn e01_an_endpoint_that_is_back_has_its_share_again_however_fast_it_is() {
    for mode in [Mode::Refuses, Mode::Status(503), Mode::Throttles(1)] {
        for failures in [1, 3, 20] {
            let share = share_after(ms(2), async |servers, exporter| {
                servers.turn(A, mode);
                for batch in 100..100 + failures {
                    emit(exporter, batch..batch + 1);
                    sleep(ms(100)).await;
                }
                sleep(ms(1500)).await;
                servers.turn(A, Mode::Up);
            });
            let share = share.await;
            assert!(is_even(share), "{mode:?}, {failures}: {share:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_slow_response_does_not_cost_an_endpoint_its_share_for_long() {
    let share = share_after(ms(2), async |servers, exporter| {
        servers.at(A, |server| server.latency = ms(80));
        emit(exporter, 100..104);
        sleep(ms(200)).await;
        servers.at(A, |server| server.latency = ms(2));
    });
    let share = share.await;
    assert!(is_even(share), "{share:?}");
}

#[tokio::test(start_paused = true)]
async fn a_difference_of_a_few_milliseconds_moves_no_load() {
    let share = share_after(ms(2), async |servers, _| servers.at(A, |server| server.latency = ms(5))).await;
    assert!(is_even(share), "{share:?}");
}

#[tokio::test(start_paused = true)]
async fn the_share_of_an_endpoint_is_even_over_any_few_batches() {
    let servers = Servers::default();
    let endpoints = Balance::new([Destination::new(A).weight(2), Destination::new(B), Destination::new(C)]);
    let exporter = exporter(endpoints, servers.client());
    for batch in 0..400 {
        emit(&exporter, batch..batch + 1);
        sleep(ms(10)).await;
        if batch % 40 == 39 {
            let requests: Vec<usize> = [A, B, C].into_iter().map(|url| servers.requests(url)).collect();
            assert!(requests.iter().zip([20, 10, 10]).all(|(one, share)| one.abs_diff(share) <= 1), "{requests:?}");
            [A, B, C].into_iter().for_each(|url| servers.clear(url));
        }
    }
}
