//! The life of every entry, pure: no clock, no lock, no client. Time is an argument, and clients are numbers.
//!
//! ```text
//!             acquire                 made                     last lease ends
//!   (vacant) ────────► Building ─────────────────► Client ─────────────────────► closing
//!       ▲                 │ failed, abandoned         │                             │
//!       ├─────────────────┘  (or Failed, for a while) │ replaced, evicted, idle     │ the hook has ended,
//!       │                                             ▼ for long enough             ▼ nothing else is left
//!       │                                         draining ── last lease ends ─► closing
//!       └──────────────────── Forgetting ◄──────────────────────────────────────────┘
//! ```
//!
//! Where clients linger, the registry has a lease of its own, its *keep*: a client without any other lease is idle, and a
//! caller that acquires or releases it does not touch the table. So nothing happens when a client becomes idle: the sweep looks.
//! A client that is to go loses its place and its keep; if a caller got a lease at that very moment, it drains.
//!
//! An acquire may meet a client whose last lease is just ending: its count is zero, and its release is on its way. It then
//! drains beside a fresh one. `Forgetting` runs the user's `on_vacant` while no new client can take the place.

mod acquire;
mod close;
mod describe;
mod idle;
mod swap;

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;

pub(crate) use self::{
    acquire::{Acquired, Built},
    swap::Swapped,
};

use crate::{AcquireError, CloseReason, WhenFull, runtime::BuildHasher, snapshot::Counts};
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    mem,
    time::{Duration, Instant},
};

/// What the table asks of the leases of a client.
pub(crate) trait Leases {
    /// How many leases the callers have.
    fn count(&self, id: u64) -> usize;

    /// Whether there was a new lease since this was last asked.
    fn take_used(&self, id: u64) -> bool;
}

/// The settings that the table knows of.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// How many keys may have an entry.
    pub(crate) max_entries: usize,
    /// What a new key does when there is no room.
    pub(crate) when_full: WhenFull,
    /// How long a client outlives its last lease.
    pub(crate) linger: Duration,
    /// For how long a failure is kept.
    pub(crate) negative_ttl: Duration,
    /// Whether there is an `on_vacant` to run.
    pub(crate) forgets: bool,
}

/// All entries of a registry.
pub(crate) struct Table<K, G> {
    limits: Limits,
    /// What each key has.
    keys: HashMap<K, KeyRefs, BuildHasher>,
    /// Entries, and clients that drain, by their id.
    slots: HashMap<u64, Slot<K, G>, BuildHasher>,
    /// The ids of the entries that can make room: failures, the oldest first, then clients seen idle, the longest idle first.
    expendable: BTreeMap<(Expendable, u64), u64>,
    /// How many entries there are, without those whose `on_vacant` runs: they are about to go, and hold no client.
    occupied: usize,
    /// Clients whose close has begun and not ended.
    closing: usize,
    /// The latest id.
    last_id: u64,
    /// The latest place in the order of what is expendable.
    last_order: u64,
    /// When to look next at which clients are idle.
    next_look: Option<Instant>,
    /// When to look again for an idle client that could make room, after none was found.
    no_room_until: Option<Instant>,
    closed: bool,
    pub(crate) counts: Counts,
    /// What has left the table. Keys, configurations and errors are user code when they are dropped: the owner drops them
    /// after it has released its lock.
    removed: Removed<K, G>,
}

/// What a key has.
#[derive(Default)]
struct KeyRefs {
    /// The entry that holds the place of the key.
    entry: Option<u64>,
    /// Clients that drain or close, and replacements that are being made: while there are any, the key is not vacant.
    others: usize,
    /// Whether `on_vacant` is to run when nothing is left: there was a client since it last ran.
    owed: bool,
}

/// An entry, or a client that has lost its place.
struct Slot<K, G> {
    key: K,
    /// Since when the slot is what it is; for a failure, since when it is kept.
    since: Instant,
    state: SlotState<G>,
}

enum SlotState<G> {
    /// The maker makes the client.
    Building { config: G, waiters: usize },
    /// `on_vacant` runs, and so many calls wait for its end.
    Forgetting { waiters: usize },
    /// There is a client.
    Client(ClientSlot<G>),
    /// There is no client, and the maker is not asked before `until`.
    Failed { config: G, error: AcquireError, until: Instant, order: u64 },
}

struct ClientSlot<G> {
    config: G,
    /// When it was made, or last seen idle.
    held_since: Instant,
    /// Since when it is known to be idle, and its place in the order of those that are.
    idle: Option<(Instant, u64)>,
    /// Calls that asked for another configuration.
    diverged: u64,
    /// Why it has lost its place, if it has.
    draining: Option<CloseReason>,
}

/// Failures make room before clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Expendable {
    Failure,
    IdleClient,
}

/// What has left the table.
pub(crate) struct Removed<K, G> {
    slots: Vec<Slot<K, G>>,
    keys: Vec<K>,
}

/// `on_vacant` is to be run for this key; then `forgotten` with the id.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forget<K> {
    pub(crate) key: K,
    pub(crate) id: u64,
}

// === impl Table ===

impl<K, G> Table<K, G> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            keys: HashMap::default(),
            slots: HashMap::default(),
            expendable: BTreeMap::new(),
            occupied: 0,
            closing: 0,
            last_id: 0,
            last_order: 0,
            next_look: None,
            no_room_until: None,
            closed: false,
            counts: Counts::default(),
            removed: Removed { slots: Vec::new(), keys: Vec::new() },
        }
    }

    /// How many keys have an entry.
    pub(crate) fn len(&self) -> usize {
        self.occupied
    }

    /// Whether clients linger: then the owner has a keep of each client that has its place.
    pub(crate) fn lingers(&self) -> bool {
        !self.limits.linger.is_zero()
    }

    /// Whether the registry is closed and nothing is left that lives, is made, is closed or is forgotten.
    pub(crate) fn is_over(&self) -> bool {
        self.closed && self.outstanding() == 0
    }

    pub(crate) fn outstanding(&self) -> usize {
        let failed = |slot: &&Slot<K, G>| matches!(slot.state, SlotState::Failed { .. });
        self.slots.len() - self.slots.values().filter(failed).count() + self.closing
    }

    /// Clients whose close has begun and not ended.
    pub(crate) fn closing(&self) -> usize {
        self.closing
    }

    /// What has left the table since this was last called.
    #[must_use = "it is dropped after the lock is released"]
    pub(crate) fn take_removed(&mut self) -> Removed<K, G> {
        Removed { slots: mem::take(&mut self.removed.slots), keys: mem::take(&mut self.removed.keys) }
    }

    /// The clients that have their place: what the lock-free path may serve.
    pub(crate) fn clients(&self) -> impl Iterator<Item = (&K, u64, &G)> {
        self.slots.iter().filter_map(|(id, slot)| slot.current().map(|client| (&slot.key, *id, &client.config)))
    }

    /// When the first call came that waits for the client `id`.
    pub(crate) fn building_since(&self, id: u64) -> Option<Instant> {
        let slot = self.slots.get(&id)?;
        matches!(slot.state, SlotState::Building { .. }).then_some(slot.since)
    }

    /// A caller got the client `id` though it asked for another configuration.
    pub(crate) fn diverged(&mut self, id: u64) {
        self.counts.diverged += 1;
        if let Some(Slot { state: SlotState::Client(client), .. }) = self.slots.get_mut(&id) {
            client.diverged += 1;
        }
    }

    /// An id that nothing had before.
    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }
}

impl<K: Hash + Eq + Clone, G> Table<K, G> {
    /// A new entry takes the place of `key`.
    fn insert(&mut self, key: K, id: u64, since: Instant, state: SlotState<G>) {
        // A map that knows a key already drops the one it is given: so it is given one only if it does not.
        match self.keys.get_mut(&key) {
            Some(refs) => refs.entry = Some(id),
            None => drop(self.keys.insert(key.clone(), KeyRefs { entry: Some(id), ..KeyRefs::default() })),
        }
        self.occupied += usize::from(!matches!(state, SlotState::Forgetting { .. }));
        if self.lingers() && self.next_look.is_none() && matches!(state, SlotState::Client(_)) {
            self.next_look = since.checked_add(self.pace());
        }
        self.slots.insert(id, Slot { key, since, state });
    }

    /// An entry without a client leaves its place.
    fn remove(&mut self, id: u64) {
        let Some(slot) = self.slots.remove(&id) else { return };
        self.occupied -= usize::from(!matches!(slot.state, SlotState::Forgetting { .. }));
        if let SlotState::Failed { order, .. } = slot.state {
            self.expendable.remove(&(Expendable::Failure, order));
        }
        if let Some(refs) = self.keys.get_mut(&slot.key) {
            refs.entry = None;
        }
        self.tidy(&slot.key);
        self.removed.slots.push(slot);
    }

    /// A client loses its place, and closes with its last lease. The owner drops its keep after it has released its lock.
    fn drain(&mut self, id: u64, reason: CloseReason) {
        let Some(Slot { key, state: SlotState::Client(client), .. }) = self.slots.get_mut(&id) else { return };
        if client.draining.is_some() {
            return;
        }
        client.draining = Some(reason);
        if let Some((_, order)) = client.idle.take() {
            self.expendable.remove(&(Expendable::IdleClient, order));
        }
        if let Some(refs) = self.keys.get_mut(key) {
            refs.entry = None;
            refs.others += 1;
            refs.owed |= self.limits.forgets;
        }
        self.occupied -= 1;
    }

    /// A client of `key` that has no slot closes from now on.
    fn retire(&mut self, key: &K, reason: CloseReason) {
        if !self.keys.contains_key(key) {
            self.keys.insert(key.clone(), KeyRefs::default());
        }
        if let Some(refs) = self.keys.get_mut(key) {
            refs.others += 1;
            refs.owed |= self.limits.forgets;
        }
        self.start_closing(reason);
    }

    fn start_closing(&mut self, reason: CloseReason) {
        self.closing += 1;
        self.counts.closing(reason);
    }

    /// One client less that drains or closes, or one replacement less.
    fn release(&mut self, key: &K) {
        if let Some(refs) = self.keys.get_mut(key) {
            refs.others = refs.others.saturating_sub(1);
        }
    }

    /// Forgets a key that has nothing.
    fn tidy(&mut self, key: &K) {
        if matches!(self.keys.get(key), Some(KeyRefs { entry: None, others: 0, owed: false })) {
            self.removed.keys.extend(self.keys.remove_entry(key).map(|(key, _)| key));
        }
    }

    /// The moment when the last client of a key has left: from here until `forgotten` no new one can take its place.
    fn vacated(&mut self, key: &K, now: Instant) -> Option<Forget<K>> {
        let refs = self.keys.get_mut(key)?;
        let entry = refs.entry.and_then(|id| Some((id, &self.slots.get(&id)?.state)));
        match entry {
            _ if refs.others > 0 => return None,
            None => {}
            Some((_, SlotState::Failed { .. })) if !refs.owed => return None,
            // A failure is not kept longer than what the key had.
            Some((id, SlotState::Failed { .. })) => self.remove(id),
            Some((_, SlotState::Building { .. } | SlotState::Forgetting { .. } | SlotState::Client(_))) => return None,
        }
        let Some(refs) = self.keys.get_mut(key).filter(|refs| refs.owed) else {
            self.tidy(key);
            return None;
        };
        refs.owed = false;
        let id = self.next_id();
        self.insert(key.clone(), id, now, SlotState::Forgetting { waiters: 0 });
        Some(Forget { key: key.clone(), id })
    }
}

// === impl Slot ===

impl<K, G> Slot<K, G> {
    /// The client, if it has its place.
    fn current(&self) -> Option<&ClientSlot<G>> {
        match &self.state {
            SlotState::Client(client) if client.draining.is_none() => Some(client),
            _ => None,
        }
    }
}

// === impl ClientSlot ===

impl<G> ClientSlot<G> {
    fn new(config: G, now: Instant) -> Self {
        Self { config, held_since: now, idle: None, diverged: 0, draining: None }
    }
}
