//! The shell around the table of keys: the clock, the lock, the ledger, and the sink of the items.

use super::{
    CollectEvent, Emission, End, Fold, Folded, Place, Refused,
    state::{Ended, Limits, Table},
};
use crate::scope::AggregatorId;
use forebay_core::{
    DropReason, Fate, Ledger, Observe, Priority, Totals,
    panic::{self, Panic},
};
use futures_util::task::AtomicWaker;
use std::{
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::time::Instant;

/// Receives the items, and returns their fates.
pub(crate) type Sink<Item> = dyn Fn(Emission<Item>) -> Fate + Send + Sync;
pub(crate) type Observer = dyn Observe<CollectEvent> + Send + Sync;

/// An aggregator of any fold, as its handle uses it.
pub(crate) trait Ingest<K, E>: AggregatorControl {
    fn offer(&self, event: E) -> Result<(), Refused<E>>;
    fn complete(&self, key: &K) -> bool;
    fn complete_where(&self, wanted: &mut dyn FnMut(&K) -> bool) -> usize;
}

/// The operations of an aggregator that involve neither keys nor events.
pub(crate) trait AggregatorControl: Send + Sync {
    /// Ends the expired keys, and returns when the next one expires.
    fn tick(&self, now: Instant) -> Option<Instant>;
    fn complete_all(&self);
    /// Admits no more events and ends all keys. The first call returns `true`.
    fn close(&self) -> bool;
    fn is_closed(&self) -> bool;
    fn totals(&self) -> Totals;
    fn open_keys(&self) -> usize;
    fn held_bytes(&self) -> usize;
    fn set_enabled(&self, enabled: bool);
    fn is_enabled(&self) -> bool;
}

pub(crate) struct Shared<F: Fold<E>, E> {
    /// Marks the threads on which the sink runs.
    id: AggregatorId,
    fold: F,
    sink: Box<Sink<F::Item>>,
    observer: Arc<Observer>,
    locked: Mutex<Locked<F, E>>,
    /// Read before the lock, so that a switched-off aggregator does not take it.
    enabled: AtomicBool,
    /// Events that were refused while the aggregator was switched off, and are not in the ledger yet.
    unseen: AtomicU64,
    /// The task of the ticker, which waits for the expiry of the oldest key.
    ticker: Arc<AtomicWaker>,
}

struct Locked<F: Fold<E>, E> {
    table: Table<F::Key, F::Held, E>,
    ledger: Ledger,
    closed: bool,
}

/// The keys and events that leave the table because of one event. They are passed on without the lock.
struct Leaving<F: Fold<E>, E> {
    ended: Vec<Ended<F::Key, F::Held, E>>,
    alone: Option<(E, Priority)>,
    /// An error that exceeded the limit of its key.
    lost: Option<E>,
}

// === impl Shared ===

impl<F: Fold<E>, E> Shared<F, E> {
    pub(crate) fn new(
        fold: F,
        limits: Limits,
        sink: Box<Sink<F::Item>>,
        observer: Arc<Observer>,
        ticker: Arc<AtomicWaker>,
    ) -> Self {
        let locked = Locked { table: Table::new(limits), ledger: Ledger::default(), closed: false };
        Self {
            id: AggregatorId::new(),
            fold,
            sink,
            observer,
            locked: Mutex::new(locked),
            enabled: AtomicBool::new(true),
            unseen: AtomicU64::new(0),
            ticker,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Locked<F, E>> {
        // CORRECTNESS: panics of user code under this lock are caught, so a poisoned one guards a whole table.
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, event: E, reason: DropReason) -> Refused<E> {
        self.lock().ledger.refuse(reason, 1);
        self.observe(|| CollectEvent::Refused { reason });
        Refused::new(event, reason)
    }

    /// Adds an event to the table, under the lock, and ends the keys that make room for it.
    fn put(&self, locked: &mut Locked<F, E>, put: NewEvent<F::Key, E>, now: Instant, leaving: &mut Leaving<F, E>) {
        let NewEvent { place, event, bytes } = put;
        let Locked { table, ledger, .. } = locked;
        let (key, role) = match place {
            Place::Alone(priority) => return leaving.alone = Some((event, priority)),
            Place::Retryable(None) => return leaving.alone = Some((event, Priority::Normal)),
            Place::Terminal(None) => return leaving.alone = Some((event, Priority::High)),
            Place::Terminal(Some(key)) => {
                match table.end(&key, End::Terminal) {
                    Some(mut ended) => {
                        // The error that ends the key is its last one.
                        ended.errors.push(event);
                        leaving.ended.push(ended);
                    }
                    None => leaving.alone = Some((event, Priority::High)),
                }
                return;
            }
            Place::Part(key) => (key, Role::Part),
            Place::Last(key) => (key, Role::Last),
            Place::Retryable(Some(key)) => (key, Role::Error),
        };
        table.make_room(&key, bytes, &mut leaving.ended);
        if panic::catch(|| table.open(&key, now, || self.fold.open(&key))).is_err() {
            ledger.settle(Fate::Dropped(DropReason::Panicked), 1);
            return self.observe(|| CollectEvent::Dropped { reason: DropReason::Panicked, events: 1 });
        }
        if matches!(role, Role::Error) {
            leaving.lost = table.keep(&key, event, bytes);
            return;
        }
        let Some(held) = table.add(&key, bytes) else { return };
        let added = panic::catch(|| self.fold.add(held, event));
        if added.is_err() || matches!(role, Role::Last) {
            leaving.ended.extend(table.end(&key, End::Complete).map(|mut ended| {
                ended.spoiled = added.is_err();
                ended
            }));
        }
    }

    /// Passes items on, without the lock: first the errors, then the item of the key.
    fn pass_on(&self, leaving: Leaving<F, E>) {
        let Leaving { ended, alone, lost } = leaving;
        if lost.is_some() {
            self.drop_events(DropReason::Evicted, 1);
        }
        // The `Drop` of an event is user code, so it runs without the lock.
        panic::discard(lost);
        for one in ended {
            self.pass_on_key(one);
        }
        if let Some((event, priority)) = alone {
            let item = panic::catch(|| self.fold.alone(event));
            self.pass_on_item(item, Emission { item: (), priority, end: None, events: 1 }, DropReason::Filtered);
        }
    }

    fn pass_on_key(&self, ended: Ended<F::Key, F::Held, E>) {
        let Ended { key, mut held, mut parts, errors, end, spoiled } = ended;
        let priority = end.priority();
        self.observe(|| CollectEvent::Ended { end, parts, errors: count(errors.len()) });
        for error in errors {
            // The state of a key is suspect after a panic, so the fold does not receive it again.
            let folded = panic::catch(|| match spoiled {
                true => self.fold.alone(error).map_or(Folded::Unwanted, Folded::Out),
                false => self.fold.error(&key, &mut held, error, end),
            });
            let item = match folded {
                Ok(Folded::In) => {
                    parts += 1;
                    continue;
                }
                Ok(Folded::Out(item)) => Ok(Some(item)),
                Ok(Folded::Unwanted) => Ok(None),
                Err(panic) => Err(panic),
            };
            let emission = Emission { item: (), priority, end: Some(end), events: 1 };
            self.pass_on_item(item, emission, DropReason::Filtered);
        }
        if spoiled {
            return self.drop_events(DropReason::Panicked, parts);
        }
        if parts > 0 {
            let item = panic::catch(|| self.fold.finish(key, held, end));
            let without = match end {
                End::Complete | End::Terminal | End::Closed => DropReason::Filtered,
                End::Expired => DropReason::Expired,
                End::Evicted => DropReason::Evicted,
            };
            self.pass_on_item(item, Emission { item: (), priority, end: Some(end), events: parts }, without);
        }
    }

    /// Passes an item to the sink. Without an item its events count as dropped.
    fn pass_on_item(&self, item: Result<Option<F::Item>, Panic>, about: Emission<()>, without: DropReason) {
        let events = about.events;
        let item = match item {
            Ok(Some(item)) => item,
            Ok(None) => return self.drop_events(without, events),
            Err(_) => return self.drop_events(DropReason::Panicked, events),
        };
        let _at_work = self.id.enter();
        match panic::catch(|| (self.sink)(about.with(item))) {
            Ok(Fate::Dropped(reason)) => self.drop_events(reason, events),
            Ok(fate) => self.lock().ledger.settle(fate, events),
            Err(_) => self.drop_events(DropReason::Panicked, events),
        }
    }

    fn drop_events(&self, reason: DropReason, events: u64) {
        if events > 0 {
            self.lock().ledger.settle(Fate::Dropped(reason), events);
            self.observe(|| CollectEvent::Dropped { reason, events });
        }
    }

    fn observe(&self, event: impl FnOnce() -> CollectEvent) {
        if self.observer.enabled() {
            // The panic hook has reported the panic of an observer; it must not harm the host.
            let _reported = panic::catch(|| self.observer.observe(&event()));
        }
    }

    fn end_all(&self, locked: &mut Locked<F, E>, end: End) -> Leaving<F, E> {
        let mut leaving = Leaving::new();
        locked.table.end_all(end, &mut leaving.ended);
        leaving
    }
}

/// An event for the table.
struct NewEvent<K, E> {
    place: Place<K>,
    event: E,
    bytes: usize,
}

#[derive(Clone, Copy)]
enum Role {
    Part,
    Last,
    Error,
}

impl<F, E> Ingest<F::Key, E> for Shared<F, E>
where
    F: Fold<E> + Send + Sync,
    F::Key: Send,
    F::Held: Send,
    E: Send,
{
    fn offer(&self, event: E) -> Result<(), Refused<E>> {
        // Relaxed: the switch orders nothing, and an event may pass it late.
        if !self.enabled.load(Ordering::Relaxed) {
            self.unseen.fetch_add(1, Ordering::Relaxed);
            return Err(Refused::new(event, DropReason::Disabled));
        }
        // An event of the sink itself would be passed to the sink again, without end.
        if self.id.is_at_work() {
            return Err(self.refuse(event, DropReason::Disabled));
        }
        let Ok((place, bytes)) = panic::catch(|| (self.fold.place(&event), self.fold.weigh(&event))) else {
            return Err(self.refuse(event, DropReason::Panicked));
        };
        // The clock is read before the lock, to keep the critical section short.
        let now = Instant::now();
        let mut leaving = Leaving::new();
        let mut locked = self.lock();
        let reason = if locked.closed {
            Some(DropReason::Shutdown)
        } else {
            (!locked.table.fits(bytes) && place.is_held()).then_some(DropReason::TooLarge)
        };
        if let Some(reason) = reason {
            drop(locked);
            return Err(self.refuse(event, reason));
        }
        locked.ledger.accept(1);
        let idle = locked.table.len() == 0;
        // Expired keys make room first, so that no open key is evicted for them.
        locked.table.expire(now, &mut leaving.ended);
        self.put(&mut locked, NewEvent { place, event, bytes }, now, &mut leaving);
        // CORRECTNESS: the ticker has no timer while no key is open, so the first key wakes it. All later keys expire later.
        let wake = idle && locked.table.len() > 0;
        drop(locked);
        if wake {
            self.ticker.wake();
        }
        self.pass_on(leaving);
        Ok(())
    }

    fn complete(&self, key: &F::Key) -> bool {
        let mut leaving = Leaving::new();
        leaving.ended.extend(self.lock().table.end(key, End::Complete));
        let found = !leaving.ended.is_empty();
        self.pass_on(leaving);
        found
    }

    fn complete_where(&self, wanted: &mut dyn FnMut(&F::Key) -> bool) -> usize {
        let mut leaving = Leaving::new();
        let mut locked = self.lock();
        // A panic of the closure ends the search, and completes no key.
        let found = panic::catch(|| locked.table.keys().filter(|key| wanted(key)).cloned().collect::<Vec<_>>());
        for key in found.unwrap_or_default() {
            leaving.ended.extend(locked.table.end(&key, End::Complete));
        }
        drop(locked);
        let ended = leaving.ended.len();
        self.pass_on(leaving);
        ended
    }
}

impl<F, E> AggregatorControl for Shared<F, E>
where
    F: Fold<E> + Send + Sync,
    F::Key: Send,
    F::Held: Send,
    E: Send,
{
    fn tick(&self, now: Instant) -> Option<Instant> {
        let mut leaving = Leaving::new();
        let mut locked = self.lock();
        locked.table.expire(now, &mut leaving.ended);
        let next = locked.table.next_expiry();
        // CORRECTNESS: the sink is user code, and runs without the lock, here and below.
        drop(locked);
        self.pass_on(leaving);
        next
    }

    fn complete_all(&self) {
        let mut locked = self.lock();
        let leaving = self.end_all(&mut locked, End::Complete);
        drop(locked);
        self.pass_on(leaving);
    }

    fn close(&self) -> bool {
        let mut locked = self.lock();
        // CORRECTNESS: the flag and the table change under one lock, so no event enters after the last key has ended.
        let first = !mem::replace(&mut locked.closed, true);
        let leaving = self.end_all(&mut locked, End::Closed);
        drop(locked);
        self.pass_on(leaving);
        // CORRECTNESS: the flag is set before the wake, so the ticker sees it and ends.
        self.ticker.wake();
        first
    }

    fn is_closed(&self) -> bool {
        self.lock().closed
    }

    fn totals(&self) -> Totals {
        let mut locked = self.lock();
        // The refusals of the switched-off time enter the ledger here, where they are read.
        locked.ledger.refuse(DropReason::Disabled, self.unseen.swap(0, Ordering::Relaxed));
        locked.ledger.totals()
    }

    fn open_keys(&self) -> usize {
        self.lock().table.len()
    }

    fn held_bytes(&self) -> usize {
        self.lock().table.bytes()
    }

    fn set_enabled(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Relaxed);
    }

    fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }
}

// === impl Leaving ===

impl<F: Fold<E>, E> Leaving<F, E> {
    fn new() -> Self {
        Self { ended: Vec::new(), alone: None, lost: None }
    }
}

// === impl Place ===

impl<K> Place<K> {
    /// Whether the event stays in the table.
    fn is_held(&self) -> bool {
        matches!(self, Self::Part(_) | Self::Last(_) | Self::Retryable(Some(_)))
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
