//! What happens to batches that come back: parked, split, narrowed.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{Batch, BatchHandle, BatchLayer, Batching, Items};
use forebay_core::{Advice, BoxError, DropReason, Fate, ItemFate, Seen, Settlement, SplitCause, Totals, Verdict};
use forebay_intake::Limits;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{Instant, advance};
use tower::{Layer, ServiceExt, util::BoxService};

const SECOND: Duration = Duration::from_secs(1);

/// What the server says to a request, and a log of all requests.
type Script<T> = Arc<dyn Fn(usize, &[T]) -> Result<(), Refusal> + Send + Sync>;
type Log<T> = Arc<Mutex<Vec<(Duration, Vec<T>)>>>;

#[derive(Clone, Copy, Debug)]
enum Refusal {
    /// 503, with or without `Retry-After`.
    Away(Option<Duration>),
    /// 400.
    Bad,
    /// 413.
    TooLarge,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("refused")
    }
}

impl std::error::Error for Refusal {}

fn settle(result: &Result<(), BoxError>, _: usize) -> Settlement {
    match result.as_ref().map_err(|error| error.downcast_ref::<Refusal>()) {
        Ok(()) => Settlement::All(Fate::Delivered),
        Err(Some(Refusal::Away(after))) => Settlement::Retry { after: *after, otherwise: DropReason::RetriesExhausted },
        Err(Some(Refusal::Bad)) => Settlement::Split { cause: SplitCause::BadItem, otherwise: DropReason::Rejected },
        Err(Some(Refusal::TooLarge)) => {
            Settlement::Split { cause: SplitCause::TooLarge, otherwise: DropReason::Rejected }
        }
        Err(None) => Settlement::All(Fate::Dropped(DropReason::Failed)),
    }
}

/// A server with a script, and the log of what it got.
fn server<T: Clone + Send + Sync + 'static>(
    script: impl Fn(usize, &[T]) -> Result<(), Refusal> + Send + Sync + 'static,
) -> (BoxService<Items<T>, (), BoxError>, Log<T>) {
    let (script, log): (Script<T>, Log<T>) = (Arc::new(script), Arc::default());
    let (start, noted) = (Instant::now(), Arc::clone(&log));
    let service = service_fn(move |items: Items<T>| {
        let mut log = noted.lock().unwrap();
        log.push((start.elapsed(), items.to_vec()));
        let response = script(log.len(), &items);
        std::future::ready(response.map_err(BoxError::from))
    });
    (service, log)
}

fn requests<T>(log: &Log<T>) -> usize {
    log.lock().unwrap().len()
}

fn times<T>(log: &Log<T>) -> Vec<u64> {
    log.lock().unwrap().iter().map(|(at, _)| at.as_secs()).collect()
}

fn sizes<T>(log: &Log<T>) -> Vec<usize> {
    log.lock().unwrap().iter().map(|(_, items)| items.len()).collect()
}

fn totals<T>(handle: &BatchHandle<T>) -> Totals {
    let totals = handle.totals();
    assert!(totals.balance(), "{totals}");
    totals
}

fn backoff() -> Vec<Duration> {
    vec![SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, 16 * SECOND]
}

fn emit<A>(batch: &Batch<u32, A>, items: std::ops::Range<u32>) {
    items.for_each(|item| batch.emit(item).unwrap());
}

/// An inner service that does not respond at once.
async fn latency() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn t11_what_comes_back_retryable_waits_and_is_sent_again_once() {
    let (inner, log) = server(|n, _: &[u32]| if n <= 2 { Err(Refusal::Away(None)) } else { Ok(()) });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(2))
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..6);
    batch.handle().flush().await;
    assert_eq!(times(&log), [0, 1, 3, 3, 3], "1 s, then 2 s, then all that waited");
    let sent: Vec<_> = log.lock().unwrap().iter().map(|(_, items)| items[0]).collect();
    assert_eq!(sent, [0, 0, 0, 2, 4], "in order, and none twice but the one that was refused");
    assert_eq!((totals(&batch.handle()).delivered, totals(&batch.handle()).pending), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn after_a_recovery_there_is_one_probe_then_a_ramp() {
    let under_way = Arc::new(Mutex::new((0, Vec::new())));
    let noted = Arc::clone(&under_way);
    let inner = service_fn(move |_: Items<u32>| {
        let noted = Arc::clone(&noted);
        async move {
            let n = {
                let mut noted = noted.lock().unwrap();
                noted.0 += 1;
                let now = noted.0;
                noted.1.push(now);
                noted.1.len()
            };
            latency().await;
            noted.lock().unwrap().0 -= 1;
            if n <= 8 { Err(BoxError::from(Refusal::Away(Some(SECOND)))) } else { Ok(()) }
        }
    });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(1).max_in_flight(8))
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..30);
    batch.handle().flush().await;
    let most = &under_way.lock().unwrap().1;
    assert_eq!(most[..8], [1, 2, 3, 4, 5, 6, 7, 8], "healthy: all at once");
    assert_eq!(most[8], 1, "one probe");
    assert!(most[9] <= 2 && most[10] <= 2, "then two: {most:?}");
    assert!(most[9..].contains(&8), "in the end all again: {most:?}");
    assert_eq!(totals(&batch.handle()).delivered, 30);
}

/// A hint is meant for the server's clients, whatever became of the requests beside it.
#[tokio::test(start_paused = true)]
async fn one_hint_holds_everything_that_is_not_in_flight() {
    let (inner, log) = server(|n, _: &[u32]| if n == 1 { Err(Refusal::Away(Some(20 * SECOND))) } else { Ok(()) });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(2).max_in_flight(8))
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..2);
    latency().await;
    advance(SECOND).await;
    emit(&batch, 2..8);
    batch.handle().flush().await;
    assert_eq!((times(&log)[0], times(&log)[1..].iter().all(|at| *at == 20)), (0, true));
    assert_eq!(totals(&batch.handle()).delivered, 8);
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_waited_for_and_a_batch_that_outlives_it_is_dropped() {
    let (inner, log) = server(|_, _: &[u32]| Err(Refusal::Away(Some(20 * SECOND))));
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(2))
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .max_age(30 * SECOND)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..2);
    let start = Instant::now();
    batch.handle().flush().await;
    assert_eq!(times(&log), [0, 20]);
    assert_eq!(start.elapsed().as_secs(), 30, "it is dropped when its time is up, not when it would be sent");
    assert_eq!(totals(&batch.handle()).dropped.get(DropReason::Expired), 2);
}

#[tokio::test(start_paused = true)]
async fn what_waits_behind_a_server_that_is_away_grows_old_as_well() {
    let (inner, log) = server(|_, _: &[u32]| Err(Refusal::Away(Some(3600 * SECOND))));
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(2))
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .max_age(30 * SECOND)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..7);
    let start = Instant::now();
    batch.handle().flush().await;
    assert_eq!((start.elapsed().as_secs(), requests(&log)), (30, 1));
    assert_eq!(totals(&batch.handle()).dropped.get(DropReason::Expired), 7);
}

#[tokio::test(start_paused = true)]
async fn when_the_backoff_ends_the_reason_is_the_one_of_the_last_failure() {
    let (inner, log) = server(|_, _: &[u32]| Err(Refusal::Away(None)));
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(2))
        .retain_items()
        .settle(settle)
        .respond_fates()
        .park_backoff([SECOND, SECOND])
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    let reply = tokio::spawn(batch.clone().oneshot(1));
    emit(&batch, 0..1);
    assert_eq!(reply.await.unwrap().unwrap(), Fate::Dropped(DropReason::RetriesExhausted));
    assert_eq!(requests(&log), 3);
    // The next one finds a fresh backoff.
    emit(&batch, 0..2);
    batch.handle().flush().await;
    assert_eq!(requests(&log), 6);
    assert_eq!(totals(&batch.handle()).dropped.get(DropReason::RetriesExhausted), 4);
}

#[tokio::test(start_paused = true)]
async fn parked_bytes_are_bounded_and_the_oldest_go_first() {
    let log: Log<u32> = Arc::default();
    let noted = Arc::clone(&log);
    let inner = service_fn(move |items: Items<u32>| {
        let noted = Arc::clone(&noted);
        async move {
            latency().await;
            let mut log = noted.lock().unwrap();
            log.push((Duration::ZERO, items.to_vec()));
            if log.len() <= 3 { Err(BoxError::from(Refusal::Away(None))) } else { Ok(()) }
        }
    });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(1).max_in_flight(3))
        .retain_items()
        .settle(settle)
        .weigh(|_: &u32| 10)
        .park_backoff(backoff())
        .park_bytes(20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..3);
    batch.handle().flush().await;
    let totals = totals(&batch.handle());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Evicted)), (2, 1));
    assert_eq!(requests(&log), 5);
}

#[tokio::test(start_paused = true)]
async fn what_was_evicted_does_not_hold_up_what_comes_next() {
    let (inner, log) = server(|n, _: &[u32]| if n == 1 { Err(Refusal::Away(None)) } else { Ok(()) });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(1))
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..1);
    batch.handle().flush().await;
    assert_eq!(totals(&batch.handle()).dropped.get(DropReason::Evicted), 1);
    emit(&batch, 1..2);
    // Nothing but the worker's own timer wakes it.
    tokio::time::timeout(60 * SECOND, async {
        while totals(&batch.handle()).pending > 0 {
            tokio::time::sleep(SECOND).await
        }
    })
    .await
    .unwrap();
    assert_eq!(times(&log), [0, 1]);
}

#[tokio::test(start_paused = true)]
async fn the_parts_of_a_batch_wait_for_a_server_that_is_away() {
    let (inner, log) = server(|n, _: &[u32]| match n {
        1 => Err(Refusal::Bad),
        2 => Err(Refusal::Away(None)),
        _ => Ok(()),
    });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(4))
        .retain_items()
        .split_budget(16)
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..4);
    batch.handle().flush().await;
    assert_eq!((times(&log), sizes(&log)), (vec![0, 0, 1, 1], vec![4, 2, 2, 2]));
    assert_eq!(totals(&batch.handle()).delivered, 4);
}

#[tokio::test(start_paused = true)]
async fn r19_other_keys_go_on_at_full_rate() {
    let (inner, log) = server(
        |_, items: &[(&'static str, u32)]| {
            if items[0].0 == "down" { Err(Refusal::Away(Some(60 * SECOND))) } else { Ok(()) }
        },
    );
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(2))
        .partition_by(|item: &(&'static str, u32)| item.0)
        .max_open_partitions(8)
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .max_age(90 * SECOND)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    for n in 0..100 {
        batch.emit(("down", n)).unwrap();
        batch.emit(("up", n)).unwrap();
    }
    for _ in 0..400 {
        tokio::task::yield_now().await;
    }
    let mut by_key = HashMap::new();
    log.lock().unwrap().iter().for_each(|(_, items)| *by_key.entry(items[0].0).or_insert(0) += 1);
    assert_eq!((by_key["up"], by_key["down"]), (50, 1), "what waits holds neither the worker nor a slot in flight");
    batch.handle().flush().await;
    let totals = totals(&batch.handle());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Expired)), (100, 100));
    assert_eq!(times(&log).into_iter().filter(|at| *at > 0).collect::<Vec<_>>(), [60], "one probe in all that time");
}

#[tokio::test(start_paused = true)]
async fn t16_one_poison_item_in_a_thousand_costs_itself() {
    for poison in [0, 1, 499, 500, 777, 998, 999] {
        let (inner, log) =
            server(move |_, items: &[u32]| if items.contains(&poison) { Err(Refusal::Bad) } else { Ok(()) });
        let layer = BatchLayer::builder()
            .batching(Batching::new().max_items(1000))
            .retain_items()
            .settle(settle)
            .respond_fates()
            .split_budget(64)
            .build()
            .unwrap();
        let batch = layer.layer(inner);
        let replies: Vec<_> = (0..1000).map(|n| tokio::spawn(batch.clone().oneshot(n))).collect();
        for (n, reply) in (0..).zip(replies) {
            let expected = if n == poison { Fate::Dropped(DropReason::Rejected) } else { Fate::Delivered };
            assert_eq!(reply.await.unwrap().unwrap(), expected);
        }
        let totals = totals(&batch.handle());
        assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected), totals.pending), (999, 1, 0));
        assert!(requests(&log) <= 21, "{} requests for {poison}", requests(&log));
    }
}

#[tokio::test(start_paused = true)]
async fn a_split_budget_is_never_exceeded_and_what_it_does_not_reach_is_dropped() {
    let (inner, log) = server(|_, items: &[u32]| if items.len() > 1 { Err(Refusal::Bad) } else { Ok(()) });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(64))
        .retain_items()
        .settle(settle)
        .split_budget(10)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..64);
    batch.handle().flush().await;
    assert_eq!(requests(&log), 10);
    let totals = totals(&batch.handle());
    assert!(totals.delivered >= 2, "{totals}");
    assert_eq!(totals.delivered + totals.dropped.get(DropReason::Rejected), 64);
}

#[tokio::test(start_paused = true)]
async fn t17_after_a_413_the_next_batch_is_small_enough_already() {
    let (inner, log) = server(|_, items: &[u32]| if items.len() > 30 { Err(Refusal::TooLarge) } else { Ok(()) });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(100))
        .retain_items()
        .settle(settle)
        .split_budget(64)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..300);
    batch.handle().flush().await;
    let sizes = sizes(&log);
    let refused = sizes.iter().filter(|size| **size > 30).count();
    assert_eq!(sizes[..3], [100, 50, 25]);
    assert_eq!(refused, 2, "only the first batch had to learn: {sizes:?}");
    assert_eq!(totals(&batch.handle()).delivered, 300);
}

#[tokio::test(start_paused = true)]
async fn one_item_that_is_too_large_by_itself_is_dropped_as_that() {
    let (inner, _) = server(|_, items: &[u32]| if items.contains(&7) { Err(Refusal::TooLarge) } else { Ok(()) });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(16))
        .retain_items()
        .settle(settle)
        .split_budget(64)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..16);
    batch.handle().flush().await;
    let totals = totals(&batch.handle());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::TooLarge)), (15, 1));
}

#[tokio::test(start_paused = true)]
async fn r11_only_what_is_known_to_be_refused_is_sent_again() {
    let log: Log<u32> = Arc::default();
    let noted = Arc::clone(&log);
    let start = Instant::now();
    let inner = service_fn(move |items: Items<u32>| {
        noted.lock().unwrap().push((start.elapsed(), items.to_vec()));
        // Odd ones are refused for now, 4 for good; the second time all are taken.
        let first = noted.lock().unwrap().len() == 1;
        let fates = items.iter().map(|item| match item {
            4 => ItemFate::Final(Fate::Dropped(DropReason::Rejected)),
            item if item % 2 == 1 && first => ItemFate::Retry(DropReason::RetriesExhausted),
            _ => ItemFate::Final(Fate::Delivered),
        });
        let fates: Vec<_> = fates.collect();
        drop(items);
        std::future::ready(Ok::<_, BoxError>(fates))
    });
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(6))
        .retain_items()
        .settle(|result: &Result<Vec<ItemFate>, BoxError>, _: usize| match result {
            Ok(fates) => Settlement::Each(fates.clone()),
            Err(error) => Settlement::of_error(error),
        })
        .respond_fates()
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    let replies: Vec<_> = (0..6).map(|n| tokio::spawn(batch.clone().oneshot(n))).collect();
    for (n, reply) in replies.into_iter().enumerate() {
        let expected = if n == 4 { Fate::Dropped(DropReason::Rejected) } else { Fate::Delivered };
        assert_eq!(reply.await.unwrap().unwrap(), expected, "{n}");
    }
    let sent: Vec<_> = log.lock().unwrap().iter().map(|(_, items)| items.clone()).collect();
    assert_eq!(sent, [vec![0, 1, 2, 3, 4, 5], vec![1, 3, 5]]);
    let totals = totals(&batch.handle());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected), totals.pending), (5, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_is_counted_by_its_number_and_nothing_is_sent_again() {
    let inner = service_fn(|_: Items<u32>| std::future::ready(Ok::<_, BoxError>(())));
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(10))
        .retain_items()
        .settle(|_: &Result<(), BoxError>, _: usize| Settlement::Partial { dropped: 3, reason: DropReason::Rejected })
        .respond_fates()
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    let replies: Vec<_> = (0..10).map(|n| tokio::spawn(batch.clone().oneshot(n))).collect();
    let mut dropped = 0;
    for reply in replies {
        dropped += u32::from(reply.await.unwrap().unwrap().is_dropped());
    }
    let totals = totals(&batch.handle());
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected), dropped), (7, 3, 3));
}

#[tokio::test(start_paused = true)]
async fn without_parking_a_failure_is_final_and_says_why() {
    let verdict = Verdict::new(DropReason::CircuitOpen, Seen::No, Advice::RetryAfter(SECOND));
    let inner = service_fn(move |_: Vec<u32>| std::future::ready(Err::<(), _>(BoxError::from(verdict.clone()))));
    let batch = BatchLayer::builder().batching(Batching::new().max_items(2)).build().unwrap().layer(inner);
    emit(&batch, 0..2);
    batch.handle().flush().await;
    assert_eq!(totals(&batch.handle()).dropped.get(DropReason::CircuitOpen), 2);
}

#[tokio::test(start_paused = true)]
async fn a_drain_with_batches_parked_ends_in_time_and_hands_them_back() {
    let (inner, _) = server(|_, _: &[u32]| Err(Refusal::Away(Some(Duration::from_secs(86_400)))));
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(2))
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    emit(&batch, 0..5);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let start = Instant::now();
    let mut report = batch.handle().drain(3 * SECOND).await;
    assert!(start.elapsed() <= 3 * SECOND + Duration::from_millis(25));
    report.unsent.sort_unstable();
    assert_eq!(report.unsent, [0, 1, 2, 3, 4]);
    assert_eq!((report.totals.dropped.get(DropReason::Shutdown), report.totals.pending), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn limits_hold_while_the_far_side_is_away() {
    let (inner, _) = server(|_, _: &[u32]| Err(Refusal::Away(Some(3600 * SECOND))));
    let layer = BatchLayer::builder()
        .limits(Limits::new().items(20).soft_limit(1.0))
        .batching(Batching::new().max_items(2))
        .retain_items()
        .settle(settle)
        .park_backoff(backoff())
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    let mut refused = 0;
    for n in 0..1000 {
        refused += u32::from(batch.emit(n).is_err());
        if n % 10 == 0 {
            advance(SECOND / 10).await;
        }
    }
    assert_eq!(refused, 980);
    assert_eq!(totals(&batch.handle()).pending, 20);
}

#[test]
fn what_needs_the_items_is_refused_without_them() {
    let knob = |result: Result<_, forebay_core::ConfigError>| result.map(|_: ()| ()).unwrap_err().knob();
    assert_eq!(knob(BatchLayer::<u32>::builder().park_backoff(backoff()).build().map(drop)), "park_backoff");
    assert_eq!(knob(BatchLayer::<u32>::builder().split_budget(9).build().map(drop)), "split_budget");
    assert_eq!(knob(BatchLayer::<u32>::builder().max_age(Duration::ZERO).build().map(drop)), "max_age");
    assert_eq!(knob(BatchLayer::<u32>::builder().ready_timeout(Duration::ZERO).build().map(drop)), "ready_timeout");
    assert_eq!(knob(BatchLayer::<u32>::builder().limits(Limits::new().items(0)).build().map(drop)), "items");
    let keyed = BatchLayer::<String>::builder().partition_by(|item: &String| item.as_str()).max_open_partitions(0);
    assert_eq!(knob(keyed.build().map(drop)), "max_open_partitions");
}

#[tokio::test(start_paused = true)]
async fn discard_drops_what_is_queued_waits_or_is_in_flight_and_goes_on() {
    static PAIRS: [u32; 8] = [0, 0, 1, 1, 2, 2, 3, 3];
    // The first comes back and waits; the second hangs; the third is queued behind it.
    let (calls, inner) = {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&calls);
        let inner = service_fn(move |items: Items<u32>| {
            noted.lock().unwrap().push(items.to_vec());
            async move {
                match items.first() {
                    Some(0) => Err(BoxError::from(Refusal::Away(None))),
                    Some(2) => std::future::pending().await,
                    _ => Ok(()),
                }
            }
        });
        (calls, inner)
    };
    let layer = BatchLayer::builder()
        .batching(Batching::new().max_items(2).max_in_flight(1))
        .partition_by(|item: &u32| &PAIRS[*item as usize])
        .max_open_partitions(8)
        .retain_items()
        .settle(settle)
        .park_backoff(vec![600 * SECOND; 9])
        .park_bytes(1 << 20)
        .build()
        .unwrap();
    let batch = layer.layer(inner);
    let handle = batch.handle();
    emit(&batch, 0..4);
    let called = tokio::spawn(batch.clone().oneshot(4));
    latency().await;
    assert_eq!(*calls.lock().unwrap(), [[0, 1], [2, 3]]);
    assert_eq!(totals(&handle).pending, 5);

    handle.discard(DropReason::Disabled);
    tokio::time::timeout(SECOND, handle.flush()).await.unwrap();
    let counted = totals(&handle);
    assert_eq!((counted.pending, counted.dropped.get(DropReason::Disabled)), (0, 5));
    let error = called.await.unwrap().unwrap_err();
    let verdict = Verdict::of(&*error).unwrap();
    assert_eq!((verdict.reason(), verdict.seen(), verdict.advice()), (DropReason::Disabled, Seen::No, Advice::Never));

    // Nothing is left of it: what is handed over later is sent at once, the partition that had failed included.
    batch.emit(1).unwrap();
    batch.emit(6).unwrap();
    tokio::time::timeout(SECOND, handle.flush()).await.unwrap();
    assert_eq!(totals(&handle).delivered, 2);
    assert_eq!((handle.queued(), handle.bytes()), (0, 0));
    advance(1200 * SECOND).await;
    assert_eq!(calls.lock().unwrap().len(), 4);
}

/// However long the server asks for, its partition is probed again at the cap, or once the batch that it asked has expired.
#[tokio::test(start_paused = true)]
async fn f01_a_partition_is_held_for_no_longer_than_the_cap_of_a_hint_or_its_batch() {
    for (max_hint, max_age, again) in [
        (None, None, 60),
        (Some(7 * SECOND), None, 7),
        (Some(Duration::ZERO), None, 1),
        (Some(Duration::MAX), Some(20 * SECOND), 20),
    ] {
        for day in [86_400 * SECOND, Duration::MAX] {
            let (inner, log) = server(move |n, _: &[u32]| if n == 1 { Err(Refusal::Away(Some(day))) } else { Ok(()) });
            let mut builder = BatchLayer::builder()
                .batching(Batching::new().max_items(1))
                .retain_items()
                .settle(settle)
                .park_backoff(backoff())
                .park_bytes(1 << 20);
            if let Some(most) = max_hint {
                builder = builder.max_hint(most);
            }
            if let Some(age) = max_age {
                builder = builder.max_age(age);
            }
            let batch = builder.build().unwrap().layer(inner);
            emit(&batch, 0..1);
            latency().await;
            advance(SECOND / 2).await;
            emit(&batch, 1..2);
            batch.handle().flush().await;
            assert_eq!(times(&log)[..2], [0, again], "{max_hint:?}, {max_age:?}, {day:?}");
            assert_eq!(totals(&batch.handle()).pending, 0);
        }
    }
}
