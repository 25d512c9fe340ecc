//! From a key to its slot: a bounded map whose readers write nothing that is shared.
//!
//! The map holds the keys and where their slots are; the slots stand in chunks that never move, so that a call keeps
//! an index and no reference count. All changes to the map happen under one lock.

use crate::{
    Mode,
    label::KeyLabel,
    slot::{Around, Slot},
    state::Told,
    window::Line,
};
use foldhash::fast::RandomState;
use papaya::HashMap;
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
    /// Hashed with seeds of its own, drawn anew for each map: keys cannot be chosen to collide in advance.
    map: HashMap<K, Place, RandomState>,
    chunks: Box<[OnceLock<Chunk>]>,
    /// A chunk has two to this power of slots.
    chunk_bits: u32,
    /// How many lines of counters each slot has.
    lines: usize,
    max: u32,
    /// Which round the search for idle keys is in. A call leaves it in its slot, and so writes once per round.
    round: AtomicU32,
    writer: Apart<Mutex<Writer>>,
}

/// Where the slot of a key is, and which of the place's tenants the key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u32,
    pub(crate) tenancy: u32,
}

/// Some slots, and their windows over a time.
#[derive(Debug)]
pub(crate) struct Chunk {
    slots: Box<[Slot]>,
    lines: Box<[Line]>,
    /// How many lines each slot has.
    per_slot: usize,
}

/// What is written now and then, on cache lines of its own: readers of the map are not to notice.
#[derive(Debug)]
#[repr(align(128))]
struct Apart<T>(T);

/// What only the holder of the lock may touch.
#[derive(Debug)]
pub(crate) struct Writer {
    /// The mode that new keys start in.
    pub(crate) mode: Mode,
    /// What observers are to be told once the lock is released.
    pub(crate) told: Vec<Told>,
    vacant: Vec<u32>,
    never_used: u32,
    /// How many microseconds a key may stay unused.
    idle: u64,
    /// When the last rounds began, in microseconds, oldest first.
    rounds: VecDeque<(u32, u64)>,
}

const CHUNK: u32 = 256;

// === impl Directory ===

impl<K> Directory<K> {
    /// The slot at `index`, and its counters.
    #[inline(always)]
    pub(crate) fn slot(&self, index: u32) -> Option<(&Slot, &[Line])> {
        let chunk = self.chunks.get((index >> self.chunk_bits) as usize)?.get()?;
        chunk.slot((index & ((1 << self.chunk_bits) - 1)) as usize)
    }
}

impl<K: Hash + Eq> Directory<K> {
    /// `lines` lines of counters for each of at most `max` keys, which leave when unused for `idle` microseconds.
    pub(crate) fn new(max: u32, lines: usize, idle: u64, mode: Mode) -> Self {
        let chunk_bits = max.clamp(1, CHUNK).next_power_of_two().ilog2();
        let chunks = (0..max.div_ceil(1 << chunk_bits)).map(|_| OnceLock::new()).collect();
        let rounds = VecDeque::from([(0, 0)]);
        let writer = Writer { mode, told: Vec::new(), vacant: Vec::new(), never_used: 0, idle, rounds };
        let (map, round) = (HashMap::with_hasher(RandomState::default()), AtomicU32::new(0));
        Self { map, chunks, chunk_bits, lines, max, round, writer: Apart(Mutex::new(writer)) }
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
        let round = self.round.load(Ordering::Relaxed);
        if slot.used.load(Ordering::Relaxed) != round {
            slot.used.store(round, Ordering::Relaxed);
        }
    }

    pub(crate) fn write(&self) -> MutexGuard<'_, Writer> {
        self.writer.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As [`write`](Self::write), but where the directory is full, nobody waits for a place there is not.
    pub(crate) fn try_write(&self, keys: u32) -> Option<MutexGuard<'_, Writer>> {
        if keys < self.max { Some(self.write()) } else { self.writer.0.try_lock().ok() }
    }

    /// Gives `key` a slot; there must be [room](Self::has_room).
    pub(crate) fn add<E>(
        &self,
        writer: &mut Writer,
        key: K,
        label: Option<KeyLabel>,
        around: &Around<'_, E>,
    ) -> Option<Place> {
        let index = writer.vacant.pop().unwrap_or_else(|| {
            writer.never_used += 1;
            writer.never_used - 1
        });
        let chunk = self.chunks.get((index >> self.chunk_bits) as usize)?;
        chunk.get_or_init(|| Chunk::new(1 << self.chunk_bits, self.lines));
        let (slot, _) = self.slot(index)?;
        let tenancy = slot.occupy(self.round.load(Ordering::Relaxed), writer.mode, label, around);
        let place = Place { index, tenancy };
        around.gauge.keys.fetch_add(1, Ordering::Relaxed);
        self.map.pin().insert(key, place);
        Some(place)
    }

    /// Takes the slot of `key`; what is under way for it moves nothing any more.
    pub(crate) fn remove<Q, E>(&self, writer: &mut Writer, key: &Q, around: &Around<'_, E>) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Some(place) = self.find(key) else { return false };
        self.vacate(writer, place, around);
        self.map.pin().remove(key);
        true
    }

    /// Whether one more key fits.
    pub(crate) fn has_room(&self, writer: &Writer) -> bool {
        !writer.vacant.is_empty() || writer.never_used < self.max
    }

    fn vacate<E>(&self, writer: &mut Writer, place: Place, around: &Around<'_, E>) {
        // CORRECTNESS: whoever has left already must not leave twice, or two keys would be given the same place.
        if let Some((slot, _)) = self.slot(place.index).filter(|(slot, _)| slot.tenancy() == place.tenancy) {
            writer.told.extend(slot.vacate(around).map(|told| *told));
            writer.vacant.push(place.index);
            around.gauge.keys.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Starts a round of the search for idle keys, and removes those that were unused all through an idle time.
    ///
    /// There is no clock on the path of a call: a call leaves only the number of the round. A key is idle when the
    /// last round it was used in ended at least an idle time ago.
    pub(crate) fn expire<E>(&self, writer: &mut Writer, now: u64, around: &Around<'_, E>) -> usize {
        let Some(limit) = writer.start_round(now) else { return 0 };
        self.round.store(writer.rounds.back().map_or(0, |round| round.0), Ordering::Relaxed);
        let mut removed = 0;
        self.map.pin().retain(|_, &place| {
            let Some((slot, _)) = self.slot(place.index) else { return true };
            let unused = slot.used.load(Ordering::Relaxed) < limit;
            if !unused || !slot.is_idle(now, writer.idle, writer.mode, around) {
                return true;
            }
            self.vacate(writer, place, around);
            removed += 1;
            false
        });
        removed
    }

    /// Every key with its place.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&K, Place)) {
        for (key, place) in &self.map.pin() {
            each(key, *place);
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
        // However often somebody asks, the list stays short.
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

// === impl Chunk ===

impl Chunk {
    pub(crate) fn new(slots: usize, per_slot: usize) -> Self {
        Self {
            slots: (0..slots).map(|_| Slot::vacant()).collect(),
            lines: (0..slots * per_slot).map(|_| Line::new()).collect(),
            per_slot,
        }
    }

    #[inline(always)]
    pub(crate) fn slot(&self, at: usize) -> Option<(&Slot, &[Line])> {
        Some((self.slots.get(at)?, self.lines.get(at * self.per_slot..(at + 1) * self.per_slot)?))
    }
}
