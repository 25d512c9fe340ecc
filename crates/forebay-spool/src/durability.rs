use std::time::{Duration, Instant};

/// What it means that a spool has acknowledged a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It survives the death of the process, `kill -9` at any instant included. It may not survive a power cut or the death of
    /// the kernel, and such an event may cost the newest file.
    Process,
    /// It survives a power cut as well: it was synced. Groups that wait at the same time share a sync.
    Disk {
        /// How long a group waits for others to share its sync with; 0 for not at all. A timer of its own ends the wait: no
        /// later group is needed.
        every: Duration,
        /// A sync is made at once when this many bytes wait for it.
        bytes: usize,
    },
}

/// Decides when the groups that wait are committed. Pure: time is an argument.
#[derive(Clone, Debug)]
pub struct GroupCommit {
    every: Duration,
    bytes: usize,
    waiting: usize,
    /// Since when the first of the groups waits.
    since: Option<Instant>,
}

// === impl Durability ===

impl Durability {
    /// `Disk`, with a sync each 5 milliseconds or each mebibyte.
    pub const DISK: Self = Self::Disk { every: Duration::from_millis(5), bytes: 1 << 20 };

    pub(crate) fn is_synced(self) -> bool {
        matches!(self, Self::Disk { .. })
    }
}

impl Default for Durability {
    /// [`DISK`](Self::DISK).
    fn default() -> Self {
        Self::DISK
    }
}

// === impl GroupCommit ===

impl GroupCommit {
    /// Nothing waits.
    #[must_use]
    pub fn new(durability: Durability) -> Self {
        let (every, bytes) = match durability {
            Durability::Process => (Duration::ZERO, 0),
            Durability::Disk { every, bytes } => (every, bytes),
        };
        Self { every, bytes, waiting: 0, since: None }
    }

    /// A group, or an acknowledgement, of `bytes` waits from `now` on.
    pub fn add(&mut self, now: Instant, bytes: usize) {
        self.waiting = self.waiting.saturating_add(bytes);
        self.since.get_or_insert(now);
    }

    /// When what waits has to be committed at the latest; `None` while nothing waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| forebay_core::time::saturating_add(since, self.every))
    }

    /// Whether it is time to commit.
    #[must_use]
    pub fn is_due(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| self.waiting >= self.bytes || now >= deadline)
    }

    /// All that waited is committed, or refused.
    pub fn done(&mut self) {
        self.waiting = 0;
        self.since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn s02_a_lone_group_is_committed_by_the_timer_and_many_bytes_at_once() {
        let start = Instant::now();
        let mut commit = GroupCommit::new(Durability::Disk { every: 5 * MS, bytes: 100 });
        assert!(commit.deadline().is_none() && !commit.is_due(start + 99 * MS));
        commit.add(start, 10);
        commit.add(start + 4 * MS, 10);
        assert_eq!(commit.deadline(), Some(start + 5 * MS), "the second one does not put off the first");
        assert!(!commit.is_due(start + 4 * MS) && commit.is_due(start + 5 * MS));
        commit.add(start + 4 * MS, 80);
        assert!(commit.is_due(start + 4 * MS));
        commit.done();
        assert!(commit.deadline().is_none());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn s01_nothing_waits_where_only_the_process_has_to_be_survived() {
        let start = Instant::now();
        let mut commit = GroupCommit::new(Durability::Process);
        commit.add(start, 0);
        assert!(commit.is_due(start));
    }
}
