//! A drain returns every item that was not delivered, whatever had it in hand.

use forebay_core::{BoxError, DropReason, Settlement};
use forebay_queue::{DrainReport, Limits, QueueLayer};
use std::{
    future::{Pending, pending},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service};

/// A service that is never ready, or never done.
#[derive(Clone, Default)]
struct Hanging {
    is_ready: bool,
    asked: Arc<AtomicUsize>,
}

impl Service<u32> for Hanging {
    type Response = ();
    type Error = BoxError;
    type Future = Pending<Result<(), BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.asked.fetch_add(1, SeqCst);
        if self.is_ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, _: u32) -> Self::Future {
        pending()
    }
}

fn all_of(mut report: DrainReport<u32>, items: u32, what: &str) {
    report.unsent.sort_unstable();
    assert!(report.totals.balance(), "{what}");
    let dropped = report.totals.dropped.get(DropReason::Shutdown);
    assert_eq!(dropped, report.unsent.len() as u64, "{what}: what counts as dropped is in the report");
    if report.totals.pending == 0 {
        assert_eq!(report.unsent, (0..items).collect::<Vec<_>>(), "{what}");
    }
}

/// On a busy machine a worker may not let its item go in time: then the item is still pending, and the report says so.
#[test]
fn f20_a_drain_reports_every_item_that_a_worker_had_in_hand_whatever_thread_is_first() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().unwrap();
    let mut seed = 20_261_130_u64;
    let mut random = move |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for round in 0..200 {
        let (workers, items) = (1 + random(8), u32::try_from(1 + random(40)).unwrap());
        let aborts = random(2) == 0;
        let report = runtime.block_on(async {
            let layer = QueueLayer::builder()
                .limits(Limits::new().soft_limit(1.0))
                .workers(usize::try_from(workers).unwrap())
                .build()
                .unwrap();
            let inner = Hanging::default();
            let asked = Arc::clone(&inner.asked);
            let (queue, one) = if aborts {
                let (queue, worker) = layer.pair(inner);
                (queue, Some(tokio::spawn(worker)))
            } else {
                (layer.layer(inner), None)
            };
            (0..items).for_each(|item| queue.emit(item).unwrap());
            while asked.load(SeqCst) == 0 {
                tokio::task::yield_now().await;
            }
            let handle = queue.handle();
            let drain = tokio::spawn(async move { handle.drain(Duration::ZERO).await });
            one.into_iter().for_each(|worker| worker.abort());
            drain.await.unwrap()
        });
        all_of(report, items, &format!("round {round}: {items} items, {workers} workers, aborts: {aborts}"));
    }
}

#[tokio::test(start_paused = true)]
async fn f20_an_item_in_hand_is_in_the_report_at_the_deadline() {
    for (is_ready, parks) in [(false, false), (false, true), (true, true)] {
        let layer = QueueLayer::builder().limits(Limits::new().soft_limit(1.0)).workers(3);
        let layer = if parks { layer.park_backoff([Duration::ZERO]).park_bytes(1000) } else { layer };
        let queue = layer.build().unwrap().layer(Hanging { is_ready, ..Hanging::default() });
        (0..10).for_each(|item| queue.emit(item).unwrap());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(queue.handle().queued(), 7);
        let report = queue.handle().drain(Duration::from_secs(1)).await;
        assert_eq!(report.totals.pending, 0);
        all_of(report, 10, &format!("ready: {is_ready}, keeps clones: {parks}"));
    }
}

#[test]
fn f20_the_item_of_the_last_worker_is_in_the_report_of_a_later_drain() {
    let (mut queue, worker) = QueueLayer::builder().build().unwrap().pair(Hanging::default());
    let mut worker = task::spawn(worker);
    (0..5).for_each(|item| queue.emit(item).unwrap());
    let mut call = task::spawn(queue.call(5));
    assert_pending!(worker.poll());
    assert_pending!(call.poll());
    drop(worker);
    assert!(assert_ready!(call.poll()).is_err());
    let handle = queue.handle();
    let mut drain = task::spawn(handle.drain(Duration::ZERO));
    all_of(assert_ready!(drain.poll()), 6, "dropped worker");
}

/// An item is retryable when the queue is abandoned: there is no other attempt, and it is not delivered.
#[test]
fn f20_an_item_that_fails_when_the_queue_is_abandoned_is_in_the_report() {
    let (fail, failed) = tokio::sync::oneshot::channel::<()>();
    let mut failed = Some(failed);
    let inner = tower::service_fn(move |_: u32| {
        let failed = failed.take();
        async move {
            if let Some(failed) = failed {
                failed.await?;
            }
            Err::<(), BoxError>("away".into())
        }
    });
    let layer = QueueLayer::builder()
        .settle(|_: &Result<(), BoxError>, _: usize| Settlement::Retry { after: None, otherwise: DropReason::Failed })
        .park_backoff([Duration::from_secs(1)])
        .park_bytes(1000)
        .build()
        .unwrap();
    let (queue, worker) = layer.pair(inner);
    let (mut worker, handle) = (task::spawn(worker), queue.handle());
    queue.emit(0).unwrap();
    assert_pending!(worker.poll());
    let mut drain = task::spawn(handle.drain(Duration::ZERO));
    assert_pending!(drain.poll());
    fail.send(()).unwrap();
    assert_ready!(worker.poll());
    all_of(assert_ready!(drain.poll()), 1, "failed at the end");
}
