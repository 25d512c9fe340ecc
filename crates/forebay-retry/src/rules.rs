use crate::{Backoff, Budget, backoff::Delays, limits::Limits};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// Everything that the calls of one service have in common.
#[derive(Clone)]
pub struct Rules<C, P, K, O> {
    pub(crate) classifier: C,
    pub(crate) policy: P,
    pub(crate) gate: K,
    pub(crate) observer: O,
    pub(crate) limits: Limits,
    pub(crate) backoff: Backoff,
    pub(crate) budget: Option<Budget>,
    pub(crate) streams: Arc<Streams>,
}

/// Numbers the requests that have to wait, so that no two of them draw the same delays.
#[derive(Debug)]
pub(crate) struct Streams {
    seed: u64,
    next: AtomicU64,
}

// === impl Rules ===

impl<C, P, K, O> Rules<C, P, K, O> {
    /// The delays of one more request.
    pub(crate) fn delays(&self) -> Delays {
        let stream = self.streams.next.fetch_add(1, Relaxed);
        self.backoff.delays_from(self.backoff.fixed_seed().unwrap_or(self.streams.seed), stream)
    }
}

impl<C, P, K, O> fmt::Debug for Rules<C, P, K, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("limits", &self.limits)
            .field("backoff", &self.backoff)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

// === impl Streams ===

impl Streams {
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, next: AtomicU64::new(0) }
    }
}
