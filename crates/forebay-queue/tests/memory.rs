//! What a full queue holds is bounded by its limit in bytes, however small its items are.

#![expect(clippy::unwrap_used, clippy::cast_precision_loss, clippy::print_stderr, reason = "test code")]

use forebay_core::{Fate, Footprint, Priority};
use forebay_queue::{Limits, Offer, QueueLayer, channel};
use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
};
use tower::service_fn;
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
fn most_held(work: impl FnOnce()) -> usize {
    if !INSTALLED.swap(true, Relaxed) {
        AllocationRegistry::set_global_tracker(Counter).unwrap();
    }
    HELD.store(0, Relaxed);
    MOST.store(0, Relaxed);
    AllocationRegistry::enable_tracking();
    work();
    AllocationRegistry::disable_tracking();
    usize::try_from(MOST.load(Relaxed)).unwrap()
}

const LIMIT: usize = 2 << 20;

/// Beyond the limit and a quarter of it: chunks that are partly used, in the queue and with its receiver.
const CONSTANT: usize = 512 << 10;

fn limits() -> Limits {
    Limits::new().items(1 << 24).bytes(LIMIT).soft_limit(1.0)
}

fn check(name: &str, most: usize, beside: usize) {
    eprintln!("{name}: {most} bytes held at most, {:.4} of the limit, {beside} beside", most as f64 / LIMIT as f64);
    assert!(most as f64 > 0.75 * LIMIT as f64, "{name}: {most}: the room is used");
    assert!(most as f64 <= 1.25 * LIMIT as f64 + (CONSTANT + beside) as f64, "{name}: {most}: bounded by bytes");
}

/// Fills a channel, takes all off in one burst, and fills it again, some rounds long; at last item by item.
fn fill_a_channel<T: Footprint + Send + 'static>(name: &str, make: impl Fn(usize) -> T) {
    let most = most_held(|| {
        let (sender, mut receiver) = channel::<T>(limits()).unwrap();
        for round in 0..4 {
            let mut offered = 0;
            while sender.handle().totals().dropped.total() < 100 * (round + 1) {
                let priority = if offered % 1000 < 300 { Priority::High } else { Priority::Normal };
                drop(sender.emit(Offer::new(make(offered)).priority(priority)));
                offered += 1;
            }
            if round < 2 {
                receiver.drain(usize::MAX).settle(Fate::Delivered);
            } else {
                while let Some(received) = receiver.try_recv() {
                    received.settle(Fate::Delivered);
                }
            }
            assert_eq!(sender.handle().bytes(), 0);
        }
    });
    check(name, most, 0);
}

#[test]
fn f17_items_of_every_size_hold_no_more_than_the_limit_in_a_channel() {
    let _one_at_a_time = COUNTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    fill_a_channel("bytes", |n| n.to_le_bytes()[0]);
    fill_a_channel("numbers", |n| n as u64);
    fill_a_channel("100 bytes", |_| [1_u8; 100]);
    fill_a_channel("texts", |n| "x".repeat(n % 300));
    fill_a_channel("short texts", |n| "x".repeat(n % 3));
    fill_a_channel("5000 bytes", |_| [1_u8; 5000]);
}

/// Before a service every item has 8 bytes more, for the place of its response.
#[test]
fn f17_small_items_hold_no_more_than_the_limit_before_a_service() {
    let _one_at_a_time = COUNTING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (mut offered, mut full) = (0_u64, None);
    let most = most_held(|| {
        let layer = QueueLayer::<u64>::builder().limits(limits()).build().unwrap();
        let (queue, worker) = layer.pair(service_fn(|_: u64| std::future::ready(Ok::<_, std::io::Error>(()))));
        while queue.emit(offered).is_ok() {
            offered += 1;
        }
        // The memory that their drop takes is not counted: they are put into one list first.
        full = Some((queue, worker));
    });
    drop(full);
    check("numbers before a service", most, usize::try_from(8 * offered).unwrap());
}
