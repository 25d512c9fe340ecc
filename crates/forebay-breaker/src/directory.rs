//! From a key to its slot: a bounded map whose readers write nothing that is shared.
//!
//! The map holds the keys and where their slots are; the slots stand in chunks that never move, so that a call keeps
//! an index and no reference count. All changes to the map happen under one lock.

use crate::{
    Mode,
    label::KeyLabel,
    slot::{Slot, SlotCtx},
    state::Event,
    window::Line,
};
use foldhash::fast::RandomState;
use forebay_core::support::CachePadded;
use papaya::{HashMap, HashMapRef, LocalGuard};
use std::{
    borrow::Borrow,
    collections::VecDeque,
    hash::Hash,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

pub(crate) struct Directory<K> {
    /// Hashed with seeds that are drawn for each map: keys cannot be chosen to collide in advance.
    map: HashMap<K, Place, RandomState>,
    chunks: Box<[OnceLock<Chunk>]>,
    /// A chunk has two to this power of slots.
    chunk_bits: u32,
    /// How many lines of counters each slot has.
    lines: usize,
    max: u32,
    /// The round of the sweep. A call leaves it in its slot, and so writes once per round.
    round: AtomicU32,
    /// On cache lines of its own: readers of the map do not notice when it is written.
    writer: CachePadded<Mutex<Writer>>,
}

/// Where the slot of a key is, and which of the place's tenants the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) tenancy: u32,
}

/// Some slots, and their windows over a time.
#[derive(Debug)]
struct Chunk {
    slots: Box<[Slot]>,
    lines: Box<[Line]>,
}

/// What only the holder of the lock may touch.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The mode that new keys start in.
    pub(crate) mode: Mode,
    /// What is emitted once the lock is released.
    events: Vec<Event>,
    /// The indices of slots that keys have left.
    vacant: Vec<u32>,
    never_used: u32,
    /// How many microseconds a key may stay unused.
    idle: u64,
    /// When the last rounds of the sweep began, in microseconds, oldest first.
    rounds: VecDeque<(u32, u64)>,
}

/// The directory, locked for the one thread that may change it.
///
/// CORRECTNESS: the map drops keys that were removed when the last pin of a thread ends, and a key's `Drop` is code of the user.
/// The fields are dropped in this order, so that the lock is released before the pin ends.
pub(crate) struct Writing<'a, K> {
    pub(crate) writer: MutexGuard<'a, Writer>,
    map: HashMapRef<'a, K, Place, RandomState, LocalGuard<'a>>,
    directory: &'a Directory<K>,
}

const CHUNK: u32 = 256;

// === impl Place ===

impl Place {
    /// The slot that stands alone, which no key ever leaves.
    pub(crate) const SINGLE: Self = Self { index: u32::MAX, tenancy: 0 };

    /// The index of no slot: of a call that counts for nothing, of a key that has left.
    pub(crate) const NOWHERE: u32 = u32::MAX - 1;
}

// === impl Directory ===

impl<K> Directory<K> {
    /// The slot at `index`, and its counters.
    #[inline(always)]
    pub(crate) fn slot(&self, index: u32) -> Option<(&Slot, &[Line])> {
        let chunk = self.chunks.get((index >> self.chunk_bits) as usize)?.get()?;
        let at = (index & ((1 << self.chunk_bits) - 1)) as usize;
        Some((chunk.slots.get(at)?, chunk.lines.get(at * self.lines..(at + 1) * self.lines)?))
    }
}

impl<K: Hash + Eq> Directory<K> {
    /// `lines` lines of counters for each of at most `max` keys, which leave when unused for `idle` microseconds.
    pub(crate) fn new(max: u32, lines: usize, idle: u64, mode: Mode) -> Self {
        let chunk_bits = max.clamp(1, CHUNK).next_power_of_two().ilog2();
        let chunks = (0..max.div_ceil(1 << chunk_bits)).map(|_| OnceLock::new()).collect();
        let rounds = VecDeque::from([(0, 0)]);
        let writer = Writer { mode, events: Vec::new(), vacant: Vec::new(), never_used: 0, idle, rounds };
        let (map, round) = (HashMap::with_hasher(RandomState::default()), AtomicU32::new(0));
        Self { map, chunks, chunk_bits, lines, max, round, writer: CachePadded::new(Mutex::new(writer)) }
    }

    pub(crate) fn max(&self) -> u32 {
        self.max
    }

    #[inline(always)]
    pub(crate) fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        self.map.pin().get(key).copied()
    }

    /// Keeps a key that was just used from being taken for idle.
    #[inline(always)]
    pub(crate) fn touch(&self, slot: &Slot) {
        // Relaxed: a round that is read late keeps a key for half an idle time more. The comparison spares the line of a key that
        // many threads use a write per call.
        let round = self.round.load(Ordering::Relaxed);
        if slot.used.load(Ordering::Relaxed) != round {
            slot.used.store(round, Ordering::Relaxed);
        }
    }

    pub(crate) fn write(&self) -> Writing<'_, K> {
        let map = self.map.pin();
        Writing { writer: self.writer.lock().unwrap_or_else(PoisonError::into_inner), map, directory: self }
    }

    /// As [`write`](Self::write), but where the directory is full, no call waits for a place that there is not.
    pub(crate) fn try_write(&self, keys: u32) -> Option<Writing<'_, K>> {
        if keys < self.max {
            return Some(self.write());
        }
        let map = self.map.pin();
        Some(Writing { writer: self.writer.try_lock().ok()?, map, directory: self })
    }

    /// Every key with its place.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&K, Place)) {
        for (key, place) in &self.map.pin() {
            each(key, *place);
        }
    }
}

// === impl Writing ===

impl<K: Hash + Eq> Writing<'_, K> {
    pub(crate) fn find<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        self.map.get(key).copied()
    }

    /// Whether one more key fits.
    pub(crate) fn has_room(&self) -> bool {
        !self.writer.vacant.is_empty() || self.writer.never_used < self.directory.max
    }

    /// Gives `key` a slot; there must be [room](Self::has_room).
    pub(crate) fn add<E>(&mut self, key: K, label: Option<KeyLabel>, ctx: &SlotCtx<'_, E>) -> Option<Place> {
        let (directory, writer) = (self.directory, &mut *self.writer);
        let index = writer.vacant.pop().unwrap_or(writer.never_used);
        writer.never_used = writer.never_used.max(index + 1);
        directory.chunks.get((index >> directory.chunk_bits) as usize)?.get_or_init(|| {
            let slots = 1 << directory.chunk_bits;
            Chunk {
                slots: (0..slots).map(|_| Slot::vacant()).collect(),
                lines: (0..slots * directory.lines).map(|_| Line::new()).collect(),
            }
        });
        let (slot, _) = directory.slot(index)?;
        // CORRECTNESS: the slot is occupied before the map leads to it, so that a call finds the tenancy that the place names.
        let tenancy = slot.occupy(directory.round.load(Ordering::Relaxed), writer.mode, label, ctx);
        ctx.gauge.keys.fetch_add(1, Ordering::Relaxed);
        let place = Place { index, tenancy };
        self.map.insert(key, place);
        Some(place)
    }

    /// Takes the slot of `key`. Results of calls that are under way for it move nothing any more.
    pub(crate) fn remove<Q, E>(&mut self, key: &Q, ctx: &SlotCtx<'_, E>) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(place) = self.find(key) else { return false };
        // CORRECTNESS: the slot is vacated before the map forgets the key. A call that still finds the place sees a later tenancy
        // and looks again, so that there are never two states of one key.
        self.directory.vacate(&mut self.writer, place, ctx);
        self.map.remove(key);
        true
    }

    /// Starts a round of the sweep, and removes the keys that were unused all through an idle time.
    ///
    /// There is no clock on the path of a call: a call leaves only the number of the round. A key is idle when the
    /// last round it was used in ended at least an idle time ago.
    pub(crate) fn expire<E>(&mut self, now: u64, ctx: &SlotCtx<'_, E>) -> usize {
        let (directory, writer) = (self.directory, &mut *self.writer);
        let Some(limit) = writer.start_round(now) else { return 0 };
        directory.round.store(writer.rounds.back().map_or(0, |round| round.0), Ordering::Relaxed);
        let mut removed = 0;
        self.map.retain(|_, &place| {
            let Some((slot, _)) = directory.slot(place.index) else { return true };
            let unused = slot.used.load(Ordering::Relaxed) < limit;
            if !unused || !slot.is_idle(now, writer.idle, writer.mode, ctx) {
                return true;
            }
            directory.vacate(writer, place, ctx);
            removed += 1;
            false
        });
        removed
    }

    /// Releases the lock, and returns what is to be emitted.
    pub(crate) fn finish(mut self) -> Vec<Event> {
        std::mem::take(&mut self.writer.events)
    }
}

impl<K> Directory<K> {
    fn vacate<E>(&self, writer: &mut Writer, place: Place, ctx: &SlotCtx<'_, E>) {
        // CORRECTNESS: a key that has left already does not leave twice, or two keys would be given the same place.
        if let Some((slot, _)) = self.slot(place.index).filter(|(slot, _)| slot.tenancy() == place.tenancy) {
            writer.events.extend(slot.vacate(ctx).map(|event| *event));
            writer.vacant.push(place.index);
            ctx.gauge.keys.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

// === impl Writer ===

impl Writer {
    /// Whether half an idle time has passed since the last round began.
    pub(crate) fn is_round_due(&self, now: u64) -> bool {
        self.rounds.back().is_none_or(|&(_, began)| now.saturating_sub(began) >= self.idle / 2)
    }

    /// How many rounds it remembers.
    #[cfg(test)]
    pub(crate) fn rounds(&self) -> usize {
        self.rounds.len()
    }

    /// The first round whose users, and all later ones', are not idle.
    pub(crate) fn start_round(&mut self, now: u64) -> Option<u32> {
        let (round, began) = self.rounds.back().copied().unwrap_or_default();
        // However often a round is asked for, the list stays short.
        if now.saturating_sub(began) >= self.idle / 16 {
            self.rounds.push_back((round.checked_add(1)?, now));
        }
        let old = now.checked_sub(self.idle)?;
        while self.rounds.get(1).is_some_and(|&(_, began)| began <= old) {
            self.rounds.pop_front();
        }
        self.rounds.front().filter(|&&(_, began)| began <= old).map(|&(round, _)| round)
    }
}
