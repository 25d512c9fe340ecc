//! Batches for callers that wait: with a delay of zero a batch closes when a batch may be sent, and no sooner.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{Batch, BatchBuilder, BatchLayer, Batching, ResponseFuture};
use forebay_core::{BoxError, DropReason, Priority};
use std::{
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Semaphore, time::Instant};
use tokio_test::task::{self, Spawn};
use tower::{Layer, Service, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);

/// The batches that the inner service got, and the permits with which it returns them.
#[derive(Clone)]
struct Server {
    batches: Arc<Mutex<Vec<Vec<u32>>>>,
    gate: Arc<Semaphore>,
}

impl Server {
    fn new() -> Self {
        Self { batches: Arc::default(), gate: Arc::new(Semaphore::new(0)) }
    }

    fn batches(&self) -> Vec<Vec<u32>> {
        self.batches.lock().unwrap().clone()
    }

    /// A batcher in front of it.
    fn behind(&self, builder: BatchBuilder<u32>) -> Batch<u32, u32> {
        let Self { batches, gate } = self.clone();
        let inner = service_fn(move |items: Vec<u32>| {
            batches.lock().unwrap().push(items.clone());
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await?.forget();
                Ok::<_, BoxError>(items)
            }
        });
        builder.respond_per_item().build().unwrap().layer(inner)
    }

    async fn returns(&self, batches: usize) {
        self.gate.add_permits(batches);
        settle_down().await;
    }
}

async fn settle_down() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

fn calls(batch: &mut Batch<u32, u32>, items: &[u32]) -> Vec<Spawn<ResponseFuture<u32, u32>>> {
    items.iter().map(|item| task::spawn(batch.call(*item))).collect()
}

#[tokio::test(start_paused = true)]
async fn d05_a_lone_awaited_call_waits_for_nothing() {
    let echo = || service_fn(|items: Vec<u32>| ready(Ok::<_, BoxError>(items)));
    let by_item = BatchLayer::builder().respond_per_item().build().unwrap().layer(echo());
    let batching = Batching::new().max_items(100);
    let some = BatchLayer::builder().respond_per_item().batching(batching).build().unwrap().layer(echo());
    let by_key =
        BatchLayer::builder().respond_per_key(|item: &u32| *item, |item: &u32| *item).build().unwrap().layer(echo());
    let shared = BatchLayer::builder().batching(batching.max_delay(Duration::ZERO)).build().unwrap().layer(echo());
    let begin = Instant::now();
    // The last handle that is dropped sends what is open, so each is kept.
    assert_eq!(by_item.clone().oneshot(1).await.unwrap(), 1);
    assert_eq!(some.clone().oneshot(2).await.unwrap(), 2);
    assert_eq!(by_key.clone().oneshot(3).await.unwrap(), Some(3));
    assert_eq!(shared.clone().oneshot(4).await.unwrap(), [4]);
    assert_eq!(begin.elapsed(), Duration::ZERO);

    // One response for all is not known to have a caller that waits: the delay is the one of telemetry, unless it is said.
    let plain = BatchLayer::builder().build().unwrap().layer(echo());
    assert_eq!(plain.clone().oneshot(5).await.unwrap(), [5]);
    assert_eq!(begin.elapsed().as_secs(), 5);
    let waits = BatchLayer::builder().respond_per_item().batching(batching.max_delay(SECOND)).build().unwrap();
    let waits = waits.layer(echo());
    assert_eq!(waits.clone().oneshot(6).await.unwrap(), 6);
    assert_eq!(begin.elapsed().as_secs(), 6);
}

#[tokio::test(start_paused = true)]
async fn d05_under_load_items_gather_until_a_batch_may_be_sent() {
    let server = Server::new();
    let mut batch = server.behind(BatchLayer::builder().batching(Batching::new().max_items(4)));
    let mut all = calls(&mut batch, &[1]);
    settle_down().await;
    for item in 2..=6 {
        all.extend(calls(&mut batch, &[item]));
        // However often the worker looks, and however long it takes.
        tokio::time::sleep(10 * SECOND).await;
    }
    assert_eq!(server.batches(), [vec![1]], "one is in flight, and the others gather");
    server.returns(1).await;
    assert_eq!(server.batches(), [vec![1], vec![2, 3, 4, 5]]);
    all.extend(calls(&mut batch, &[7, 8]));
    server.returns(1).await;
    assert_eq!(server.batches()[2..], [vec![6, 7, 8]], "it was open until it could be sent");
    server.returns(1).await;
    assert!(all.iter_mut().all(|call| call.poll().is_ready()));
    assert_eq!((batch.handle().totals().delivered, batch.handle().totals().pending), (8, 0));
}

#[tokio::test(start_paused = true)]
async fn as_many_batches_as_may_be_in_flight_are_sent_before_items_gather() {
    let server = Server::new();
    let batch = server.behind(BatchLayer::builder().batching(Batching::new().max_in_flight(2)));
    for item in 1..=4 {
        batch.emit(item).unwrap();
        settle_down().await;
    }
    assert_eq!(server.batches(), [[1], [2]]);
    server.returns(1).await;
    assert_eq!(server.batches()[2..], [[3, 4]]);
}

#[tokio::test(start_paused = true)]
async fn of_several_partitions_the_one_that_was_opened_first_is_next() {
    let server = Server::new();
    let builder = BatchLayer::builder()
        .batching(Batching::new().max_delay(Duration::ZERO))
        .partition_by(|item: &u32| {
            if *item < 10 {
                &0_u32
            } else if *item < 20 {
                &1
            } else {
                &2
            }
        })
        .max_open_partitions(8);
    let batch = server.behind(builder);
    batch.emit(1).unwrap();
    settle_down().await;
    // The first partition always has more, and starves no other.
    for item in [2, 10, 3, 20, 11, 4] {
        batch.emit(item).unwrap();
        settle_down().await;
    }
    server.returns(1).await;
    assert_eq!(server.batches()[1..], [vec![2, 3, 4]]);
    batch.emit(5).unwrap();
    server.returns(1).await;
    batch.emit(12).unwrap();
    server.returns(1).await;
    server.returns(1).await;
    server.returns(1).await;
    assert_eq!(server.batches()[2..], [vec![10, 11], vec![20], vec![5], vec![12]]);
}

#[tokio::test(start_paused = true)]
async fn an_open_batch_with_an_urgent_item_goes_before_the_others() {
    let server = Server::new();
    let builder = BatchLayer::builder()
        .priority(|item: &u32| if *item >= 20 { Priority::High } else { Priority::Normal })
        .batching(Batching::new().max_delay(Duration::ZERO))
        .partition_by(|item: &u32| {
            if *item < 10 {
                &0_u32
            } else if *item < 20 {
                &1
            } else {
                &2
            }
        });
    let Server { batches, gate } = server.clone();
    let inner = service_fn(move |items: Vec<u32>| {
        batches.lock().unwrap().push(items);
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await?.forget();
            Ok::<_, BoxError>(())
        }
    });
    let batch = builder.build().unwrap().layer(inner);
    for item in [1, 2, 10, 20] {
        batch.emit(item).unwrap();
        settle_down().await;
    }
    for _ in 0..4 {
        server.returns(1).await;
    }
    assert_eq!(server.batches(), [[1], [20], [2], [10]]);
}

#[tokio::test(start_paused = true)]
async fn what_gathers_for_too_long_expires_and_its_callers_hear_it() {
    let server = Server::new();
    let mut batch = server.behind(BatchLayer::builder().max_age(SECOND));
    let mut first = calls(&mut batch, &[1]);
    settle_down().await;
    let mut late = calls(&mut batch, &[2, 3]);
    tokio::time::sleep(2 * SECOND).await;
    assert!(late.iter_mut().all(|call| call.poll().is_ready()), "while another batch is still in flight");
    assert_eq!(batch.handle().totals().dropped.get(DropReason::Expired), 2);
    server.returns(1).await;
    assert!(first[0].poll().is_ready());
    assert_eq!(server.batches(), [[1]]);
}

#[tokio::test(start_paused = true)]
async fn a_change_at_run_time_keeps_the_default_of_the_builder() {
    let server = Server::new();
    let mut batch = server.behind(BatchLayer::builder());
    let handle = batch.handle();
    handle.set_batching(handle.batching().max_items(7)).unwrap();
    let _first = calls(&mut batch, &[1]);
    settle_down().await;
    assert_eq!(server.batches(), [[1]]);
    handle.set_batching(Batching::new().max_delay(SECOND)).unwrap();
    server.returns(1).await;
    let _second = calls(&mut batch, &[2]);
    settle_down().await;
    assert_eq!(server.batches(), [[1]]);
    tokio::time::sleep(SECOND).await;
    settle_down().await;
    assert_eq!(server.batches(), [[1], [2]]);
}
