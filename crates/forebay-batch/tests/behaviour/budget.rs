//! Batchers that share a byte budget.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{
    Batch, BatchBuilder, BatchHandle, BatchLayer, Batching, ByteBudget, Description, ItemFates, Items, Overflow,
    Retained, SpoolFuture, SpoolItems, Unkeyed,
};
use forebay_core::{BoxError, DropReason, Fate, Priority, SettleByVerdict, Settlement};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{advance, sleep};
use tower::Layer;

const S: Duration = Duration::from_secs(1);
const BUDGET: usize = 100;

type Weighed = Description<fn(&usize) -> usize, forebay_batch::AllNormal, Unkeyed>;
type Builder = BatchBuilder<usize, Weighed, SettleByVerdict, Retained, ItemFates>;

/// What the inner service does with each batch.
#[derive(Clone, Copy)]
enum Server {
    Takes,
    Fails,
    Panics,
    Hangs,
}

/// Keeps the items of the batches that it is given.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Vec<usize>>>);

impl SpoolItems<usize> for Store {
    fn spool(&self, items: Items<usize>, _: Priority) -> SpoolFuture {
        self.0.lock().unwrap().extend_from_slice(&items);
        Box::pin(async { Settlement::All(Fate::Spooled) })
    }
}

fn weighed(item: &usize) -> usize {
    *item
}

fn batcher(budget: &ByteBudget, server: Server, build: impl FnOnce(Builder) -> Builder) -> Batch<usize, Fate> {
    let builder = BatchLayer::<usize>::builder()
        .weigh(weighed as fn(&usize) -> usize)
        .byte_budget(budget)
        .batching(Batching::new().max_items(2).max_delay(S))
        .retain_items()
        .respond_fates();
    build(builder).build().unwrap().layer(service_fn(move |_: Items<usize>| async move {
        match server {
            Server::Takes => Ok::<_, BoxError>(()),
            Server::Fails => Err("away".into()),
            Server::Panics => panic!("the inner service panics"),
            Server::Hangs => std::future::pending().await,
        }
    }))
}

/// The one reason for which items were dropped.
fn reason<T>(handle: &BatchHandle<T>) -> Option<DropReason> {
    let totals = handle.totals();
    assert!(totals.balance(), "{totals}");
    totals.dropped.iter().map(|(reason, _)| reason).next()
}

#[tokio::test(start_paused = true)]
async fn e06_each_fate_gives_the_bytes_back() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    let fates = [
        (Server::Takes, None),
        (Server::Fails, Some(DropReason::Failed)),
        (Server::Panics, Some(DropReason::Panicked)),
    ];
    for (server, dropped) in fates {
        let batch = batcher(&budget, server, |builder| builder);
        for bytes in [30, 20, 10] {
            batch.emit(bytes).unwrap();
        }
        assert_eq!(budget.bytes(), 60);
        sleep(2 * S).await;
        assert_eq!((budget.bytes(), reason(&batch.handle())), (0, dropped));
    }
}

#[tokio::test(start_paused = true)]
async fn e06_the_end_gives_the_bytes_back_whatever_is_under_way() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    let hangs = || batcher(&budget, Server::Hangs, |builder| builder);
    let fill = |batch: &Batch<usize, Fate>| [30, 20, 10].into_iter().for_each(|bytes| batch.emit(bytes).unwrap());

    let batch = hangs();
    fill(&batch);
    sleep(S / 2).await;
    let report = batch.handle().drain(S).await;
    assert_eq!((report.unsent.len(), budget.bytes()), (3, 0), "a drain");

    let batch = hangs();
    fill(&batch);
    sleep(S / 2).await;
    batch.handle().discard(DropReason::Disabled);
    sleep(S / 2).await;
    assert_eq!((budget.bytes(), reason(&batch.handle())), (0, Some(DropReason::Disabled)), "a discard");

    let batch = batcher(&budget, Server::Fails, |builder| builder.park_backoff([10 * S; 9]).max_age(5 * S));
    fill(&batch);
    sleep(S / 2).await;
    assert_eq!(budget.bytes(), 60, "what is parked is held");
    sleep(20 * S).await;
    assert_eq!((budget.bytes(), reason(&batch.handle())), (0, Some(DropReason::Expired)), "age");
}

#[test]
fn e06_a_runtime_that_ends_gives_the_bytes_back() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let batch = runtime.block_on(async {
        let batch = batcher(&budget, Server::Hangs, |builder| builder);
        [30, 20, 10].into_iter().for_each(|bytes| batch.emit(bytes).unwrap());
        sleep(S / 2).await;
        batch
    });
    assert_eq!(budget.bytes(), 60);
    drop(runtime);
    drop(batch);
    assert_eq!(budget.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn e06_a_batcher_evicts_its_own_items_for_the_budget() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    let oldest = batcher(&budget, Server::Hangs, |builder| builder.overflow(Overflow::DropOldest));
    let other = batcher(&budget, Server::Hangs, |builder| builder);
    [20, 20, 20, 10].into_iter().for_each(|bytes| oldest.emit(bytes).unwrap());
    other.emit(20).unwrap();
    // Two batches are sealed, none is taken yet: their items may be evicted, and those of the other not.
    oldest.emit(20).unwrap();
    assert_eq!(reason(&oldest.handle()), Some(DropReason::Evicted));
    assert_eq!(other.handle().totals().pending, 1);
    assert!(budget.bytes() <= BUDGET);
    let refused = other.emit(90).unwrap_err();
    assert_eq!(refused.reason, DropReason::ByteBudget);
}

#[tokio::test(start_paused = true)]
async fn e06_under_memory_pressure_a_batcher_with_a_spool_makes_room() {
    let (budget, store) = (ByteBudget::new(BUDGET).unwrap(), Store::default());
    let spools = batcher(&budget, Server::Hangs, |builder| builder.spool(store.clone()));
    [20; 4].into_iter().for_each(|bytes| spools.emit(bytes).unwrap());
    sleep(S / 10).await;
    // One batch is in flight, one waits; three quarters of the soft limit are 68 bytes.
    assert_eq!(spools.handle().totals().spooled, 2);
    budget.set_soft_limit(0.5).unwrap();
    spools.emit(5).unwrap();
    assert_eq!(spools.emit(20).err().map(|refused| refused.reason), None);
    assert_eq!(spools.emit(1).unwrap_err().reason, DropReason::ByteBudget);
    sleep(S / 10).await;
    assert_eq!(*store.0.lock().unwrap(), [20, 20, 5, 20]);
    spools.emit(1).unwrap();
}

#[tokio::test(start_paused = true)]
async fn e06_a_caller_of_one_batcher_goes_on_when_another_gives_bytes_back() {
    let budget = ByteBudget::new(BUDGET).unwrap();
    budget.set_soft_limit(1.0).unwrap();
    let (logs, spans) =
        (batcher(&budget, Server::Takes, |builder| builder), batcher(&budget, Server::Takes, |builder| builder));
    logs.emit(100).unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let sends = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            spans.emit_or_wait(50).await.unwrap();
            done.store(true, Relaxed);
            spans
        }
    });
    advance(S / 2).await;
    sleep(S / 10).await;
    assert!(!done.load(Relaxed));
    sleep(S).await;
    assert!(done.load(Relaxed), "the batch of the other was delivered");
    let spans = sends.await.unwrap();
    assert_eq!(spans.handle().totals().pending, 1);
}
