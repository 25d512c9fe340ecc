use std::time::SystemTime;

/// What a spool holds, and what it has done since it was opened. All counts are in records unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Records that at least one destination still waits for, each counted once, dead letters included.
    /// [`destinations`](Self::destinations) says how many each of them waits for.
    pub records: u64,
    /// Bytes of all files of the spool.
    pub bytes: u64,
    /// When the oldest pending frame's newest record was first seen.
    pub oldest: Option<SystemTime>,
    /// Files that hold records.
    pub segments: u64,
    /// Of those, the ones that cannot be read at present. They are tried again, and count with what they hold.
    pub unavailable: u64,
    /// Records appended.
    pub appended: u64,
    /// Records that left because a destination has them, once for each destination.
    pub delivered: u64,
    /// Records that became dead letters.
    pub dead_lettered: u64,
    /// Dead letters that were requeued.
    pub requeued: u64,
    /// Records that were dropped to make room or for their age.
    pub evicted: Evicted,
    /// Records in a good file whose own checksum is wrong: skipped, with their frame kept in a file of its own.
    pub quarantined: u64,
    /// What opening found, and what was damaged since.
    pub recovered: Recovered,
    /// One entry for each destination, in the order in which the spool has come to know them.
    pub destinations: Vec<DestinationStats>,
}

/// Records that were dropped, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Evicted {
    /// To stay below `max_bytes`.
    pub bytes: u64,
    /// To stay below `max_records`.
    pub records: u64,
    /// They were older than `max_age`.
    pub age: u64,
}

/// Why a record was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EvictReason {
    /// To stay below `max_bytes`.
    Bytes,
    /// To stay below `max_records`.
    Records,
    /// It was older than `max_age`.
    Age,
}

/// What was found on disk. A program that counts its items counts these as `recovered`, and not as offered a second time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Records that were pending when the spool was opened, those of damaged files that could be read included.
    pub records: u64,
    /// Whether the process before this one closed the spool.
    pub clean: bool,
    /// Files that were damaged. Each was set aside under a name that begins with `damaged-`.
    pub damaged_files: u64,
    /// Records that were read out of damaged files. Some may have been delivered before.
    pub salvaged: u64,
    /// Records that were promised and cannot be found.
    pub lost: u64,
}

/// One destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DestinationStats {
    /// Its name.
    pub name: String,
    /// Where it sends to. Records of another identity under the same name stay with that identity.
    pub identity: String,
    /// Whether the spool was opened with it.
    pub is_open: bool,
    /// Records that it waits for.
    pub pending: u64,
    /// Its dead letters.
    pub dead: u64,
}

/// What [`verify`](crate::Spool::verify) has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verified {
    /// Files.
    pub segments: u64,
    /// Records that are whole.
    pub records: u64,
    /// Records whose checksum is wrong, or that are missing in their frame.
    pub bad: u64,
    /// Files that cannot be read.
    pub unreadable: u64,
}

// === impl Evicted ===

impl Evicted {
    /// All reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.bytes + self.records + self.age
    }

    pub(crate) fn add(&mut self, reason: EvictReason, records: u64) {
        *match reason {
            EvictReason::Bytes => &mut self.bytes,
            EvictReason::Records => &mut self.records,
            EvictReason::Age => &mut self.age,
        } += records;
    }
}
