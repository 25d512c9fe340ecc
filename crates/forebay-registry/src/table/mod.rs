//! The life of every entry, pure: no clock, no lock, no runtime. Time is an argument.
//!
//! ```text
//!             acquire                 made                     last lease ends
//!   (vacant) ────────► Building ─────────────────► Leased ─────────────────────► closing
//!       ▲                 │ failed, abandoned         │                             │
//!       ├─────────────────┘  (or Failed, for a while) │ replaced, evicted, idle     │ the hook has ended,
//!       │                                             ▼ for long enough             ▼ nothing else is left
//!       │                                         draining ── last lease ends ─► closing
//!       └──────────────────── Forgetting ◄──────────────────────────────────────────┘
//! ```
//!
//! Where clients linger, the registry has a lease of its own, its *keep*: a client without any other lease is idle, and
//! whoever acquires or releases it need not tell the table. So nothing is told when a client becomes idle: the sweep
//! looks. A client that is to go loses its place and its keep; if somebody got a lease at that very moment, it drains.
//!
//! An acquire may meet a client whose last lease is just ending: its count is zero, and its release is on its way. It
//! then drains beside a fresh one. `Forgetting` runs the user's `on_vacant` while nobody can put a new client there.

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

use crate::{AcquireError, CloseReason, WhenFull, snapshot::Counts, sync::BuildHasher};
use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

/// A counted pointer to a client that does not keep it.
pub(crate) trait Handle {
    type Lease: Clone;

    /// A new lease, and a mark that there was one; `None` when the last one has ended.
    fn upgrade(&self) -> Option<Self::Lease>;

    fn leases(&self) -> usize;

    /// Whether there was a new lease since the last time this was asked.
    fn was_used(lease: &Self::Lease) -> bool;
}

/// Makes what a table keeps and hands out.
pub(crate) trait Forge<K, G, C, W: Handle, F> {
    /// What those who wait for a client wait for. With a configuration, the maker has to be asked.
    fn flight(&mut self, key: &K, build: Option<&G>) -> F;

    /// The first lease of a client.
    fn lease(&mut self, key: &K, config: &G, generation: u64, client: C) -> (W, W::Lease);
}

/// The knobs that the table knows of.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) max_entries: usize,
    pub(crate) when_full: WhenFull,
    pub(crate) linger: Duration,
    pub(crate) negative_ttl: Duration,
    /// Whether there is an `on_vacant` to run.
    pub(crate) forgets: bool,
}

/// All entries of a registry.
pub(crate) struct Table<K, G, C, W: Handle, F> {
    limits: Limits,
    entries: HashMap<K, Entry<G, W, F>, BuildHasher>,
    /// Entries that were seen idle, the longest idle first.
    idle: BTreeMap<u64, K>,
    /// Failed entries, the oldest first.
    failed: BTreeMap<u64, K>,
    /// Clients that have lost their place, and whose release is still to come.
    draining: BTreeMap<u64, Draining<K, G, W>>,
    /// What keeps a key without an entry from being vacant.
    trails: HashMap<K, Trail, BuildHasher>,
    closing: usize,
    forgetting: usize,
    /// The last number of a client.
    numbers: u64,
    /// The last place in the order of what is idle or failed.
    orders: u64,
    /// When to look next at what is idle.
    next_look: Option<Instant>,
    /// When to look again for somebody idle who could make room, after none was found.
    no_room_until: Option<Instant>,
    closed: bool,
    pub(crate) counts: Counts,
    client: std::marker::PhantomData<fn(C)>,
}

enum Entry<G, W: Handle, F> {
    Pending(Pending<G, F>),
    Leased(Leased<G, W>),
    Failed(Failed<G>),
}

/// Somebody waits for the client.
struct Pending<G, F> {
    id: u64,
    flight: F,
    waiters: usize,
    since: Instant,
    stage: Stage<G>,
}

enum Stage<G> {
    /// The maker makes it, with this configuration.
    Building(G),
    /// Nobody may put one there, until `on_vacant` has run.
    Forgetting,
}

/// There is a client.
struct Leased<G, W: Handle> {
    generation: u64,
    config: G,
    handle: W,
    /// The registry's own lease.
    keep: Option<W::Lease>,
    made: Instant,
    /// When it was made, or last seen idle.
    held_since: Instant,
    /// Since when it is known to be idle, and its place in the order of those that are.
    idle: Option<(Instant, u64)>,
    diverged: u64,
}

/// There was a client, and somebody may still have it.
struct Draining<K, G, W: Handle> {
    key: K,
    leased: Leased<G, W>,
    reason: CloseReason,
}

/// There is no client, and the maker will not be asked for a while.
struct Failed<G> {
    config: G,
    error: AcquireError,
    until: Instant,
    order: u64,
}

/// What a key has beside its entry.
#[derive(Default)]
struct Trail {
    /// Clients that drain or close, and swaps that run.
    others: usize,
    /// There was a client since the key was last vacant.
    owed: bool,
}

/// A client that has left the table and is to be closed.
#[derive(Debug)]
pub(crate) struct Retired<K, C> {
    pub(crate) key: K,
    pub(crate) generation: u64,
    pub(crate) client: C,
    pub(crate) reason: CloseReason,
}

/// `on_vacant` is to be run for this key; then `forgotten` with the number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forget<K> {
    pub(crate) key: K,
    pub(crate) id: u64,
}

// === impl Table ===

impl<K, G, C, W: Handle, F> Table<K, G, C, W, F> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::default(),
            idle: BTreeMap::new(),
            failed: BTreeMap::new(),
            draining: BTreeMap::new(),
            trails: HashMap::default(),
            closing: 0,
            forgetting: 0,
            numbers: 0,
            orders: 0,
            next_look: None,
            no_room_until: None,
            closed: false,
            counts: Counts::default(),
            client: std::marker::PhantomData,
        }
    }

    /// How many keys have an entry.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// A number that no client had before.
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn order(&mut self) -> u64 {
        self.orders += 1;
        self.orders
    }
}

impl<K, G, C, W, F> Table<K, G, C, W, F>
where
    K: Hash + Eq + Clone,
    W: Handle,
{
    /// What the lock-free path may serve: key, configuration and handle of each client.
    pub(crate) fn leased(&self) -> impl Iterator<Item = (&K, &G, &W)> {
        self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Leased(leased) => Some((key, &leased.config, &leased.handle)),
            Entry::Pending(_) | Entry::Failed(_) => None,
        })
    }

    /// When the first call came that waits under `id`.
    pub(crate) fn pending_since(&self, key: &K, id: u64) -> Option<Instant> {
        match self.entries.get(key)? {
            Entry::Pending(pending) if pending.id == id => Some(pending.since),
            Entry::Pending(_) | Entry::Leased(_) | Entry::Failed(_) => None,
        }
    }

    /// A caller got generation `generation` though it asked for another configuration.
    pub(crate) fn diverged<Q>(&mut self, key: &Q, generation: u64)
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.counts.diverged += 1;
        if let Some(Entry::Leased(leased)) = self.entries.get_mut(key)
            && leased.generation == generation
        {
            leased.diverged += 1;
        }
    }

    /// Clients that live, are being made or are being closed, and keys for which `on_vacant` runs.
    pub(crate) fn outstanding(&self) -> usize {
        let busy = |entry: &&Entry<G, W, F>| !matches!(entry, Entry::Failed(_));
        self.entries.values().filter(busy).count() + self.draining.len() + self.closing
    }

    /// Clients whose close has begun and not ended.
    pub(crate) fn closing(&self) -> usize {
        self.closing
    }

    /// A client is there.
    fn install<X>(&mut self, key: &K, config: &G, generation: u64, client: C, now: Instant, forge: &mut X) -> W::Lease
    where
        G: Clone,
        X: Forge<K, G, C, W, F>,
    {
        let (handle, lease) = forge.lease(key, config, generation, client);
        let lingers = !self.limits.linger.is_zero();
        let leased = Leased {
            generation,
            config: config.clone(),
            handle,
            keep: lingers.then(|| lease.clone()),
            made: now,
            held_since: now,
            idle: None,
            diverged: 0,
        };
        if lingers && self.next_look.is_none() {
            self.next_look = now.checked_add(self.pace());
        }
        self.entries.insert(key.clone(), Entry::Leased(leased));
        lease
    }

    /// A client has lost its place, and closes with its last lease. The keep is to be dropped outside the lock.
    #[must_use]
    fn drain(&mut self, key: K, mut leased: Leased<G, W>, reason: CloseReason) -> Option<W::Lease> {
        let keep = leased.keep.take();
        if let Some((_, order)) = leased.idle.take() {
            self.idle.remove(&order);
        }
        self.follow(&key, true);
        self.draining.insert(leased.generation, Draining { key, leased, reason });
        keep
    }

    /// A client is there no more, and closes from now on.
    fn retire(&mut self, key: K, generation: u64, client: C, reason: CloseReason) -> Retired<K, C> {
        self.closing += 1;
        self.counts.closing(reason);
        self.follow(&key, true);
        Retired { key, generation, client, reason }
    }

    /// Something beside the entry of `key` begins. `client`: it is the end of a client.
    fn follow(&mut self, key: &K, client: bool) {
        if !self.limits.forgets {
            return;
        }
        match self.trails.get_mut(key) {
            Some(trail) => {
                trail.others += 1;
                trail.owed |= client;
            }
            None => drop(self.trails.insert(key.clone(), Trail { others: 1, owed: client })),
        }
    }

    /// Something beside the entry of `key` has ended.
    fn unfollow(&mut self, key: &K) {
        if let Some(trail) = self.trails.get_mut(key) {
            trail.others = trail.others.saturating_sub(1);
            if trail.others == 0 && !trail.owed {
                self.trails.remove(key);
            }
        }
    }

    /// The moment when the last client of a key has gone: from here until `forgotten` no new one can come.
    fn vacated<X>(&mut self, key: &K, now: Instant, forge: &mut X) -> Option<Forget<K>>
    where
        X: Forge<K, G, C, W, F>,
    {
        if self.trails.get(key).is_none_or(|trail| trail.others > 0) {
            return None;
        }
        match self.entries.get(key) {
            None => {}
            Some(Entry::Failed(failed)) => drop(self.failed.remove(&failed.order)),
            Some(Entry::Pending(_) | Entry::Leased(_)) => return None,
        }
        self.trails.remove(key);
        self.forgetting += 1;
        let id = self.number();
        let pending = Pending { id, flight: forge.flight(key, None), waiters: 0, since: now, stage: Stage::Forgetting };
        self.entries.insert(key.clone(), Entry::Pending(pending));
        Some(Forget { key: key.clone(), id })
    }
}

// === impl Leased ===

impl<G, W: Handle> Leased<G, W> {
    /// Nobody has a lease but the registry.
    fn is_idle(&self) -> bool {
        self.keep.is_some() && self.handle.leases() == 1
    }
}
