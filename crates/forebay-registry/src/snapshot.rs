//! What a registry holds, and what it has done.

use crate::{AcquireError, AcquireErrorKind, CloseEnd, CloseReason};
use std::time::Duration;

/// What a [`Registry`](crate::Registry) held at one instant.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Snapshot<K> {
    /// Every entry, and every client that was replaced and still has leases; in no order.
    pub entries: Vec<EntryInfo<K>>,
    /// Clients whose close has begun and not ended.
    pub closing: usize,
    /// What has happened since the registry was built.
    pub counts: Counts,
}

/// One client, or one wait for a client.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryInfo<K> {
    /// The key of the entry.
    pub key: K,
    /// What it is doing.
    pub state: EntryState,
    /// The number of the client, if there is one.
    pub generation: Option<u64>,
    /// Leases that have not ended.
    pub leases: usize,
    /// Calls that wait for the client.
    pub waiters: usize,
    /// For how long it has been in this state.
    ///
    /// Where clients linger this is only known from the looks that the registry takes, four in the time of a linger: a
    /// leased one may seem held for up to a quarter of it longer than it is, an idle one for that much shorter.
    pub in_state_for: Duration,
    /// Since the client was made.
    pub age: Duration,
    /// Calls that asked for another configuration than the one it was made with.
    pub diverged: u64,
}

/// What an entry is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryState {
    /// Its client is being made, or `on_vacant` runs for the key.
    Pending,
    /// A caller has a lease.
    Leased,
    /// No caller has a lease, and it lingers.
    Idle,
    /// It has lost its place, and a caller still has a lease.
    Draining,
    /// Its client could not be made, and the maker is not asked for a while.
    Failed,
}

/// What a registry has done since it was built.
///
/// Calls that got a client without a lock are not counted: a counter that all share would cost more than the call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Clients made.
    pub created: u64,
    /// Attempts to make one that failed or panicked.
    pub failed: u64,
    /// Attempts that were declined.
    pub declined: u64,
    /// Attempts that ended because no call waited any more.
    pub abandoned: u64,
    /// Calls refused without asking the maker.
    pub refused: u64,
    /// Calls that asked for another configuration than the one in force.
    pub diverged: u64,
    /// Replacements.
    pub swapped: u64,
    /// Clients closed early for the sake of another key.
    pub evicted: u64,
    /// Closes that ended well.
    pub closed: u64,
    /// Close hooks that returned an error.
    pub close_failed: u64,
    /// Close hooks that were cut off at their deadline.
    pub close_timed_out: u64,
    /// Close hooks that panicked.
    pub close_panicked: u64,
    /// Close hooks that were cut off, or never began, because their runtime ended.
    pub close_aborted: u64,
}

/// How [`Registry::close_all`](crate::Registry::close_all) ended.
#[derive(Clone, Debug)]
#[must_use = "it says which clients were not closed"]
#[non_exhaustive]
pub struct CloseReport<K> {
    /// Clients that still had leases at the deadline. They are closed when their last lease ends.
    pub leased: Vec<EntryInfo<K>>,
    /// Clients whose close hook still ran at the deadline.
    pub closing: usize,
    /// Clients that were still being made at the deadline. They are closed as soon as they are there.
    pub pending: usize,
    /// What has happened since the registry was built.
    pub counts: Counts,
}

// === impl Snapshot ===

impl<K> Snapshot<K> {
    /// Clients that callers have held for at least `at_least` without a break, longest first: the leak report.
    #[must_use]
    pub fn leased_for(&self, at_least: Duration) -> Vec<&EntryInfo<K>> {
        let mut held: Vec<_> =
            self.entries.iter().filter(|entry| entry.leases > 0 && entry.in_state_for >= at_least).collect();
        held.sort_by_key(|entry| std::cmp::Reverse(entry.in_state_for));
        held
    }
}

// === impl CloseReport ===

impl<K> CloseReport<K> {
    /// Whether nothing was left.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.leased.is_empty() && self.closing == 0 && self.pending == 0
    }
}

// === impl Counts ===

impl Counts {
    pub(crate) fn attempt_failed(&mut self, error: &AcquireError) {
        let declined = error.kind() == AcquireErrorKind::Declined;
        *(if declined { &mut self.declined } else { &mut self.failed }) += 1;
    }

    pub(crate) fn closing(&mut self, reason: CloseReason) {
        if reason == CloseReason::Evicted {
            self.evicted += 1;
        }
    }

    pub(crate) fn closed(&mut self, end: &CloseEnd) {
        let count = match end {
            CloseEnd::Done => &mut self.closed,
            CloseEnd::Failed(_) => &mut self.close_failed,
            CloseEnd::TimedOut => &mut self.close_timed_out,
            CloseEnd::Panicked(_) => &mut self.close_panicked,
            CloseEnd::Aborted => &mut self.close_aborted,
        };
        *count += 1;
    }
}
