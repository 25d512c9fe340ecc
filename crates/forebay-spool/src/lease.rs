use crate::Record;
use std::fmt;

/// Records that one caller works on. No other lease of the same destination has them.
///
/// A lease that is dropped without having been settled is given back.
#[must_use = "a lease that is dropped is given back at once"]
pub struct Lease {
    id: LeaseId,
    records: Vec<Record>,
    /// Gives the lease back when it is dropped.
    release: Option<ReleaseHook>,
}

/// Names a lease within the process that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub(crate) u64);

/// What an implementation of [`Spool`](crate::Spool) does when a lease is dropped unsettled. It must not block.
pub type ReleaseHook = Box<dyn FnOnce(LeaseId) + Send + Sync>;

/// From which end records are leased. The high lane is leased first in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// The oldest first (the default).
    #[default]
    Oldest,
    /// The newest first: after an outage fresh data is seen at once.
    NewestFirst,
}

/// How much one lease may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// From which end.
    pub order: Order,
    /// Records, at most; 512 by default.
    pub records: usize,
    /// Bytes of payloads and keys; a mebibyte by default. One record is leased whatever its size.
    pub bytes: usize,
}

/// What became of one leased record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The destination has it: it leaves the spool.
    Delivered,
    /// It was not tried, or the destination was not there: it is pending again, and nothing is counted against it.
    GiveBack,
    /// The destination was there and did not take this record: it is pending again, until it has failed `max_attempts` times;
    /// then it is a dead letter.
    Failed,
    /// It will never be taken, for this reason: it is a dead letter.
    Quarantine(String),
}

/// What settling a lease has done, in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settled {
    /// Records that have left the spool.
    pub delivered: u64,
    /// Records that are pending again.
    pub given_back: u64,
    /// Records that are dead letters.
    pub dead: u64,
    /// Records that were evicted while they were leased; [`Stats::evicted`](crate::Stats::evicted) counts them, whatever their
    /// disposition.
    pub evicted: u64,
}

// === impl Lease ===

impl Lease {
    /// A lease of an implementation: `release` runs if it is dropped unsettled.
    pub fn new(id: u64, records: Vec<Record>, release: ReleaseHook) -> Self {
        Self { id: LeaseId(id), records, release: Some(release) }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> LeaseId {
        self.id
    }

    /// Its records, of which there is at least one.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Takes the lease apart, for an implementation that settles it: dropping it does nothing from here on.
    #[must_use]
    pub fn into_parts(mut self) -> (LeaseId, Vec<Record>) {
        self.release = None;
        (self.id, std::mem::take(&mut self.records))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(release) = self.release.take() {
            release(self.id);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("id", &self.id.0).field("records", &self.records.len()).finish_non_exhaustive()
    }
}

// === impl LeaseId ===

impl LeaseId {
    /// The number that [`Lease::new`] was given.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0
    }
}

// === impl Want ===

impl Default for Want {
    fn default() -> Self {
        Self { order: Order::Oldest, records: 512, bytes: 1 << 20 }
    }
}
