use forebay_retry::{Backoff, Delays};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// How long a batch that came back waits before it is sent again: each time the far side fails anew, with jitter of its own.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    backoff: Backoff,
    streams: Arc<AtomicU64>,
}

// === impl Patience ===

impl Patience {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, streams: Arc::default() }
    }
}

impl IntoIterator for Patience {
    type Item = Duration;
    type IntoIter = Delays;

    fn into_iter(self) -> Delays {
        self.backoff.delays(self.streams.fetch_add(1, Relaxed))
    }
}
