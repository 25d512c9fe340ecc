use forebay_retry::{Backoff, Delays};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// The waits of a parked batch. Each outage of the server draws its own jitter.
#[derive(Clone, Debug)]
pub(crate) struct ParkBackoff {
    backoff: Backoff,
    /// The number of the next stream of jitter.
    streams: Arc<AtomicU64>,
}

// === impl ParkBackoff ===

impl ParkBackoff {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, streams: Arc::default() }
    }
}

impl IntoIterator for ParkBackoff {
    type Item = Duration;
    type IntoIter = Delays;

    fn into_iter(self) -> Delays {
        self.backoff.delays(self.streams.fetch_add(1, Relaxed))
    }
}
