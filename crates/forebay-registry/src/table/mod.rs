//! The life of every entry, pure: no clock, no lock, no runtime. Time is an argument.
//!
//! ```text
//!             acquire                 made                      last lease ends
//!   (vacant) ────────► Building ─────────────────► Leased ───────────────────────► Idle   (with linger)
//!       ▲                 │ failed, abandoned        │  ▲                          │  │
//!       ├─────────────────┘  (or Failed, for a       │  └────────── acquire ───────┘  │ linger is over,
//!       │                     while)                 │ last lease ends                │ evicted
//!       │     Forgetting ◄── no client is left ──────┴──── closing ◄──────────────────┘
//!       └──────────┘
//! ```
//!
//! Three things happen beside the picture. An `acquire` may meet a lease that is ending: its count is zero, and the
//! release is on its way. Without linger the old client then drains beside a fresh one; with linger the entry is
//! `Returning`, and those who wait get the client from the release itself. A `swap` puts a new client in the place of
//! any other, which drains until its leases end. `Forgetting` runs the user's `on_vacant` while nobody can put a new
//! client there.

mod acquire;
mod close;
mod swap;

pub(crate) use self::{
    acquire::{Acquired, Built},
    close::Released,
    swap::Swapped,
};

use crate::{
    AcquireError, CloseReason, WhenFull,
    snapshot::{Counts, EntryInfo, EntryState},
    sync::BuildHasher,
};
use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashMap},
    hash::Hash,
    time::{Duration, Instant},
};

/// A counted pointer to a client that does not keep it.
pub(crate) trait Handle {
    type Lease;

    /// A new lease; `None` when the last one has ended.
    fn upgrade(&self) -> Option<Self::Lease>;

    fn leases(&self) -> usize;
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
pub(crate) struct Table<K, G, C, W, F> {
    limits: Limits,
    entries: HashMap<K, Entry<G, C, W, F>, BuildHasher>,
    /// Idle entries, the longest idle first.
    idle: BTreeMap<u64, K>,
    /// Failed entries, the oldest first.
    failed: BTreeMap<u64, K>,
    /// Clients that were replaced, or whose end was met by an acquire, and whose release is still to come.
    draining: BTreeMap<u64, (K, Leased<G, W>)>,
    /// What keeps a key without an entry from being vacant.
    trails: HashMap<K, Trail, BuildHasher>,
    closing: usize,
    forgetting: usize,
    /// The last number of a client.
    numbers: u64,
    /// The last place in the order of what is idle or failed.
    orders: u64,
    closed: bool,
    pub(crate) counts: Counts,
}

enum Entry<G, C, W, F> {
    Pending(Pending<G, W, F>),
    Leased(Leased<G, W>),
    Idle(Idle<G, C>),
    Failed(Failed<G>),
}

/// Somebody waits for the client.
struct Pending<G, W, F> {
    id: u64,
    flight: F,
    waiters: usize,
    since: Instant,
    stage: Stage<G, W>,
}

enum Stage<G, W> {
    /// The maker makes it, with this configuration.
    Building(G),
    /// Its last lease has ended; the release brings it.
    Returning(Leased<G, W>),
    /// Nobody may put one there, until `on_vacant` has run.
    Forgetting,
}

/// Somebody has the client.
#[derive(Clone)]
struct Leased<G, W> {
    generation: u64,
    config: G,
    handle: W,
    since: Instant,
    made: Instant,
    diverged: u64,
}

/// Nobody has the client, and it stays for a while.
struct Idle<G, C> {
    generation: u64,
    config: G,
    client: C,
    since: Instant,
    made: Instant,
    diverged: u64,
    order: u64,
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

impl<K, G, C, W, F> Table<K, G, C, W, F> {
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
            closed: false,
            counts: Counts::default(),
        }
    }

    /// How many keys have an entry.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Idle clients, when there will be no table any more.
    pub(crate) fn take_idle(&mut self) -> Vec<(K, u64, C)> {
        let idle = |(key, entry)| match entry {
            Entry::Idle(Idle { generation, client, .. }) => Some((key, generation, client)),
            Entry::Pending(_) | Entry::Leased(_) | Entry::Failed(_) => None,
        };
        self.entries.drain().filter_map(idle).collect()
    }

    /// A number that was never given before.
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
    /// What the lock-free path may serve: key, configuration and handle of each leased entry.
    pub(crate) fn leased(&self) -> impl Iterator<Item = (&K, &G, &W)> {
        self.entries.iter().filter_map(|(key, entry)| match entry {
            Entry::Leased(leased) => Some((key, &leased.config, &leased.handle)),
            Entry::Pending(_) | Entry::Idle(_) | Entry::Failed(_) => None,
        })
    }

    /// When the first call came that waits under `id`.
    pub(crate) fn pending_since(&self, key: &K, id: u64) -> Option<Instant> {
        match self.entries.get(key)? {
            Entry::Pending(pending) if pending.id == id => Some(pending.since),
            Entry::Pending(_) | Entry::Leased(_) | Entry::Idle(_) | Entry::Failed(_) => None,
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
        let busy = |entry: &&Entry<G, C, W, F>| matches!(entry, Entry::Pending(_) | Entry::Leased(_));
        self.entries.values().filter(busy).count() + self.draining.len() + self.closing
    }

    /// Clients whose close has begun and not ended.
    pub(crate) fn closing(&self) -> usize {
        self.closing
    }

    pub(crate) fn describe(&self, now: Instant) -> Vec<EntryInfo<K>> {
        let age = |since: Instant| now.saturating_duration_since(since);
        let of_leased = |key: &K, leased: &Leased<G, W>, draining: bool| EntryInfo {
            key: key.clone(),
            state: if draining { EntryState::Draining } else { EntryState::Leased },
            generation: Some(leased.generation),
            leases: leased.handle.leases(),
            waiters: 0,
            in_state_for: age(leased.since),
            age: age(leased.made),
            diverged: leased.diverged,
        };
        let current = self.entries.iter().map(|(key, entry)| match entry {
            Entry::Leased(leased) => of_leased(key, leased, false),
            Entry::Pending(Pending { stage, waiters, since, .. }) => EntryInfo {
                key: key.clone(),
                state: EntryState::Pending,
                generation: match stage {
                    Stage::Returning(leased) => Some(leased.generation),
                    Stage::Building(_) | Stage::Forgetting => None,
                },
                leases: 0,
                waiters: *waiters,
                in_state_for: age(*since),
                age: age(*since),
                diverged: 0,
            },
            Entry::Idle(idle) => EntryInfo {
                key: key.clone(),
                state: EntryState::Idle,
                generation: Some(idle.generation),
                leases: 0,
                waiters: 0,
                in_state_for: age(idle.since),
                age: age(idle.made),
                diverged: idle.diverged,
            },
            Entry::Failed(failed) => EntryInfo {
                key: key.clone(),
                state: EntryState::Failed,
                generation: None,
                leases: 0,
                waiters: 0,
                in_state_for: self.limits.negative_ttl.saturating_sub(failed.until.saturating_duration_since(now)),
                age: Duration::ZERO,
                diverged: 0,
            },
        });
        let draining = self.draining.values().map(|(key, leased)| of_leased(key, leased, true));
        current.chain(draining).collect()
    }

    /// Takes a client out: it drains no more, and closes from now on.
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
            Some(Entry::Pending(_) | Entry::Leased(_) | Entry::Idle(_)) => return None,
        }
        self.trails.remove(key);
        self.forgetting += 1;
        let id = self.number();
        let pending = Pending { id, flight: forge.flight(key, None), waiters: 0, since: now, stage: Stage::Forgetting };
        self.entries.insert(key.clone(), Entry::Pending(pending));
        Some(Forget { key: key.clone(), id })
    }
}
