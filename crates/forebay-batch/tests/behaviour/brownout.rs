//! A server that fails a share of its requests at random, and could take all the rest.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{Batch, BatchBuilder, BatchLayer, Batching, Description, Items, Retained};
use forebay_core::{BoxError, DropReason, Fate, Settlement, chance::SplitMix64, time::saturating_mul};
use forebay_intake::Limits;
use std::{
    collections::HashSet,
    future::ready,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};

const SECOND: Duration = Duration::from_secs(1);
/// What the server takes for a request, of which it works on as many at a time as are in flight.
const LATENCY: Duration = Duration::from_millis(100);

/// An hour where `BROWNOUT_AT_LENGTH` is set, as `.ci/models` does, and else a quarter of it.
fn hour() -> Duration {
    Duration::from_secs(if std::env::var_os("BROWNOUT_AT_LENGTH").is_some() { 3600 } else { 900 })
}

/// What is offered, and how it is batched.
#[derive(Clone, Copy, Debug)]
struct Load {
    /// So many items are handed over together, so often.
    items: u32,
    every: Duration,
    batching: Batching,
    /// So many items are held at most.
    limit: usize,
}

/// What became of the items of a run.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    /// The share that was delivered.
    delivered: f64,
    /// The number of requests for each batch.
    requests: f64,
}

/// Batches that their age closes, half as many as the server takes requests.
const SMALL: Load = Load {
    items: 10,
    every: LATENCY.saturating_mul(2),
    batching: Batching::new().max_items(512).max_delay(Duration::from_millis(50)),
    limit: 10_000,
};

/// Batches that are filled to the brim, half as many as the server takes requests.
const LARGE: Load = Load {
    items: 100,
    every: LATENCY.saturating_mul(2),
    batching: Batching::new().max_items(100).max_delay(SECOND),
    limit: 10_000,
};

/// The share of one hour's items that is delivered, where a share of `failing` requests fails.
async fn delivered(load: Load, failing: f64, seed: u64) -> f64 {
    run(load, failing, hour(), seed).await.delivered
}

async fn run(load: Load, failing: f64, time: Duration, seed: u64) -> Outcome {
    let chance = Mutex::new(SplitMix64::new(seed));
    // How many requests there were, and the first item of each batch.
    let seen = Arc::new(Mutex::new((0_u32, HashSet::new())));
    let noted = Arc::clone(&seen);
    let inner = service_fn(move |items: Items<u32>| {
        let fails = chance.lock().unwrap().unit() < failing;
        let mut noted = noted.lock().unwrap();
        noted.0 += 1;
        noted.1.insert(items[0]);
        async move {
            sleep(LATENCY).await;
            if fails { Err(BoxError::from("503")) } else { Ok(()) }
        }
    });
    let settle = |result: &Result<(), BoxError>, _: usize| match result {
        Ok(()) => Settlement::All(Fate::Delivered),
        Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
    };
    // The waits of an exporter, in the middle of their jitter.
    let backoff: Vec<_> =
        [750, 1500, 3000, 6000, 12_000].into_iter().chain([22_500; 40]).map(Duration::from_millis).collect();
    let layer = BatchLayer::builder()
        .limits(Limits::new().soft_limit(1.0).items(load.limit))
        .batching(load.batching)
        .retain_items()
        .settle(settle)
        .park_backoff(backoff)
        .park_bytes(usize::MAX)
        .max_age(300 * SECOND)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    let (mut offered, rounds) = (0_u32, time.as_millis() / load.every.as_millis());
    for _ in 0..rounds {
        for _ in 0..load.items {
            // What finds no room is lost, and counted as such.
            drop(batch.emit(offered));
            offered += 1;
        }
        sleep(load.every).await;
    }
    batch.handle().flush().await;
    let totals = batch.handle().totals();
    assert!(totals.balance(), "{totals}");
    assert_eq!((totals.offered, totals.pending), (u64::from(offered), 0));
    let (requests, batches) = &*seen.lock().unwrap();
    Outcome {
        delivered: totals.delivered as f64 / f64::from(offered),
        requests: f64::from(*requests) / batches.len() as f64,
    }
}

/// So many in flight, and half of the load that such a server takes while it fails a share of `failing`.
fn wide(load: Load, in_flight: usize, failing: f64) -> Load {
    let every = saturating_mul(load.every, 1.0 / (in_flight as f64 * (1.0 - failing)));
    // A batch is not open for longer than it takes until the next items.
    let batching = load.batching.max_delay(Duration::from_millis(5)).max_in_flight(in_flight);
    Load { every, batching, limit: load.limit * in_flight, ..load }
}

/// One failure in a row after the other is no outage: what has failed waits for itself while the rest is sent.
#[tokio::test(start_paused = true)]
async fn e03_a_share_of_failing_requests_costs_no_delivery() {
    println!("size   in flight  failing  delivered  requests per batch, and 1 / (1 - p)");
    for (load, size) in [(SMALL, "small"), (LARGE, "large")] {
        for in_flight in [2, 8] {
            for (failing, least) in [(0.1, 1.0), (0.3, 1.0), (0.5, 1.0), (0.7, 0.99)] {
                let needed = 1.0 / (1.0 - failing);
                let Outcome { delivered, requests } =
                    run(wide(load, in_flight, failing), failing, hour() / 12, 1).await;
                println!("{size}  {in_flight:9}  {failing:7}  {:7.2} %  {requests:.2} {needed:.2}", 100.0 * delivered);
                assert!(delivered >= least && requests <= 1.1 * needed);
            }
        }
    }
}

/// A server that fails everything for ten minutes, and the number of requests that it sees in this time and in the next minute.
async fn outage(in_flight: usize) -> (usize, usize) {
    let away = Duration::from_secs(600);
    let (start, log) = (Instant::now(), Arc::new(Mutex::new(Vec::new())));
    let noted = Arc::clone(&log);
    let inner = service_fn(move |_: Items<u32>| {
        noted.lock().unwrap().push(start.elapsed());
        let fails = start.elapsed() < away;
        async move {
            sleep(LATENCY).await;
            if fails { Err(BoxError::from("503")) } else { Ok(Vec::<u32>::new()) }
        }
    });
    let backoff = [1, 2, 4, 8, 16].into_iter().chain([30; 99]).map(Duration::from_secs).collect::<Vec<_>>();
    let layer = pairs().batching(Batching::new().max_items(2).max_in_flight(in_flight)).park_backoff(backoff);
    let batch = layer.build().unwrap().layer(inner);
    for n in 0..6000_u32 {
        emit(&batch, 2 * n..2 * n + 2);
        sleep(LATENCY).await;
    }
    batch.handle().flush().await;
    assert_eq!(batch.handle().totals().delivered, 12_000);
    let log = log.lock().unwrap();
    let during = log.iter().filter(|at| **at < away).count();
    (during, log.len() - during)
}

/// Without a circuit breaker, too: once everything has failed for long enough there is one probe for each wait of the backoff.
#[tokio::test(start_paused = true)]
async fn e03_an_outage_costs_few_requests_more_than_its_probes() {
    // 31 s of growing waits, and one probe in 30 s from then on.
    let probes = 6 + (600 - 31) / 30;
    assert_eq!(outage(1).await.0, probes);
    for in_flight in [2, 8, 64] {
        let (during, after) = outage(in_flight).await;
        println!("{in_flight} in flight: {during} requests in the outage, {after} after it");
        assert!(during <= probes + in_flight.max(32) + in_flight, "{during} with {in_flight} in flight");
        assert_eq!(after, 6000, "none is sent twice after it");
    }
}

#[tokio::test(start_paused = true)]
async fn e03_what_has_failed_waits_for_itself_while_the_others_are_sent() {
    let (inner, log) = failing(&[1, 4]);
    let batching = Batching::new().max_items(2).max_in_flight(2);
    let layer = pairs().batching(batching).park_backoff([SECOND, 3 * SECOND]).park_bytes(1 << 20).build().unwrap();
    let (start, batch) = (Instant::now(), layer.layer(inner));
    emit(&batch, 0..6);
    sleep(SECOND / 2).await;
    assert_eq!(*log.lock().unwrap(), [[0, 1], [2, 3], [4, 5]], "the first one has failed, and holds up no other");
    batch.handle().flush().await;
    assert_eq!(start.elapsed().as_secs(), 4, "its second wait is the second of its own backoff");
    assert_eq!(log.lock().unwrap()[3..], [[0, 1], [0, 1]]);
    assert_eq!(batch.handle().totals().delivered, 6);
}

#[tokio::test(start_paused = true)]
async fn e03_each_batch_has_as_many_attempts_as_its_backoff_has_waits() {
    let (inner, log) = failing(&[1, 2, 3, 4, 5, 6, 7]);
    let batching = Batching::new().max_items(2).max_in_flight(2);
    let layer = pairs().batching(batching).park_backoff([SECOND, SECOND]).park_bytes(1 << 20).build().unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..6);
    batch.handle().flush().await;
    let totals = batch.handle().totals();
    assert_eq!(log.lock().unwrap().len(), 9);
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::RetriesExhausted)), (4, 2));
}

/// With one batch in flight nothing overtakes: not even a batch that has failed.
#[tokio::test(start_paused = true)]
async fn e03_one_in_flight_keeps_the_order_of_arrival() {
    let (inner, log) = failing(&[2, 3, 5]);
    let batching = Batching::new().max_items(2);
    let batch = pairs().batching(batching).park_backoff([SECOND; 9]).park_bytes(1 << 20).build().unwrap().layer(inner);
    for n in 0..4 {
        emit(&batch, 2 * n..2 * n + 2);
        sleep(SECOND / 4).await;
    }
    batch.handle().flush().await;
    let log = log.lock().unwrap();
    assert_eq!(*log, [[0, 1], [2, 3], [2, 3], [2, 3], [4, 5], [4, 5], [6, 7]]);
}

#[tokio::test(start_paused = true)]
async fn e03_what_waits_for_itself_expires_and_is_bounded_by_bytes() {
    let (inner, _) = failing(&[1, 2, 3]);
    let layer = pairs()
        .batching(Batching::new().max_items(2).max_in_flight(3))
        .weigh(|_: &u32| 10)
        .park_backoff([20 * SECOND; 3])
        .park_bytes(40)
        .max_age(10 * SECOND);
    let (start, batch) = (Instant::now(), layer.build().unwrap().layer(inner));
    for n in 0..4 {
        emit(&batch, 2 * n..2 * n + 2);
        sleep(SECOND).await;
    }
    let totals = batch.handle().totals();
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Evicted)), (2, 2), "the oldest of three is evicted");
    batch.handle().flush().await;
    assert_eq!(start.elapsed().as_secs(), 12, "the last one is dropped when its time is up");
    assert_eq!(batch.handle().totals().dropped.get(DropReason::Expired), 4);
}

async fn average(load: Load, failing: f64) -> f64 {
    const SEEDS: u64 = 4;

    let mut all = 0.0;
    for seed in 0..SEEDS {
        all += delivered(load, failing, seed).await / SEEDS as f64;
    }
    all
}

/// One by one it was 31 % and 7 %.
#[tokio::test(start_paused = true)]
async fn f25_in_a_brown_out_small_batches_that_wait_leave_as_one() {
    assert!(average(SMALL, 0.3).await > 0.99);
    assert!(average(SMALL, 0.5).await > 0.99);
}

/// Full batches cannot be joined: what is delivered of them is what one probe at a time lets through, and no less than that.
#[tokio::test(start_paused = true)]
async fn f25_full_batches_fare_no_worse_than_before() {
    assert!(delivered(LARGE, 0.3, 0).await > 0.27);
    assert!(delivered(LARGE, 0.5, 0).await > 0.06);
}

/// Two items a batch, up to six in a request.
fn pairs() -> BatchBuilder<u32, Description, Settled, Retained> {
    let batching = Batching::new().max_items(6);
    BatchLayer::builder().batching(batching).flush_when(|n: &u32| n % 2 == 1).retain_items().settle(settle as Settled)
}

type Settled = fn(&Result<Vec<u32>, BoxError>, usize) -> Settlement;
type Log = Arc<Mutex<Vec<Vec<u32>>>>;

fn settle(result: &Result<Vec<u32>, BoxError>, _: usize) -> Settlement {
    match result {
        Ok(_) => Settlement::All(Fate::Delivered),
        Err(_) => Settlement::Retry { after: None, otherwise: DropReason::RetriesExhausted },
    }
}

/// A server that fails the requests of these numbers, from 1, and takes all others.
fn failing(
    numbers: &'static [usize],
) -> (impl tower::Service<Items<u32>, Response = Vec<u32>, Error = BoxError, Future: Send> + Send + 'static, Log) {
    let log = Log::default();
    let noted = Arc::clone(&log);
    let inner = service_fn(move |items: Items<u32>| {
        let number = {
            let mut log = noted.lock().unwrap();
            log.push(items.to_vec());
            log.len()
        };
        let response = items.iter().map(|item| item * 10).collect();
        ready(if numbers.contains(&number) { Err(BoxError::from("503")) } else { Ok(response) })
    });
    (inner, log)
}

fn emit(batch: &Batch<u32, Vec<u32>>, items: std::ops::Range<u32>) {
    items.for_each(|item| batch.emit(item).unwrap());
}

#[tokio::test(start_paused = true)]
async fn f25_what_was_sent_is_sent_again_as_it_was_and_what_waits_behind_it_leaves_as_one() {
    let (inner, log) = failing(&[1, 3]);
    let batch = pairs().park_backoff([SECOND; 9]).park_bytes(1 << 20).build().unwrap().layer(inner);
    emit(&batch, 0..12);
    batch.handle().flush().await;
    let expected: [&[u32]; 5] = [&[0, 1], &[0, 1], &[2, 3, 4, 5, 6, 7], &[2, 3, 4, 5, 6, 7], &[8, 9, 10, 11]];
    assert_eq!(*log.lock().unwrap(), expected);
    assert_eq!(batch.handle().totals().delivered, 12);
    // The recovery is over: from now on batches are sent as they close.
    emit(&batch, 12..16);
    batch.handle().flush().await;
    assert_eq!(log.lock().unwrap()[5..], [[12, 13], [14, 15]]);
}

#[tokio::test(start_paused = true)]
async fn f25_each_caller_of_joined_batches_gets_the_reply_to_its_own_item() {
    let (inner, log) = failing(&[1, 3]);
    let batch = pairs().respond_per_item().park_backoff([SECOND; 9]).park_bytes(1 << 20).build().unwrap().layer(inner);
    let calls: Vec<_> = (0..8).map(|n| tokio::spawn(batch.clone().oneshot(n))).collect();
    for (n, call) in (0..8).zip(calls) {
        assert_eq!(call.await.unwrap().unwrap(), n * 10);
    }
    assert_eq!(log.lock().unwrap().iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 6, 6]);
}

#[tokio::test(start_paused = true)]
async fn f25_batches_of_one_partition_that_wait_aside_are_joined_as_well() {
    let (inner, log) = failing(&[1]);
    let layer = pairs()
        .partition_by(|n: &u32| if *n < 100 { &0 } else { &1 })
        .max_open_partitions(8)
        .park_backoff([SECOND; 9])
        .park_bytes(1 << 20);
    let batch = layer.build().unwrap().layer(inner);
    emit(&batch, 0..2);
    emit(&batch, 100..102);
    emit(&batch, 2..6);
    emit(&batch, 102..104);
    batch.handle().flush().await;
    let log = log.lock().unwrap();
    let of = |key| log.iter().filter(|items| (items[0] >= 100) == key).cloned().collect::<Vec<_>>();
    assert_eq!(of(false), [vec![0, 1], vec![0, 1], vec![2, 3, 4, 5]]);
    assert_eq!(of(true), [[100, 101], [102, 103]], "the server of the others is well");
}

/// A flush is over when what was handed over before it is settled, and waits for nothing that was handed over after it.
#[tokio::test(start_paused = true)]
async fn f25_batches_of_different_flushes_stay_apart() {
    let (inner, log) = failing(&[1]);
    let batch = pairs().park_backoff([SECOND; 9]).park_bytes(1 << 20).build().unwrap().layer(inner);
    emit(&batch, 0..4);
    let flush = batch.handle().flush();
    emit(&batch, 4..6);
    flush.await;
    batch.handle().flush().await;
    assert_eq!(*log.lock().unwrap(), [[0, 1], [0, 1], [2, 3], [4, 5]]);
}

/// Joined batches expire together, so that they are of about the same age: within a tenth of the age limit.
#[tokio::test(start_paused = true)]
async fn f25_a_young_batch_does_not_expire_with_an_old_one() {
    let (inner, log) = failing(&[1, 2, 3, 4, 5, 6, 7]);
    let batch =
        pairs().park_backoff([20 * SECOND; 9]).park_bytes(1 << 20).max_age(100 * SECOND).build().unwrap().layer(inner);
    emit(&batch, 0..2);
    sleep(50 * SECOND).await;
    emit(&batch, 2..4);
    sleep(9 * SECOND).await;
    emit(&batch, 4..6);
    sleep(3 * SECOND).await;
    emit(&batch, 6..8);
    batch.handle().flush().await;
    // The first batch expires while the server is away; then those behind it are the probe, as far as they are about as old.
    let mut expected: Vec<&[u32]> = vec![&[0, 1]; 6];
    expected.extend([&[2, 3, 4, 5][..]; 2]);
    expected.push(&[6, 7]);
    assert_eq!(*log.lock().unwrap(), expected);
}

/// Once the server responds, there is nothing to keep batches of different ages apart for.
#[tokio::test(start_paused = true)]
async fn e05_what_has_piled_up_leaves_as_one_once_the_server_responds() {
    for keyed in [false, true] {
        let (inner, log) = failing(&[1]);
        let builder = pairs().park_backoff([20 * SECOND; 9]).park_bytes(1 << 20).max_age(100 * SECOND);
        let builder = if keyed { builder.partition_by(|_: &u32| "one") } else { builder };
        let batch = builder.build().unwrap().layer(inner);
        emit(&batch, 0..4);
        sleep(9 * SECOND).await;
        emit(&batch, 4..6);
        sleep(9 * SECOND).await;
        emit(&batch, 6..8);
        batch.handle().flush().await;
        let expected: [&[u32]; 3] = [&[0, 1], &[0, 1], &[2, 3, 4, 5, 6, 7]];
        assert_eq!(*log.lock().unwrap(), expected, "{keyed}");
    }
}
