//! The table against a model that keeps nothing but what a reader would write on paper.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "test code")]

use super::{Acquired, Built, Forget, Leases, Limits, Swapped, Table};
use crate::{AcquireError, AcquireErrorKind, CloseEnd, CloseReason, Declined, WhenFull, snapshot::EntryState};
use proptest::prelude::*;
use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::{Duration, Instant},
};

type Key = u8;
type Config = u8;
type Client = u64;

/// A client's counts, as the pointer of the shell has them.
#[derive(Debug)]
struct Cells {
    client: Client,
    /// All leases, the keep included.
    leases: Cell<usize>,
    used: Cell<bool>,
    /// Clients whose last lease has ended, and whose release is on its way.
    ended: Rc<RefCell<Vec<Client>>>,
}

#[derive(Debug)]
struct Lease(Rc<Cells>);

/// What the shell knows of the clients.
#[derive(Default)]
struct Clients {
    cells: BTreeMap<Client, Rc<Cells>>,
    keeps: BTreeMap<Client, Lease>,
    ended: Rc<RefCell<Vec<Client>>>,
}

impl Clone for Lease {
    fn clone(&self) -> Self {
        self.0.leases.set(self.0.leases.get() + 1);
        Self(Rc::clone(&self.0))
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.leases.set(self.0.leases.get() - 1);
        if self.0.leases.get() == 0 {
            self.0.ended.borrow_mut().push(self.0.client);
        }
    }
}

impl Clients {
    /// The first lease of a client, and the keep where clients linger.
    fn admit(&mut self, client: Client, lingers: bool) -> Lease {
        let cells = Cells { client, leases: Cell::new(1), used: Cell::new(true), ended: Rc::clone(&self.ended) };
        let lease = Lease(Rc::new(cells));
        assert!(self.cells.insert(client, Rc::clone(&lease.0)).is_none(), "a number was given twice");
        if lingers {
            self.keeps.insert(client, lease.clone());
        }
        lease
    }

    fn lease(&self, client: Client) -> Option<Lease> {
        let cells = &self.cells[&client];
        if cells.leases.get() == 0 {
            return None;
        }
        cells.leases.set(cells.leases.get() + 1);
        cells.used.set(true);
        Some(Lease(Rc::clone(cells)))
    }
}

impl Leases for Clients {
    fn count(&self, id: u64) -> usize {
        self.cells[&id].leases.get() - usize::from(self.keeps.contains_key(&id))
    }

    fn take_used(&self, id: u64) -> bool {
        self.cells[&id].used.replace(false)
    }
}

#[derive(Clone, Copy, Debug)]
enum Op {
    Acquire(Key, Config),
    Get(Key),
    Build(usize, How),
    Leave(usize),
    Drop(usize),
    Release(usize),
    CloseIdle(Key),
    EndClose(usize),
    Forget(usize),
    BeginSwap(Key),
    EndSwap(usize, How),
    Advance(u64),
    Sweep,
    Shut,
}

#[derive(Clone, Copy, Debug)]
enum How {
    Works,
    Fails,
    Declines,
}

/// What a key shows to the world.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Building { id: u64, config: Config, waiters: usize },
    Forgetting { id: u64, waiters: usize },
    Client { number: Client, config: Config },
    Failed { config: Config, until: Duration },
}

/// Everything on paper.
struct World {
    table: Table<Key, Config>,
    clients: Clients,
    limits: Limits,
    start: Instant,
    elapsed: Duration,
    places: BTreeMap<Key, Place>,
    /// Whose each client is or was.
    owners: BTreeMap<Client, Key>,
    leases: Vec<(Key, Lease)>,
    waiters: Vec<(Key, u64)>,
    /// Clients that have lost their place and still have, or just had, a lease.
    draining: BTreeSet<Client>,
    closing: Vec<(Key, Client)>,
    closed: BTreeSet<Client>,
    forgets: Vec<Forget<Key>>,
    swaps: Vec<(Key, u64, Config)>,
    /// Keys that had a client since `on_vacant` ran for them.
    owed: BTreeSet<Key>,
    shut: bool,
}

impl World {
    fn new(limits: Limits) -> Self {
        #[expect(clippy::disallowed_methods, reason = "one instant is needed to begin with")]
        let start = Instant::now();
        Self {
            table: Table::new(limits.clone()),
            clients: Clients::default(),
            limits,
            start,
            elapsed: Duration::ZERO,
            places: BTreeMap::new(),
            owners: BTreeMap::new(),
            leases: Vec::new(),
            waiters: Vec::new(),
            draining: BTreeSet::new(),
            closing: Vec::new(),
            closed: BTreeSet::new(),
            forgets: Vec::new(),
            swaps: Vec::new(),
            owed: BTreeSet::new(),
            shut: false,
        }
    }

    fn now(&self) -> Instant {
        self.start + self.elapsed
    }

    fn lingers(&self) -> bool {
        !self.limits.linger.is_zero() && !self.shut
    }

    /// Leases in the hands of callers.
    fn held(&self, client: Client) -> usize {
        self.leases.iter().filter(|(_, lease)| lease.0.client == client).count()
    }

    fn has_ended(&self, client: Client) -> bool {
        self.clients.ended.borrow().contains(&client)
    }

    fn occupied(&self) -> usize {
        self.places.values().filter(|place| !matches!(place, Place::Forgetting { .. })).count()
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Acquire(key, config) => self.acquire(key, config),
            Op::Get(key) => {
                let found = self.table.client(&key).and_then(|(id, _)| self.clients.lease(id));
                let expected = match self.places.get(&key) {
                    Some(Place::Client { number, .. }) if !self.shut && !self.has_ended(*number) => Some(*number),
                    _ => None,
                };
                assert_eq!(found.as_ref().map(|lease| lease.0.client), expected);
                self.leases.extend(found.map(|lease| (key, lease)));
            }
            Op::Build(at, how) => self.build(at, how),
            Op::Leave(at) => self.leave(at),
            Op::Drop(at) => {
                if !self.leases.is_empty() {
                    drop(self.leases.swap_remove(at % self.leases.len()));
                }
            }
            Op::Release(at) => {
                let ended = self.clients.ended.borrow().len();
                if ended > 0 {
                    let client = self.clients.ended.borrow_mut().swap_remove(at % ended);
                    self.release(client);
                }
            }
            Op::CloseIdle(key) => {
                if let Some(Place::Client { number, .. }) = self.places.get(&key).cloned() {
                    let idle = self.lingers() && self.held(number) == 0;
                    let closed = self.table.close_idle(number, &self.clients);
                    assert_eq!(closed, idle);
                    self.evicted(closed.then_some(number));
                    assert!(!self.table.close_idle(number + 1_000_000, &self.clients), "another generation");
                }
            }
            Op::EndClose(at) => {
                if !self.closing.is_empty() {
                    let (key, client) = self.closing.swap_remove(at % self.closing.len());
                    assert!(self.closed.insert(client), "closed twice");
                    let forget = self.table.closed(&key, &CloseEnd::Done, self.now());
                    self.vacated(key, forget);
                }
            }
            Op::Forget(at) => {
                if !self.forgets.is_empty() {
                    let forget = self.forgets.swap_remove(at % self.forgets.len());
                    assert!(self.table.forgotten(forget.id), "a client was put there");
                    assert!(!self.table.forgotten(forget.id));
                    let place = self.places.remove(&forget.key);
                    assert!(matches!(place, Some(Place::Forgetting { id, .. }) if id == forget.id));
                    // Those that waited ask again.
                    self.waiters.retain(|(_, id)| *id != forget.id);
                }
            }
            Op::BeginSwap(key) => {
                let expected =
                    !self.shut && matches!(self.places.get(&key), Some(Place::Client { .. } | Place::Building { .. }));
                let ticket = self.table.begin_swap(&key);
                assert_eq!(ticket.is_some(), expected);
                match ticket {
                    Some(ticket) => self.swaps.push((key, ticket, 0)),
                    None if matches!(self.places.get(&key), Some(Place::Failed { .. })) && !self.shut => {
                        self.places.remove(&key);
                    }
                    None => {}
                }
            }
            Op::EndSwap(at, how) => self.end_swap(at, how),
            Op::Advance(millis) => self.elapsed += Duration::from_millis(millis),
            Op::Sweep => {
                let swept = self.table.sweep(self.now(), &self.clients);
                swept.into_iter().for_each(|client| self.evicted(Some(client)));
                let elapsed = self.elapsed;
                self.places.retain(|_, place| !matches!(place, Place::Failed { until, .. } if *until <= elapsed));
            }
            Op::Shut => {
                self.shut = true;
                self.places.retain(|_, place| !matches!(place, Place::Failed { .. }));
                self.table.close();
                self.clients.keeps.clear();
            }
        }
        drop(self.table.take_removed());
        self.compare();
    }

    fn acquire(&mut self, key: Key, config: Config) {
        let before = self.places.get(&key).cloned();
        let now = self.now();
        if let Some((number, &first)) = self.table.client(&key)
            && let Some(lease) = self.clients.lease(number)
        {
            assert_eq!(before, Some(Place::Client { number, config: first }), "a client from nowhere");
            assert!(!self.has_ended(number), "a closing client was handed out");
            self.leases.push((key, lease));
            return;
        }
        match self.table.acquire(&key, &config, now, &self.clients) {
            Acquired::Wait { id, builds, evicted } => {
                assert_eq!(builds, !matches!(before, Some(Place::Forgetting { .. })));
                self.waiters.push((key, id));
                let made_room = evicted.is_some();
                match before {
                    Some(Place::Building { id: first, config, waiters }) => {
                        assert_eq!(id, first, "two attempts at once");
                        self.places.insert(key, Place::Building { id, config, waiters: waiters + 1 });
                    }
                    Some(Place::Forgetting { id: first, waiters }) => {
                        assert_eq!(id, first);
                        self.places.insert(key, Place::Forgetting { id, waiters: waiters + 1 });
                    }
                    other => {
                        match other {
                            Some(Place::Client { number, .. }) => {
                                assert!(self.has_ended(number), "a second client beside one that is in use");
                                self.draining.insert(number);
                            }
                            Some(Place::Failed { config: first, until }) => {
                                assert!(first != config || until <= self.elapsed);
                            }
                            _ => self.make_room(evicted),
                        }
                        self.places.insert(key, Place::Building { id, config, waiters: 1 });
                        return;
                    }
                }
                assert!(!made_room, "room for one who was in");
            }
            Acquired::Refused(error) => match error.kind() {
                AcquireErrorKind::Closed => assert!(self.shut),
                AcquireErrorKind::FailedBefore { retry_in } => {
                    let Some(Place::Failed { config: first, until }) = before else { panic!("which failure?") };
                    assert_eq!((first, until), (config, self.elapsed + retry_in));
                    assert!(!retry_in.is_zero());
                }
                AcquireErrorKind::Full => {
                    assert!(before.is_none() && self.occupied() == self.limits.max_entries);
                    assert!(!self.places.values().any(|place| matches!(place, Place::Failed { .. })));
                    // An idle client may be overlooked for a millisecond after a look that found no idle client.
                    let idle = self
                        .places
                        .values()
                        .any(|place| matches!(place, Place::Client { number, .. } if self.held(*number) == 0));
                    if self.limits.when_full == WhenFull::EvictIdle && self.lingers() && idle {
                        self.elapsed += Duration::from_millis(1);
                        let again = self.table.acquire(&key, &config, self.now(), &self.clients);
                        let Acquired::Wait { id, evicted, .. } = again else { panic!("there is room to be made") };
                        self.make_room(evicted);
                        self.waiters.push((key, id));
                        self.places.insert(key, Place::Building { id, config, waiters: 1 });
                    }
                }
                kind => panic!("{kind:?}"),
            },
        }
    }

    /// A new key comes. What made room was a failure, or an idle client; nothing, if there was room.
    fn make_room(&mut self, evicted: Option<Client>) {
        if evicted.is_none() && self.occupied() >= self.limits.max_entries {
            // The oldest failure went; all have one time to live, so it is the one that ends first.
            let oldest = self
                .places
                .iter()
                .filter_map(|(key, place)| match place {
                    Place::Failed { until, .. } => Some((*until, *key)),
                    _ => None,
                })
                .min()
                .expect("room from nowhere")
                .0;
            let shown = self.table.describe(self.now(), &self.clients);
            let is_shown = |key| shown.iter().any(|entry| entry.key == key && entry.state == EntryState::Failed);
            let gone: Vec<_> = self
                .places
                .iter()
                .filter(|(key, place)| matches!(place, Place::Failed { .. }) && !is_shown(**key))
                .map(|(key, place)| (*key, place.clone()))
                .collect();
            assert_eq!(gone.len(), 1);
            assert!(matches!(gone[0].1, Place::Failed { until, .. } if until == oldest));
            self.places.remove(&gone[0].0);
        } else if evicted.is_some() {
            assert_eq!(self.occupied(), self.limits.max_entries, "evicted without need");
            assert_eq!(self.limits.when_full, WhenFull::EvictIdle);
        }
        self.evicted(evicted);
    }

    /// The table gives up its own lease of a client.
    fn evicted(&mut self, client: Option<Client>) {
        let Some(client) = client else { return };
        assert!(self.clients.keeps.remove(&client).is_some(), "it had no keep");
        assert_eq!(self.held(client), 0, "taken away from a caller");
        let key = self.owners[&client];
        assert!(matches!(self.places.remove(&key), Some(Place::Client { number, .. }) if number == client));
        self.draining.insert(client);
    }

    fn attempt(&self, client: Client, how: How) -> Result<Client, AcquireError> {
        match how {
            How::Works => Ok(client),
            How::Fails => Err(AcquireError::made("refused".into())),
            How::Declines => Err(AcquireError::made(Declined::because("off").into())),
        }
    }

    fn build(&mut self, at: usize, how: How) {
        let building: Vec<_> = self
            .waiters
            .iter()
            .filter(|(key, id)| !matches!(self.places.get(key), Some(Place::Forgetting { id: it, .. }) if it == id))
            .copied()
            .collect();
        if building.is_empty() {
            return;
        }
        let (key, id) = building[at % building.len()];
        let result = self.attempt(id, how);
        let ours = matches!(self.places.get(&key), Some(Place::Building { id: it, .. }) if *it == id);
        if result.is_ok() {
            self.owners.insert(id, key);
        }
        match self.table.built(&key, id, result, self.now()) {
            Built::Client { client, config } => {
                assert!(ours && client == id && !self.shut);
                let lease = self.clients.admit(id, self.table.lingers());
                assert_eq!(self.table.lingers(), self.lingers());
                self.places.insert(key, Place::Client { number: id, config });
                self.owed.insert(key);
                self.leases.push((key, lease));
            }
            Built::Failed { error, config, forget } => {
                assert!(ours && !self.shut);
                self.places.remove(&key);
                let declined = error.kind() == AcquireErrorKind::Declined;
                if !declined && forget.is_none() && !self.limits.negative_ttl.is_zero() {
                    let until = self.elapsed + self.limits.negative_ttl;
                    self.places.insert(key, Place::Failed { config, until });
                }
                self.vacated(key, forget);
            }
            Built::Late { error, retired, forget } => {
                assert_eq!(error.is_some(), self.shut);
                assert!(!ours || self.shut);
                if ours {
                    self.places.remove(&key);
                }
                if let Some((client, _)) = retired {
                    self.owed.insert(key);
                    self.retired(key, client);
                }
                self.vacated(key, forget);
            }
        }
        // All that waited for this attempt have their response.
        self.waiters.retain(|(_, it)| *it != id);
    }

    fn leave(&mut self, at: usize) {
        if self.waiters.is_empty() {
            return;
        }
        let (key, id) = self.waiters.swap_remove(at % self.waiters.len());
        let (last_one, forget) = self.table.leave(&key, id, self.now());
        match self.places.get_mut(&key) {
            Some(Place::Building { id: it, waiters, .. }) if *it == id => {
                *waiters -= 1;
                let last = *waiters == 0;
                if last {
                    self.places.remove(&key);
                }
                assert_eq!(last_one, last);
            }
            Some(Place::Forgetting { id: it, waiters }) if *it == id => {
                *waiters -= 1;
                assert!(!last_one);
            }
            _ => assert!(!last_one, "it had its response"),
        }
        self.vacated(key, forget);
    }

    /// The release of a client whose last lease has ended arrives.
    fn release(&mut self, client: Client) {
        assert_eq!(self.held(client), 0);
        let key = self.owners[&client];
        let reason = self.table.released(client);
        assert_eq!(reason == CloseReason::Shutdown, self.shut);
        self.clients.cells.remove(&client);
        if matches!(self.places.get(&key), Some(Place::Client { number, .. }) if *number == client) {
            self.places.remove(&key);
        } else {
            assert!(self.draining.remove(&client), "a release from nowhere");
        }
        self.retired(key, client);
    }

    fn retired(&mut self, key: Key, client: Client) {
        assert!(!self.closing.iter().any(|(_, it)| *it == client), "retired twice");
        assert!(!self.closed.contains(&client), "retired after its close");
        self.closing.push((key, client));
    }

    fn end_swap(&mut self, at: usize, how: How) {
        if self.swaps.is_empty() {
            return;
        }
        let (key, ticket, config) = self.swaps.swap_remove(at % self.swaps.len());
        if self.attempt(ticket, how).is_err() {
            let forget = self.table.abandon_swap(&key, self.now());
            self.vacated(key, forget);
            return;
        }
        self.owners.insert(ticket, key);
        self.owed.insert(key);
        let before = self.places.get(&key).cloned();
        match self.table.swap(&key, ticket, &config, self.now(), &self.clients) {
            Swapped::Done { from, evicted, waiting } => {
                assert!(!self.shut);
                let lease = self.clients.admit(ticket, self.table.lingers());
                match before {
                    Some(Place::Client { number, .. }) => {
                        assert!(number < ticket, "a later client was replaced");
                        assert_eq!((from, evicted), (Some(number), None));
                        assert_eq!(self.clients.keeps.remove(&number).is_some(), self.lingers());
                        self.places.remove(&key);
                        self.draining.insert(number);
                    }
                    Some(Place::Building { id, .. }) => {
                        assert!(id < ticket && waiting == Some(id));
                        self.waiters.retain(|(_, it)| *it != id);
                        // They get this one.
                        self.leases.push((key, lease.clone()));
                    }
                    Some(Place::Forgetting { .. }) => panic!("a key was forgotten beside its replacement"),
                    Some(Place::Failed { .. }) => {}
                    None => self.make_room(evicted),
                }
                self.places.insert(key, Place::Client { number: ticket, config });
                self.leases.push((key, lease));
            }
            Swapped::Superseded(_) => {
                assert!(
                    matches!(before, Some(Place::Client { number: it, .. } | Place::Building { id: it, .. }) if it > ticket)
                );
                self.retired(key, ticket);
            }
            Swapped::Refused(error, _) => {
                match error.kind() {
                    AcquireErrorKind::Closed => assert!(self.shut),
                    AcquireErrorKind::Full => {
                        assert!(before.is_none() && self.occupied() == self.limits.max_entries);
                    }
                    kind => panic!("{kind:?}"),
                }
                self.retired(key, ticket);
            }
        }
    }

    /// After every end: `on_vacant` is due exactly when a key that had a client has none in any form.
    fn vacated(&mut self, key: Key, forget: Option<Forget<Key>>) {
        let elsewhere = self.closing.iter().any(|(it, _)| *it == key)
            || self.draining.iter().any(|client| self.owners[client] == key)
            || self.swaps.iter().any(|(it, ..)| *it == key);
        let here = matches!(
            self.places.get(&key),
            Some(Place::Client { .. } | Place::Building { .. } | Place::Forgetting { .. })
        );
        let due = self.limits.forgets && self.owed.contains(&key) && !elsewhere && !here;
        assert_eq!(forget.is_some(), due, "key {key}: elsewhere {elsewhere}, here {here}");
        if let Some(forget) = forget {
            self.owed.remove(&key);
            self.places.insert(key, Place::Forgetting { id: forget.id, waiters: 0 });
            self.forgets.push(forget);
        }
    }

    /// What the table shows is what stands on paper.
    fn compare(&self) {
        assert!(self.occupied() <= self.limits.max_entries, "more entries than allowed");
        let mut shown = BTreeMap::new();
        let mut draining = BTreeSet::new();
        for entry in self.table.describe(self.now(), &self.clients) {
            if entry.state == EntryState::Draining {
                assert_eq!(entry.leases, self.held(entry.generation.unwrap()));
                draining.insert(entry.generation.unwrap());
            } else {
                assert!(shown.insert(entry.key, entry).is_none(), "two entries for a key");
            }
        }
        assert_eq!(draining, self.draining);
        assert_eq!(shown.keys().collect::<Vec<_>>(), self.places.keys().collect::<Vec<_>>());
        for (key, place) in &self.places {
            let entry = &shown[key];
            match place {
                Place::Building { waiters, .. } | Place::Forgetting { waiters, .. } => {
                    assert_eq!((entry.state, entry.waiters), (EntryState::Pending, *waiters));
                }
                Place::Client { number, .. } => {
                    let held = self.held(*number);
                    let idle = held == 0 && !self.has_ended(*number);
                    let state = if idle { EntryState::Idle } else { EntryState::Leased };
                    assert_eq!((entry.state, entry.generation, entry.leases), (state, Some(*number), held));
                    assert!(!idle || self.lingers());
                }
                Place::Failed { .. } => assert_eq!(entry.state, EntryState::Failed),
            }
        }
        assert_eq!(self.table.closing(), self.closing.len());
        assert_eq!(self.table.len(), self.occupied());
        let busy = self.places.values().filter(|place| !matches!(place, Place::Failed { .. })).count();
        assert_eq!(self.table.outstanding(), busy + self.draining.len() + self.closing.len());
    }

    /// All leases end, all waiters go: nothing may be left.
    fn finish(mut self) {
        self.run(Op::Shut);
        while !self.swaps.is_empty() {
            self.run(Op::EndSwap(0, How::Fails));
        }
        self.leases.clear();
        for _ in 0..1_000 {
            if self.table.outstanding() == 0 && self.waiters.is_empty() {
                break;
            }
            [Op::Leave(0), Op::Release(0), Op::EndClose(0), Op::Forget(0)].into_iter().for_each(|op| self.run(op));
        }
        assert_eq!((self.table.len(), self.table.outstanding()), (0, 0));
        assert!(self.table.keys.is_empty() && self.table.slots.is_empty() && self.table.expendable.is_empty());
        assert_eq!(self.closed.len(), self.owners.len(), "each client is closed once");
        assert!(!self.limits.forgets || self.owed.is_empty(), "each key that had a client is forgotten");
        assert_eq!(self.table.counts.created, self.table.counts.closed);
    }
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0_u8..4;
    let how = || prop_oneof![4 => Just(How::Works), 2 => Just(How::Fails), 1 => Just(How::Declines)];
    let at = || 0_usize..8;
    prop_oneof![
        8 => (key(), 0_u8..2).prop_map(|(key, config)| Op::Acquire(key, config)),
        2 => key().prop_map(Op::Get),
        6 => (at(), how()).prop_map(|(at, how)| Op::Build(at, how)),
        2 => at().prop_map(Op::Leave),
        6 => at().prop_map(Op::Drop),
        4 => at().prop_map(Op::Release),
        1 => key().prop_map(Op::CloseIdle),
        4 => at().prop_map(Op::EndClose),
        3 => at().prop_map(Op::Forget),
        2 => key().prop_map(Op::BeginSwap),
        2 => (at(), how()).prop_map(|(at, how)| Op::EndSwap(at, how)),
        3 => (0_u64..40).prop_map(Op::Advance),
        3 => Just(Op::Sweep),
    ]
}

fn limits() -> impl Strategy<Value = Limits> {
    let time = || prop_oneof![Just(Duration::ZERO), Just(Duration::from_millis(40))];
    (1_usize..4, prop::bool::ANY, time(), time(), prop::bool::ANY).prop_map(
        |(max_entries, evict, linger, negative_ttl, forgets)| Limits {
            max_entries,
            when_full: if evict { WhenFull::EvictIdle } else { WhenFull::Refuse },
            linger,
            negative_ttl,
            forgets,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn g01_to_g08_the_table_does_what_stands_on_paper(
        limits in limits(),
        ops in prop::collection::vec(op(), 1..120),
        shut_at in 0_usize..240,
    ) {
        let mut world = World::new(limits);
        for (at, op) in ops.into_iter().enumerate() {
            if at == shut_at {
                world.run(Op::Shut);
            }
            world.run(op);
        }
        world.finish();
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// A client that no caller uses goes after at least `linger`, and at most a quarter more, if it is swept in time.
    #[test]
    fn an_idle_client_goes_in_time(used_for in 0_u64..500, step in 1_u64..10) {
        let linger = Duration::from_millis(40);
        let limits = Limits {
            max_entries: 4, when_full: WhenFull::EvictIdle, linger, negative_ttl: Duration::ZERO, forgets: false,
        };
        let mut world = World::new(limits);
        world.run(Op::Acquire(0, 0));
        world.run(Op::Build(0, How::Works));
        while world.elapsed < Duration::from_millis(used_for) {
            world.run(Op::Advance(step));
            world.run(Op::Sweep);
            // Used for less than a moment, again and again.
            world.run(Op::Get(0));
            world.run(Op::Drop(1));
            prop_assert!(world.places.contains_key(&0), "taken from under its user");
        }
        world.run(Op::Drop(0));
        let idle_since = world.elapsed;
        while world.places.contains_key(&0) {
            world.run(Op::Advance(1));
            world.run(Op::Sweep);
        }
        let lingered = world.elapsed.saturating_sub(idle_since);
        prop_assert!(lingered >= linger && lingered <= linger * 5 / 4 + Duration::from_millis(step), "{lingered:?}");
    }
}
