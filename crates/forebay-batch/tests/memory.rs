//! A hundred times more than the far side takes: what is held stays within the configured bytes.
//!
//! `cargo test --release -p forebay-batch --test memory -- --ignored --nocapture` is a minute of it.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, clippy::print_stderr, reason = "test code")]

use forebay_batch::{BatchLayer, Batching};
use forebay_core::{BoxError, DropReason, Fate, Footprint};
use forebay_queue::{Limits, Offer, channel};
use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
    },
    time::Duration,
};
use tower::{Layer, service_fn};
use tracking_allocator::{AllocationGroupId, AllocationRegistry, AllocationTracker, Allocator};

#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

/// Bytes that were asked for since the count began and not given back.
static HELD: AtomicI64 = AtomicI64::new(0);
static MOST: AtomicI64 = AtomicI64::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);
/// One test counts at a time.
static COUNTING: Mutex<()> = Mutex::new(());

struct Counter;

impl AllocationTracker for Counter {
    fn allocated(&self, _: usize, size: usize, _: usize, _: AllocationGroupId) {
        let held = HELD.fetch_add(size as i64, Relaxed) + size as i64;
        MOST.fetch_max(held, Relaxed);
    }

    fn deallocated(&self, _: usize, size: usize, _: usize, _: AllocationGroupId, _: AllocationGroupId) {
        HELD.fetch_sub(size as i64, Relaxed);
    }
}

/// The most bytes that were held at a time during `work`, above those that were before.
async fn most_held(work: impl Future<Output = ()>) -> usize {
    if !INSTALLED.swap(true, Relaxed) {
        AllocationRegistry::set_global_tracker(Counter).unwrap();
    }
    HELD.store(0, Relaxed);
    MOST.store(0, Relaxed);
    AllocationRegistry::enable_tracking();
    work.await;
    AllocationRegistry::disable_tracking();
    usize::try_from(MOST.load(Relaxed)).unwrap()
}

const LIMIT: usize = 4 << 20;

/// Beyond the weights of the items, as a share of the limit: buffers that grow by doubling, and what is fixed.
const OVERHEAD: f64 = 0.1;

/// Items come a hundred times as fast as they leave.
const OVERLOAD: usize = 100;

const BATCH: usize = 64;

type Item = Vec<u8>;

fn item(n: usize) -> Item {
    vec![1; 900 + n % 200]
}

fn weight(item: &Item) -> usize {
    size_of::<Item>() + item.capacity()
}

fn limits() -> Limits {
    Limits::new().items(1 << 20).bytes(LIMIT)
}

fn check(name: &str, most: usize, offered: u64, refused: u64) {
    eprintln!(
        "{name}: {offered} offered, {refused} refused, {most} bytes held at most, {:.4} of the limit",
        most as f64 / LIMIT as f64
    );
    assert!(refused as f64 > 0.9 * offered as f64, "{refused} of {offered}: that is no overload");
    assert!(most as f64 > 0.8 * LIMIT as f64, "{most}: the room is used");
    assert!(most as f64 <= (1.0 + OVERHEAD) * LIMIT as f64, "{most}: bounded by bytes");
}

/// A far side that takes a batch in 10 ms of virtual time, for so many virtual seconds.
async fn overload_a_batcher(seconds: u64) {
    let mut told = None;
    let most = most_held(async {
        let layer = BatchLayer::builder()
            .limits(limits())
            .batching(Batching::new().max_items(BATCH).max_in_flight(1))
            .weigh(weight)
            .build()
            .unwrap();
        let batch = layer.layer(service_fn(|items: Vec<Item>| async move {
            tokio::time::sleep(Duration::from_millis(10)).await;
            drop(items);
            Ok::<_, BoxError>(())
        }));
        for _ in 0..seconds * 100 {
            for n in 0..BATCH * OVERLOAD {
                drop(batch.emit(item(n)));
            }
            tokio::time::advance(Duration::from_millis(10)).await;
            tokio::task::yield_now().await;
        }
        let handle = batch.handle();
        let totals = handle.totals();
        assert!(totals.balance(), "{totals}");
        told = Some((totals.offered, totals.dropped.total()));
        assert!(totals.delivered > 0 && totals.dropped.get(DropReason::SoftLimit) > 0, "{totals}");
        let report = handle.drain(Duration::from_secs(3600)).await;
        assert_eq!((report.totals.pending, handle.bytes()), (0, 0));
    })
    .await;
    let (offered, refused) = told.unwrap();
    check("batch", most, offered, refused);
}

/// The same of a channel, whose receiver takes one item while a hundred come.
async fn overload_a_channel(rounds: usize) {
    let mut told = None;
    let most = most_held(async {
        let (sender, mut receiver) = channel::<Item>(limits()).unwrap();
        for n in 0..rounds {
            for _ in 0..OVERLOAD {
                let item = item(n);
                let bytes = weight(&item);
                drop(sender.emit(Offer::new(item).weight(bytes)));
            }
            receiver.try_recv().unwrap().settle(Fate::Delivered);
        }
        let totals = sender.handle().totals();
        assert!(totals.balance(), "{totals}");
        told = Some((totals.offered, totals.dropped.total()));
    })
    .await;
    let (offered, refused) = told.unwrap();
    check("channel", most, offered, refused);
}

/// How many batches are open at a time, and which one the item of a number goes into.
type Partitions = (usize, fn(usize) -> usize);

/// Offers such items to a batcher whose inner service never ends, until a hundred were refused; the most bytes held.
async fn fill_a_batcher<T: Footprint + Send + Sync + 'static>(
    name: &str,
    partitions: Option<Partitions>,
    make: impl Fn(usize) -> T,
) {
    let mut offered = 0;
    let mut batcher = None;
    let most = most_held(async {
        let builder = BatchLayer::builder()
            .limits(limits().items(1 << 24).soft_limit(1.0))
            .batching(Batching::new().max_items(500).max_age(Duration::from_secs(3600)));
        let key = partitions.map_or((|_| 0) as fn(usize) -> usize, |(_, key)| key);
        let builder = match partitions {
            Some((open, _)) => builder.partition_by(open, key_of::<T>),
            None => builder,
        };
        let layer = builder.build().unwrap();
        let batch = layer.layer(service_fn(|items: Vec<T>| async move {
            std::future::pending::<()>().await;
            drop(items);
            Ok::<_, BoxError>(())
        }));
        while batch.handle().totals().dropped.total() < 100 {
            KEY.set(key(offered));
            drop(batch.emit(make(offered)));
            offered += 1;
            if offered % 100 == 0 {
                tokio::task::yield_now().await;
            }
        }
        // What goes when it is dropped is not counted: it is put into one list first.
        batcher = Some(batch);
    })
    .await;
    drop(batcher);
    check_filled(name, most);
}

thread_local! {
    /// The key of the item that is offered next.
    static KEY: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// A hundred keys in turn, whatever the item.
fn key_of<T>(_: &T) -> &str {
    const KEYS: &str =
        "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk";
    &KEYS[..KEY.get()]
}

fn check_filled(name: &str, most: usize) {
    eprintln!("{name}: {most} bytes held at most, {:.4} of the limit", most as f64 / LIMIT as f64);
    assert!(most as f64 > 0.75 * LIMIT as f64, "{name}: {most}: the room is used");
    assert!(most as f64 <= 1.25 * LIMIT as f64 + CONSTANT as f64, "{name}: {most}: bounded by bytes");
}

/// Beyond the limit and a quarter of it: what is fixed.
const CONSTANT: usize = 256 << 10;

/// On this thread alone, and one at a time.
fn run(work: impl Future<Output = ()>) {
    let _one_at_a_time = COUNTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(work);
}

#[test]
fn memory_is_bounded_under_a_hundredfold_overload() {
    run(async {
        overload_a_batcher(1).await;
        overload_a_channel(5_000).await;
    });
}

#[test]
fn f17_items_of_every_size_hold_no_more_than_the_limit_where_they_wait() {
    run(async {
        let by_turns = Some((128, (|n| n % 100) as fn(usize) -> usize));
        // A large batch, one of a single item, and so on.
        let by_size = Some((1, (|n| usize::from(n % 501 == 500)) as fn(usize) -> usize));
        fill_a_batcher("numbers", None, |n| n as u64).await;
        fill_a_batcher("100 bytes", None, |_| [1_u8; 100]).await;
        fill_a_batcher("texts", None, |n| "x".repeat(n % 300)).await;
        fill_a_batcher("numbers by key", by_turns, |n| n as u64).await;
        fill_a_batcher("100 bytes by key", by_turns, |_| [1_u8; 100]).await;
        fill_a_batcher("100 bytes, in batches of unlike sizes", by_size, |_| [1_u8; 100]).await;
        fill_a_batcher("texts by key", by_turns, |n| "x".repeat(n % 300)).await;
    });
}

#[test]
#[ignore = "a minute of the same"]
fn memory_is_bounded_under_a_hundredfold_overload_for_a_minute() {
    run(async {
        overload_a_batcher(60).await;
        overload_a_channel(400_000).await;
    });
}
