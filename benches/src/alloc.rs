//! Counts allocations, in a pass of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use tracking_allocator::{AllocationGroupId, AllocationRegistry, AllocationTracker, Allocator};

/// The system's allocator. Switched off, as it is while time is taken, counting costs one relaxed load per call.
#[global_allocator]
static ALLOCATOR: Allocator<std::alloc::System> = Allocator::system();

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static HELD: AtomicU64 = AtomicU64::new(0);
static INSTALLED: AtomicBool = AtomicBool::new(false);

/// What was allocated, by all threads of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocated {
    /// Calls to the allocator.
    pub allocations: u64,
    /// Bytes asked for.
    pub bytes: u64,
}

struct Counter;

/// Runs `work`, and counts what it allocates.
///
/// # Panics
///
/// When another tracker than ours is installed.
pub fn count<R>(work: impl FnOnce() -> R) -> (R, Allocated) {
    if !INSTALLED.swap(true, Relaxed) {
        AllocationRegistry::set_global_tracker(Counter).expect("nothing else tracks allocations");
    }
    let before = (ALLOCATIONS.load(Relaxed), BYTES.load(Relaxed));
    AllocationRegistry::enable_tracking();
    let result = work();
    AllocationRegistry::disable_tracking();
    let allocated =
        Allocated { allocations: ALLOCATIONS.load(Relaxed) - before.0, bytes: BYTES.load(Relaxed) - before.1 };
    (result, allocated)
}

/// Bytes that were allocated while counting and are still held.
#[must_use]
pub fn held() -> u64 {
    HELD.load(Relaxed)
}

impl AllocationTracker for Counter {
    fn allocated(&self, _: usize, object_size: usize, _: usize, _: AllocationGroupId) {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(object_size as u64, Relaxed);
        HELD.fetch_add(object_size as u64, Relaxed);
    }

    fn deallocated(&self, _: usize, object_size: usize, _: usize, _: AllocationGroupId, _: AllocationGroupId) {
        HELD.fetch_sub(object_size as u64, Relaxed);
    }
}
