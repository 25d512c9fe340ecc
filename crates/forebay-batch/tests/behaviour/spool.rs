//! What could not be delivered goes to the spool of a batcher, and nothing else does.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use crate::support::service_fn;
use forebay_batch::{Batch, BatchBuilder, BatchLayer, Batching, Description, Items, Limits, SpoolFuture, SpoolItems};
use forebay_core::{BoxError, DropReason, Fate, ItemFate, Priority, SettleByVerdict, Settlement};
use std::{
    future::{Ready, pending, ready},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceExt};

const S: Duration = Duration::from_secs(1);

type Builder = BatchBuilder<u32, Description, SettleByVerdict, forebay_batch::Retained, forebay_batch::ItemFates>;

/// Keeps what it is given, and says what its first calls are to say.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    batches: Vec<(Vec<u32>, Priority)>,
    says: Vec<Says>,
}

#[derive(Clone, Copy)]
enum Says {
    Kept,
    NotKept,
    Panics,
    Hangs,
    /// The first item of each batch cannot be kept.
    AllButFirst,
}

impl Store {
    fn saying(says: impl IntoIterator<Item = Says>) -> Self {
        let store = Self::default();
        store.0.lock().unwrap().says = says.into_iter().collect();
        store
    }

    fn items(&self) -> Vec<u32> {
        self.0.lock().unwrap().batches.iter().flat_map(|(items, _)| items.clone()).collect()
    }
}

impl SpoolItems<u32> for Store {
    fn spool(&self, items: Items<u32>, priority: Priority) -> SpoolFuture {
        let mut kept = self.0.lock().unwrap();
        let says = if kept.says.is_empty() { Says::Kept } else { kept.says.remove(0) };
        let count = items.len();
        if matches!(says, Says::Kept | Says::AllButFirst) {
            kept.batches.push((items.to_vec(), priority));
        }
        drop(kept);
        Box::pin(async move {
            match says {
                Says::Kept => Settlement::All(Fate::Spooled),
                Says::NotKept => Settlement::Retry { after: None, otherwise: DropReason::Failed },
                Says::Panics => panic!("the spool panics"),
                Says::Hangs => pending().await,
                Says::AllButFirst => {
                    let mut fates = vec![ItemFate::Final(Fate::Spooled); count];
                    fates[0] = ItemFate::Final(Fate::Dropped(DropReason::Encode));
                    Settlement::Each(fates)
                }
            }
        })
    }
}

type Away = Ready<Result<(), BoxError>>;

/// A batcher whose server is away.
fn away(build: impl FnOnce(Builder) -> Builder) -> Batch<u32, Fate> {
    let builder = BatchLayer::<u32>::builder()
        .batching(Batching::new().max_items(4).max_delay(S / 10))
        .retain_items()
        .respond_fates();
    let layer = build(builder).build().unwrap();
    layer.layer(service_fn(|_: Items<u32>| -> Away { ready(Err("away".into())) }))
}

#[tokio::test(start_paused = true)]
async fn what_outlives_its_age_is_spooled_in_its_lane_and_its_caller_gets_that_fate() {
    let store = Store::default();
    let batch = away(|batch| {
        let batch = batch.park_backoff([S; 9]).max_age(3 * S).spool(store.clone());
        batch.flush_when(|item| *item == 7)
    });
    let caller = batch.clone().oneshot(7);
    (0..6).for_each(|item| batch.emit(item).unwrap());
    assert_eq!(caller.await.unwrap(), Fate::Spooled);
    sleep(9 * S).await;
    let totals = batch.handle().totals();
    assert_eq!((totals.spooled, totals.pending, totals.dropped.total()), (7, 0, 0), "{totals}");
    let mut items = store.items();
    items.sort_unstable();
    assert_eq!(items, [0, 1, 2, 3, 4, 5, 7]);
    // They leave the spool for the server.
    assert_eq!(batch.handle().settle_spooled(Fate::Delivered, 9), 7, "no more than are spooled");
    let totals = batch.handle().totals();
    assert!(totals.balance() && (totals.spooled, totals.delivered) == (0, 7), "{totals}");
}

#[tokio::test(start_paused = true)]
async fn without_parking_what_comes_back_is_spooled_at_once() {
    let store = Store::default();
    let batch = away(|batch| batch.spool(store.clone()));
    (0..6).for_each(|item| batch.emit(item).unwrap());
    batch.handle().flush().await;
    assert_eq!(store.items(), [0, 1, 2, 3, 4, 5]);
    assert_eq!(batch.handle().totals().spooled, 6);
}

#[tokio::test(start_paused = true)]
async fn a_spool_that_keeps_nothing_or_panics_changes_no_reason_and_costs_nothing_else() {
    let store = Store::saying([Says::NotKept, Says::Panics, Says::AllButFirst]);
    let batch = away(|batch| batch.park_backoff([S; 9]).max_age(2 * S).spool(store.clone()));
    (0..16).for_each(|item| batch.emit(item).unwrap());
    batch.handle().flush().await;
    let totals = batch.handle().totals();
    assert_eq!((totals.dropped.get(DropReason::Expired), totals.dropped.get(DropReason::Encode)), (8, 1), "{totals}");
    assert!(totals.spooled == 7 && totals.balance(), "{totals}");
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_and_what_is_discarded_is_not_spooled() {
    let store = Store::default();
    let refusing = away(|batch| batch.spool(store.clone()));
    let layer = BatchLayer::<u32>::builder()
        .retain_items()
        .respond_fates()
        .settle(|_: &Result<(), BoxError>, _: usize| Settlement::All(Fate::Dropped(DropReason::Rejected)))
        .spool(store.clone())
        .build()
        .unwrap();
    let batch = layer.layer(service_fn(|_: Items<u32>| -> Away { ready(Ok(())) }));
    batch.emit(1).unwrap();
    batch.handle().flush().await;
    assert_eq!(batch.handle().totals().dropped.get(DropReason::Rejected), 1);
    refusing.emit(2).unwrap();
    refusing.handle().discard(DropReason::Disabled);
    refusing.handle().flush().await;
    assert_eq!(refusing.handle().totals().dropped.get(DropReason::Disabled), 1);
    assert!(store.items().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_spools_what_is_left_wherever_it_is_and_an_abort_reports_what_is_not_written() {
    let hanging = |store: &Store| {
        let layer = BatchLayer::<u32>::builder()
            .batching(Batching::new().max_items(2).max_delay(60 * S))
            .retain_items()
            .respond_fates()
            .spool(store.clone())
            .build()
            .unwrap();
        layer.layer(service_fn(|_: Items<u32>| pending::<Result<(), BoxError>>()))
    };
    let store = Store::default();
    let batch = hanging(&store);
    (0..7).for_each(|item| batch.emit(item).unwrap());
    assert!(!batch.handle().is_flushed_within(S).await);
    batch.handle().close();
    batch.handle().spool_rest();
    let report = batch.handle().drain(S).await;
    assert_eq!((report.totals.spooled, report.unsent.len()), (7, 0), "{}", report.totals);
    let mut items = store.items();
    items.sort_unstable();
    assert_eq!(items, [0, 1, 2, 3, 4, 5, 6]);

    let batch = hanging(&Store::saying([Says::Hangs; 9]));
    (0..7).for_each(|item| batch.emit(item).unwrap());
    batch.handle().spool_rest();
    let report = batch.handle().drain(S).await;
    assert_eq!((report.totals.dropped.get(DropReason::Shutdown), report.totals.spooled), (7, 0), "{}", report.totals);
    assert_eq!(report.unsent.len(), 7);
    assert!(report.totals.balance());
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_for_room_gets_it_from_the_spool() {
    let store = Store::default();
    let layer = BatchLayer::<u32>::builder()
        .limits(Limits::new().items(20))
        .batching(Batching::new().max_items(4).max_delay(60 * S))
        .retain_items()
        .respond_fates()
        .spool(store.clone())
        .build()
        .unwrap();
    let batch = layer.layer(service_fn(|_: Items<u32>| pending::<Result<(), BoxError>>()));
    for item in 0..200 {
        batch.emit_or_wait(item).await.unwrap();
    }
    let totals = batch.handle().totals();
    assert!(totals.spooled >= 180 && totals.dropped.total() == 0 && totals.balance(), "{totals}");
    advance(S).await;
}

#[test]
fn a_spool_needs_items_that_are_retained() {
    let error = BatchLayer::<u32>::builder().spool(Store::default()).build().unwrap_err().to_string();
    assert!(error.contains("spool") && error.contains("retain_items"), "{error}");
}
