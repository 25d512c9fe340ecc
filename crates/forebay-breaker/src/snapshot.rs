use crate::{Mode, State, label::KeyLabel};
use std::time::Duration;

/// All keys of a breaker, each at one moment; see [`BreakerHandle::snapshot`](crate::BreakerHandle::snapshot).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot<K> {
    /// Each key with its status, in no order; one for a breaker without keys.
    pub keys: Vec<KeyStatus<K>>,
    /// What all keys share that found no room; `None` for a breaker without keys.
    pub overflow: Option<Overflow>,
    /// How many are open or half-open, the overflow bucket included.
    pub open: usize,
    /// How many keys may have a state of their own.
    pub max_keys: usize,
}

/// One key in a [`Snapshot`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KeyStatus<K> {
    /// The key.
    pub key: K,
    /// Its text, as errors and events have it.
    pub label: KeyLabel,
    /// What is known of it.
    pub status: Status,
}

/// The bucket for keys that found no room.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Overflow {
    /// The state that they share.
    pub status: Status,
    /// How many calls it has decided on since the breaker was built.
    pub calls: u64,
}

/// What is known of one key.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Status {
    /// What the next call would find.
    pub state: State,
    /// Whether it acts on what it sees.
    pub mode: Mode,
    /// Counts its states; see [`BreakerEvent::Changed`](crate::BreakerEvent::Changed).
    pub generation: u32,
    /// Failures since the last success, where a rule asks, while calls are counted. It stops at the number that opens.
    pub consecutive_failures: u32,
    /// What each window holds, in the order in which the rules were given.
    pub windows: Vec<WindowStatus>,
    /// Probes under way whose leases have not ended.
    pub probes: u32,
    /// Probes that succeeded since it became half-open.
    pub successes: u32,
    /// How often it opened since it was last closed for good.
    pub openings: u32,
    /// How long the next call would have to wait; `None` if it would go through, or if only the call itself can find out.
    pub retry_in: Option<Duration>,
}

/// What one window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WindowStatus {
    /// How many calls ended in it.
    pub calls: u64,
    /// How many of them were bad by its rule: failed, or slow.
    pub bad: u64,
}
