//! Limits in flight that tune themselves, for the exporter and for each of its endpoints.

use crate::servers::{A, B, C, Mode, Numbers, Servers, builder, ms};
use forebay_export::{Adaptive, Balance, Batching, Exporter};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long so many items take that are handed over as fast as there is room.
async fn send(exporter: &Exporter<u32>, items: std::ops::Range<u32>) -> Duration {
    let began = Instant::now();
    for item in items {
        exporter.emit_or_wait(item).await.unwrap();
    }
    exporter.flush().await;
    began.elapsed()
}

fn batching() -> Batching {
    Batching::new().max_items(10).max_delay(ms(5)).max_in_flight(Adaptive::default())
}

#[tokio::test(start_paused = true)]
async fn e02_several_endpoints_take_as_much_as_one_that_takes_all() {
    let servers = Servers::default();
    [A, B, C].into_iter().for_each(|url| servers.at(url, |server| server.latency = ms(100)));
    let one = Exporter::builder().endpoint(A).encoder(Numbers).batching(batching()).client(servers.client());
    let one = send(&one.build().unwrap(), 0..60_000).await;
    let several = builder(Balance::new([A, B, C])).batching(batching()).client(servers.client());
    let several = send(&several.build().unwrap(), 0..60_000).await;
    println!("one {one:?}, several {several:?}");
    assert!(several < one * 3 / 2, "{several:?} for {one:?}");
}

#[tokio::test(start_paused = true)]
async fn e02_a_survivor_that_refuses_what_is_too_much_is_not_asked_for_it() {
    let servers = Servers::default();
    for url in [A, B] {
        servers.at(url, |server| (server.latency, server.mode) = (ms(50), Mode::Works(16)));
    }
    let exporter = builder(Balance::new([A, B])).batching(batching()).client(servers.client()).build().unwrap();
    send(&exporter, 0..30_000).await;
    servers.turn(A, Mode::Refuses);
    servers.clear(B);
    let took = send(&exporter, 30_000..60_000).await;
    let (requests, whole) = (servers.requests(B), servers.at(B, |server| server.bodies.len()));
    println!("{took:?} for {whole} batches, {requests} requests");
    assert_eq!(exporter.totals().delivered, 60_000);
    assert!(requests < whole * 11 / 10, "{requests} requests for {whole} batches");
    // It works on 320 batches a second.
    assert!(took < ms(2 * 1000 * 3000 / 320), "{took:?}");
    sleep(ms(1)).await;
}
