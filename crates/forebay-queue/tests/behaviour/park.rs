//! A retryable item is parked: with its slot, without a worker.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{BoxError, DropReason, Settlement};
use forebay_queue::{Abandoned, Evicted, Limits, Queue, QueueBuilder, QueueLayer};
use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

/// When each request was received, in milliseconds, and which it was.
type Log = Arc<Mutex<Vec<(u128, u32)>>>;

#[derive(Clone, Copy, Debug)]
struct Away(Option<Duration>);

impl std::fmt::Display for Away {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("away")
    }
}

impl std::error::Error for Away {}

fn settle(result: &Result<u32, BoxError>, _: usize) -> Settlement {
    match result.as_ref().map_err(|error| error.downcast_ref::<Away>()) {
        Ok(_) => Settlement::All(forebay_core::Fate::Delivered),
        Err(Some(Away(after))) => Settlement::Retry { after: *after, otherwise: DropReason::RetriesExhausted },
        Err(None) => Settlement::All(forebay_core::Fate::Dropped(DropReason::Failed)),
    }
}

/// A queue whose server takes 10 ms for each request, and responds by `script`, which gets the time and the request.
fn rig(
    workers: usize,
    max_bytes: usize,
    script: impl Fn(u128, u32) -> Result<u32, Away> + Send + Sync + 'static,
) -> (Queue<u32, u32>, Log) {
    rig_with(|builder| builder, workers, max_bytes, script)
}

fn rig_with(
    knobs: impl Fn(QueueBuilder<u32>) -> QueueBuilder<u32>,
    workers: usize,
    max_bytes: usize,
    script: impl Fn(u128, u32) -> Result<u32, Away> + Send + Sync + 'static,
) -> (Queue<u32, u32>, Log) {
    let (log, start, script) = (Log::default(), Instant::now(), Arc::new(script));
    let noted = Arc::clone(&log);
    let inner = service_fn(move |n: u32| {
        let (script, now) = (Arc::clone(&script), start.elapsed().as_millis());
        noted.lock().unwrap().push((now, n));
        async move {
            sleep(Duration::from_millis(10)).await;
            script(now, n).map_err(BoxError::from)
        }
    });
    let layer = knobs(QueueLayer::builder())
        .limits(Limits::new().items(64).soft_limit(1.0))
        .workers(workers)
        .weigh(|_: &u32| 10)
        .settle(settle)
        .park_backoff([SECOND, 2 * SECOND])
        .park_bytes(max_bytes)
        .build()
        .unwrap();
    (layer.layer(inner), log)
}

fn times(log: &Log, of: u32) -> Vec<u128> {
    log.lock().unwrap().iter().filter(|(_, n)| *n == of).map(|(at, _)| *at).collect()
}

#[tokio::test(start_paused = true)]
async fn r19_a_waiting_retry_holds_its_slot_and_no_worker() {
    let (queue, log) = rig(1, 1000, |now, n| if n == 0 && now < 500 { Err(Away(None)) } else { Ok(n) });
    let handle = queue.handle();
    let first = tokio::spawn(queue.clone().call(0));
    for n in 1..=20 {
        assert_eq!(queue.clone().oneshot(n).await.unwrap(), n);
    }
    // Its one worker went on at full rate, while the first item is parked.
    assert_eq!(log.lock().unwrap().last().unwrap().0, 200);
    let totals = handle.totals();
    assert_eq!((totals.delivered, totals.pending, handle.bytes()), (20, 1, 10));
    assert_eq!(first.await.unwrap().unwrap(), 0);
    assert_eq!(times(&log, 0), [0, 1010]);
    assert_eq!((handle.totals().delivered, handle.bytes()), (21, 0));
}

#[tokio::test(start_paused = true)]
async fn when_the_backoff_ends_the_last_failure_is_the_reply() {
    let (queue, log) = rig(2, 1000, |_, _| Err(Away(None)));
    let error = queue.clone().oneshot(7).await.unwrap_err();
    assert!(error.is::<Away>());
    assert_eq!(times(&log, 7), [0, 1010, 3020]);
    let totals = queue.handle().totals();
    assert_eq!((totals.dropped.get(DropReason::RetriesExhausted), totals.pending), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_the_server_is_waited_for() {
    let (queue, log) = rig(1, 1000, |now, n| if now == 0 { Err(Away(Some(5 * SECOND))) } else { Ok(n) });
    assert_eq!(queue.clone().oneshot(7).await.unwrap(), 7);
    assert_eq!(times(&log, 7), [0, 5010]);
}

/// However long the server asks for, the item is tried again at the cap, or at the age limit if that is shorter.
#[tokio::test(start_paused = true)]
async fn f01_a_parked_item_waits_for_no_longer_than_the_cap_of_a_hint_or_its_age() {
    type Knobs = fn(QueueBuilder<u32>) -> QueueBuilder<u32>;
    let knobs: [(Knobs, u128); 4] = [
        (|builder| builder, 60_010),
        (|builder| builder.max_hint(7 * SECOND), 7_010),
        (|builder| builder.max_hint(Duration::ZERO), 1_010),
        (|builder| builder.max_hint(Duration::MAX).max_age(20 * SECOND), 20_010),
    ];
    for (knob, again) in knobs {
        for day in [86_400 * SECOND, Duration::MAX] {
            let (queue, log) =
                rig_with(knob, 1, 1000, move |now, n| if now == 0 { Err(Away(Some(day))) } else { Ok(n) });
            assert_eq!(queue.clone().oneshot(7).await.unwrap(), 7);
            assert_eq!(times(&log, 7), [0, again], "{day:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_recovery_there_is_one_probe_then_a_ramp() {
    let (queue, log) = rig(8, 1000, |now, n| if now < 500 { Err(Away(None)) } else { Ok(n) });
    (0..8).for_each(|n| queue.emit(n).unwrap());
    queue.handle().flush().await;
    let again: Vec<_> = log.lock().unwrap()[8..].iter().map(|(at, _)| *at).collect();
    // Each takes 10 ms: one, and what its success allows.
    assert_eq!(again.iter().filter(|at| **at < 1020).count(), 1, "{again:?}");
    assert_eq!(again.iter().filter(|at| **at < 1030).count(), 3, "{again:?}");
    assert_eq!(again.len(), 8);
    assert!(again.iter().all(|at| *at < 1060), "{again:?}");
    assert_eq!(queue.handle().totals().delivered, 8);
}

#[tokio::test(start_paused = true)]
async fn parked_items_are_bounded_by_bytes_and_the_oldest_is_evicted() {
    let (queue, _) = rig(1, 20, |now, n| if now < 500 { Err(Away(None)) } else { Ok(n) });
    let callers: Vec<_> = (0..3).map(|n| tokio::spawn(queue.clone().oneshot(n))).collect();
    let mut replies = Vec::new();
    for caller in callers {
        replies.push(caller.await.unwrap());
    }
    assert!(replies[0].as_ref().unwrap_err().is::<Evicted>());
    assert_eq!((*replies[1].as_ref().unwrap(), *replies[2].as_ref().unwrap()), (1, 2));
    let totals = queue.handle().totals();
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Evicted), totals.pending), (2, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn q09_parked_items_are_processed_after_the_last_handle_is_dropped() {
    let (queue, log) = rig(4, 1000, |now, n| if now < 500 { Err(Away(None)) } else { Ok(n) });
    let handle = queue.handle();
    (0..6).for_each(|n| queue.emit(n).unwrap());
    drop(queue);
    handle.flush().await;
    assert_eq!(handle.totals().delivered, 6);
    assert_eq!(log.lock().unwrap().len(), 12);
    // Every worker has ended: only the handle has the queue still.
    sleep(SECOND).await;
    assert_eq!((handle.totals().pending, handle.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn q09_a_drain_hands_back_parked_items_at_its_deadline() {
    let (queue, _) = rig(2, 1000, |_, _| Err(Away(Some(3600 * SECOND))));
    let handle = queue.handle();
    let caller = tokio::spawn(queue.clone().oneshot(1));
    queue.emit(2).unwrap();
    sleep(SECOND).await;
    assert_eq!(handle.queued(), 2);
    let report = handle.drain(SECOND).await;
    let mut unsent = report.unsent;
    unsent.sort_unstable();
    assert_eq!((unsent, report.totals.pending), (vec![1, 2], 0));
    assert_eq!(report.totals.dropped.get(DropReason::Shutdown), 2);
    assert!(caller.await.unwrap().unwrap_err().is::<Abandoned>());
}

#[tokio::test(start_paused = true)]
async fn q11_the_caller_of_a_parked_item_gets_an_error_when_the_worker_is_dropped() {
    let away = service_fn(|_: u32| std::future::ready(Err::<u32, _>(Away(None))));
    let layer = QueueLayer::builder().settle(settle).park_backoff([SECOND]).park_bytes(1000).build().unwrap();
    let (mut queue, worker) = layer.pair(away);
    let mut worker = task::spawn(worker);
    let mut call = task::spawn(queue.call(1));
    assert_pending!(worker.poll());
    assert_pending!(call.poll());
    assert_eq!(queue.handle().queued(), 1);
    drop(worker);
    assert!(matches!(call.poll(), Poll::Ready(Err(error)) if error.is::<Abandoned>()));
    assert_eq!(queue.handle().totals().dropped.get(DropReason::Shutdown), 1);
}
