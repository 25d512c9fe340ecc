use bytes::Bytes;
use forebay_core::Priority;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A record that is to be appended: a payload, and what is known of it.
///
/// There is no place for headers, credentials or an endpoint: they are attached when a record is sent, and never reach the
/// disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NewRecord {
    /// What is kept.
    pub payload: Bytes,
    /// The caller's key, empty by default.
    pub key: Bytes,
    /// When it was first seen; `None` for when it is appended.
    pub first_seen: Option<SystemTime>,
}

/// A record as the spool hands it out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// Names the record for ever: the same after a restart, a salvage and a requeue. A receiver may use it to see duplicates.
    pub id: u64,
    /// The caller's key, empty by default: a tenant, a signal, a partition.
    pub key: Bytes,
    /// How often a destination has failed to take it because of the record itself.
    pub attempts: u32,
    /// When it was first seen, by the wall clock, to the millisecond.
    pub first_seen: SystemTime,
    /// Its lane.
    pub priority: Priority,
    /// What the caller appended.
    pub payload: Bytes,
}

/// Records that are appended together: either all of them survive or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Group {
    /// The lane of all of them.
    pub priority: Priority,
    /// The records, in their order.
    pub records: Vec<NewRecord>,
    /// What is committed with them.
    pub mark: Option<Mark>,
    /// The one destination that they are for; `None` for all.
    pub destination: Option<String>,
}

/// A small value that is committed together with a group, such as the position in the file that the records come from.
///
/// The newest value under each name is kept for as long as the spool exists. At most 64 names, and 1,024 bytes for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Whose position it is.
    pub name: String,
    /// The position, in whatever form the caller likes.
    pub value: Bytes,
}

/// Where an appended group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The id of the first record; those of the others follow it one by one.
    pub first_id: u64,
    /// How many records the group has.
    pub records: u64,
}

/// A record that a destination never takes, with the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The name of the destination that did not take it.
    pub destination: String,
    /// Why, in the words of the caller that quarantined it, or `attempts` where it failed too often.
    pub reason: String,
    /// The record.
    pub record: Record,
}

// === impl Record ===

impl Record {
    /// What an implementation of [`Spool`](crate::Spool) hands out: a record of the normal lane without a key, which no destination
    /// has failed to take. Its fields say the rest.
    #[must_use]
    pub fn new(id: u64, first_seen: SystemTime, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self { id, key: Bytes::new(), attempts: 0, first_seen, priority: Priority::Normal, payload }
    }
}

// === impl Appended ===

impl Appended {
    /// What an implementation of [`Spool`](crate::Spool) says of a group that it keeps.
    #[must_use]
    pub fn new(first_id: u64, records: u64) -> Self {
        Self { first_id, records }
    }
}

// === impl DeadLetter ===

impl DeadLetter {
    /// A record that `destination` never takes, for this reason.
    #[must_use]
    pub fn new(destination: impl Into<String>, reason: impl Into<String>, record: Record) -> Self {
        Self { destination: destination.into(), reason: reason.into(), record }
    }
}

// === impl NewRecord ===

impl NewRecord {
    /// A record without a key, first seen when it is appended.
    #[must_use]
    pub fn new(payload: impl Into<Bytes>) -> Self {
        Self { payload: payload.into(), key: Bytes::new(), first_seen: None }
    }

    /// A key of up to 1,024 bytes. It is stored as it is, so it must not be a secret.
    #[must_use]
    pub fn key(self, key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), ..self }
    }

    /// When the record was first seen. Its age counts from here; by default from its append.
    #[must_use]
    pub fn first_seen(self, first_seen: SystemTime) -> Self {
        Self { first_seen: Some(first_seen), ..self }
    }
}

// === impl Group ===

impl Group {
    /// `records`, in their order.
    #[must_use]
    pub fn new(records: impl IntoIterator<Item = NewRecord>) -> Self {
        Self { records: records.into_iter().collect(), ..Self::default() }
    }

    /// The lane of the whole group; normal by default. The high lane leaves first, and is evicted last.
    #[must_use]
    pub fn priority(self, priority: Priority) -> Self {
        Self { priority, ..self }
    }

    /// The records wait for this destination only; by default for every one that the spool was opened with.
    #[must_use]
    pub fn destination(self, name: impl Into<String>) -> Self {
        Self { destination: Some(name.into()), ..self }
    }

    /// Commits `value` under `name` together with the records.
    #[must_use]
    pub fn mark(self, name: impl Into<String>, value: impl Into<Bytes>) -> Self {
        Self { mark: Some(Mark { name: name.into(), value: value.into() }), ..self }
    }

    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it has no record. An empty group commits its mark, if it has one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The bytes of its payloads and keys.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.records.iter().map(|record| record.payload.len() + record.key.len()).sum()
    }
}

/// A time of the wall clock as it stands on disk: milliseconds since 1970, cut off at both ends.
pub(crate) fn to_millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The reverse of [`to_millis`]. What no clock can show is the last time that can be shown.
pub(crate) fn from_millis(millis: u64) -> SystemTime {
    // Year 9999: every platform can show it, and a damaged value cannot overflow.
    const LAST: u64 = 253_402_300_799_000;
    UNIX_EPOCH.checked_add(Duration::from_millis(millis.min(LAST))).unwrap_or(UNIX_EPOCH)
}
