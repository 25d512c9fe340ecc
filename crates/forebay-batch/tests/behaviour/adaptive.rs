//! A number in flight that tunes itself.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{Adaptive, Batch, BatchLayer, Batching, Items};
use forebay_core::{BoxError, DropReason, Fate, Settlement};
use forebay_intake::Limits;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::Layer;

const LATENCY: Duration = Duration::from_millis(100);

/// A server that takes every request for 100 ms, and what it has seen.
#[derive(Clone, Default)]
struct Server(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    /// The first item of each request, in the order of the requests.
    order: Vec<u32>,
    /// How many requests it works on, and the most of them since that was asked.
    under_way: usize,
    most: usize,
    /// Whether it refuses all.
    refuses: bool,
}

impl Server {
    fn batch(&self, adaptive: Adaptive, max_age: Option<Duration>) -> Batch<u32, ()> {
        let server = self.clone();
        let inner = service_fn(move |items: Items<u32>| {
            let server = server.clone();
            async move {
                let refuses = {
                    let mut seen = server.0.lock().unwrap();
                    seen.order.push(items[0]);
                    seen.under_way += 1;
                    seen.most = seen.most.max(seen.under_way);
                    seen.refuses
                };
                sleep(LATENCY).await;
                server.0.lock().unwrap().under_way -= 1;
                if refuses { Err(BoxError::from("429")) } else { Ok(()) }
            }
        });
        let settle = |result: &Result<(), BoxError>, _: usize| match result {
            Ok(()) => Settlement::All(Fate::Delivered),
            Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
        };
        let mut builder = BatchLayer::builder()
            .limits(Limits::new().soft_limit(1.0).items(100_000))
            .batching(Batching::new().max_items(4).max_in_flight(adaptive))
            .retain_items()
            .settle(settle)
            .park_backoff([Duration::from_secs(1); 60]);
        if let Some(age) = max_age {
            builder = builder.max_age(age);
        }
        builder.build().unwrap().layer(inner)
    }

    /// The most requests under way at a time since this was asked.
    fn most(&self) -> usize {
        let mut seen = self.0.lock().unwrap();
        let now = seen.under_way;
        std::mem::replace(&mut seen.most, now)
    }
}

fn emit(batch: &Batch<u32, ()>, items: std::ops::Range<u32>) {
    items.for_each(|item| batch.emit(item).unwrap());
}

fn seeded() -> Adaptive {
    Adaptive::builder().seed(1).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn e04_many_are_under_way_in_the_order_of_arrival_and_the_ledger_is_right() {
    let (server, start) = (Server::default(), Instant::now());
    let batch = server.batch(seeded(), None);
    emit(&batch, 0..20_000);
    batch.handle().flush().await;
    let totals = batch.handle().totals();
    assert!(totals.balance(), "{totals}");
    assert_eq!((totals.delivered, totals.pending), (20_000, 0));
    // One at a time, 5,000 batches take 500 s.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let most = server.most();
    assert!((64..=200).contains(&most), "{most} under way");
    let order = &server.0.lock().unwrap().order;
    assert!(order.is_sorted(), "batches leave as they were filled");
}

#[tokio::test(start_paused = true)]
async fn e04_a_server_that_refuses_sees_the_number_fall_within_one_round_trip() {
    let server = Server::default();
    let batch = server.batch(seeded(), None);
    emit(&batch, 0..60_000);
    sleep(30 * LATENCY).await;
    let before = {
        server.most();
        sleep(LATENCY).await;
        server.most()
    };
    assert!(before >= 32, "{before} after 30 round trips");
    server.0.lock().unwrap().refuses = true;
    // What is under way when it begins to refuse comes back within one round trip, what it refuses within the next.
    sleep(2 * LATENCY).await;
    server.most();
    sleep(LATENCY).await;
    let after = server.most();
    assert!(after < before, "{after} under way, {before} before");
    server.0.lock().unwrap().refuses = false;
    batch.handle().flush().await;
    assert_eq!(batch.handle().totals().delivered, 60_000);
}

#[tokio::test(start_paused = true)]
async fn e04_ages_count_with_many_under_way() {
    let server = Server::default();
    let adaptive = Adaptive::builder().ceiling(8).seed(1).build().unwrap();
    let batch = server.batch(adaptive, Some(Duration::from_secs(2)));
    emit(&batch, 0..4000);
    batch.handle().flush().await;
    let totals = batch.handle().totals();
    assert!(totals.balance(), "{totals}");
    assert_eq!((totals.offered, totals.pending), (4000, 0));
    assert_eq!(totals.delivered + totals.dropped.get(DropReason::Expired), 4000);
    // Eight under way for two seconds and a last round trip, less what the climb to eight has cost: more than five all the time.
    let batches = totals.delivered / 4;
    assert!((5 * 21..=8 * 22).contains(&batches), "{batches} batches within their age");
    assert_eq!(server.most(), 8, "the ceiling");
}

#[tokio::test(start_paused = true)]
async fn e04_the_number_may_be_changed_while_it_runs() {
    let server = Server::default();
    let batch = server.batch(Adaptive::builder().floor(4).ceiling(4).build().unwrap(), None);
    emit(&batch, 0..800);
    sleep(10 * LATENCY).await;
    assert_eq!(server.most(), 4);
    let batching = batch.handle().batching();
    batch.handle().set_batching(batching.max_in_flight(1)).unwrap();
    sleep(LATENCY).await;
    server.most();
    sleep(5 * LATENCY).await;
    assert_eq!(server.most(), 1);
    batch.handle().set_batching(batching.max_in_flight(Adaptive::builder().floor(9).build().unwrap())).unwrap();
    sleep(LATENCY).await;
    assert!(server.most() >= 9);
    batch.handle().flush().await;
    assert_eq!(batch.handle().totals().delivered, 800);
}
