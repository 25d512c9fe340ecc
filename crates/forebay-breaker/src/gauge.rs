use crate::policy::Policy;
use forebay_core::support::sync::atomic::{AtomicU32, Ordering};

/// How many keys there are, and how many of them are open or half-open.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    /// Keys with a state of their own.
    pub(crate) keys: AtomicU32,
    /// Keys that are open or half-open.
    open: AtomicU32,
}

// === impl Gauge ===

impl Gauge {
    pub(crate) fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes the right to be open, if the fleet guard has one left.
    pub(crate) fn take(&self, policy: &Policy) -> bool {
        let limit = policy.open_limit(self.keys.load(Ordering::Relaxed).into());
        let within = |open| (u64::from(open) < limit).then_some(open + 1);
        // CORRECTNESS: a compare-and-swap per attempt, so that two keys never take the same last right. Relaxed: the count
        // guards no other memory.
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).is_ok()
    }

    pub(crate) fn give_back(&self) {
        // Relaxed, as in `take`: a key that sees the right late stays closed for one result more.
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}
