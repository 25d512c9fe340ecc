use super::ledgers::Entry;
use bytes::Bytes;
use forebay::{core::Priority, otlp::Signal};
use std::{fmt, sync::Arc};

/// One export request as it was received: what the gateway keeps, stores, forwards, and puts aside.
///
/// The body stays protobuf: that is the form with the fewest bytes, its weight is exact, and a dead letter or a forwarded
/// request is a copy of it. A clone shares the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Names the batch, also after a restart: what is stored twice under one id is stored once.
    pub id: BatchId,
    /// Which of the three it is.
    pub signal: Signal,
    /// Whose it is; empty if the sender did not say.
    pub tenant: Arc<str>,
    /// The `Export*ServiceRequest`.
    pub body: Bytes,
    /// What was found in it.
    pub facts: Facts,
    /// When it came, in nanoseconds since 1970.
    pub received: u64,
}

/// The name of a batch: when its gateway was started, and how many came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u128);

/// What a look into a batch found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Spans, log records or data points.
    pub records: u64,
    /// A span or log record of it is an error.
    pub has_error: bool,
    /// A span of it took as long as the threshold, or longer.
    pub has_slow: bool,
}

/// A batch in the queue, with its line in the ledgers.
#[derive(Debug)]
pub(super) struct Job {
    /// What is to be stored.
    pub batch: Batch,
    /// Whose fair share it counts against.
    pub share: ShareKey,
    /// Settled with the batch, wherever it is dropped.
    pub entry: Entry,
}

/// Whose fair share a batch counts against.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ShareKey {
    /// All batches of one tenant.
    Tenant(Arc<str>),
    /// A batch without a tenant is alone: no share is kept for those.
    Alone(BatchId),
}

// === impl Batch ===

impl Batch {
    /// Errors and slow spans go before what is healthy.
    #[must_use]
    pub fn priority(&self) -> Priority {
        if self.facts.has_error || self.facts.has_slow { Priority::High } else { Priority::Normal }
    }

    /// The memory it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.body.len() + self.tenant.len() + size_of::<Job>()
    }

    /// Whose fair share it counts against.
    #[must_use]
    pub fn share_key(&self) -> ShareKey {
        if self.tenant.is_empty() { ShareKey::Alone(self.id) } else { ShareKey::Tenant(Arc::clone(&self.tenant)) }
    }
}

// === impl BatchId ===

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}
