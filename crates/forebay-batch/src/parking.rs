//! Where batches wait that came back retryable: for how long, how many, and what is dropped to make room.

use crate::{
    next::{Look, earlier},
    pending::{Join, Partition, PendingBatch, expires_at},
    recovery::{Hold, Recovery, Step},
    resting::Resting,
    trace,
    waits::{MakeWaits, Waits},
};
use forebay_core::time::saturating_add;
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    iter, mem,
    time::{Duration, Instant},
};

/// How many partitions may be remembered that nothing waits for, and whose wait is over. A partition that is forgotten gets
/// requests at full rate again; there are so many only where keys are used once.
const REMEMBERED: usize = 1024;

/// Where more than one batch may be in flight, at least so many failures in a row mean that everything fails.
///
/// A server that fails half of all requests at random does so once in 2^33 requests, one that fails 70 % once in 300,000: to
/// hold a partition by mistake costs more than the few requests that it takes longer to notice an outage.
const EVERYTHING: usize = 32;

/// Whether a batch that came back retryable waits, and with how many others.
#[derive(Clone, Debug)]
pub(crate) struct ParkRule {
    /// A fresh backoff for each batch that waits for itself, and for each partition that is held; `None` drops what came back
    /// retryable.
    pub(crate) backoff: Option<MakeWaits>,
    /// The most bytes that may wait for another attempt.
    pub(crate) max_bytes: usize,
    /// The longest that a server's hint may hold a partition.
    pub(crate) max_hint: Duration,
}

/// The partitions whose server has failed, and the batches that wait for them. Pure state.
///
/// A batch that came back retryable waits for itself while the others of its partition are sent, until everything fails: then
/// the partition is held. Batches of all other partitions never enter it.
#[derive(Debug)]
pub(crate) struct Backoffs<T, A> {
    rule: ParkRule,
    by_partition: HashMap<Partition, PartitionBackoff<T, A>>,
    /// The batches that wait for themselves, of all partitions.
    resting: Resting<T, A>,
    /// The last generation of any recovery, so that a late result of one is never taken for one of the next.
    generation: u64,
    /// From so many partitions on, those are looked for that may be forgotten.
    crowded: usize,
    /// The bytes of the batches in here that were sent at least once.
    bytes: usize,
}

/// A partition whose server has failed since it was last known to be well.
#[derive(Debug)]
enum PartitionBackoff<T, A> {
    /// Some requests fail: what has failed waits for itself, and the others are sent.
    Failing {
        /// How many requests have failed in a row, without a response in between.
        in_a_row: usize,
        /// When the last of those that failed is sent again: then the partition may be forgotten.
        until: Instant,
    },
    /// Everything fails, or the server asked its clients to wait.
    Held(HeldPartition<T, A>),
}

/// A partition to which nothing is sent but a probe, and what the ramp allows after it.
#[derive(Debug)]
struct HeldPartition<T, A> {
    recovery: Recovery<Waits>,
    /// In the order in which they are sent.
    waiting: VecDeque<PendingBatch<T, A>>,
}

/// How many failures in a row mean that everything fails, where so many batches may be in flight.
///
/// Where batches keep their order, a single failure does: what is behind the batch that has failed must not overtake it.
fn all_fail(look: &Look) -> usize {
    if look.batching.keeps_order() { 1 } else { look.in_flight.max(EVERYTHING) }
}

// === impl Backoffs ===

impl<T, A> Backoffs<T, A> {
    pub(crate) fn new(rule: ParkRule) -> Self {
        Self {
            rule,
            by_partition: HashMap::new(),
            resting: Resting::new(),
            generation: 0,
            crowded: REMEMBERED,
            bytes: 0,
        }
    }

    /// Whether anything waits at all.
    pub(crate) fn is_on(&self) -> bool {
        self.rule.backoff.is_some()
    }

    /// Whether batches of this partition have to wait.
    pub(crate) fn holds(&self, partition: Partition, now: Instant) -> bool {
        match self.by_partition.get(&partition) {
            Some(PartitionBackoff::Held(held)) => held.holds(now),
            Some(PartitionBackoff::Failing { .. }) | None => false,
        }
    }

    /// Whether the last thing known of the server of this partition is a response.
    pub(crate) fn responds(&self, partition: Partition) -> bool {
        match self.by_partition.get(&partition) {
            Some(PartitionBackoff::Held(held)) => held.recovery.responds(),
            Some(PartitionBackoff::Failing { .. }) => false,
            None => true,
        }
    }

    /// A batch that was sent comes back retryable, and waits; it is returned if there is no other attempt for it.
    ///
    /// `hint` is how long the server asked its clients to wait.
    pub(crate) fn park(
        &mut self,
        mut batch: PendingBatch<T, A>,
        hint: Option<Duration>,
        look: &Look,
    ) -> Option<PendingBatch<T, A>> {
        let Look { now, max_age, .. } = *look;
        self.forget_idle(now);
        let ParkRule { backoff: Some(backoff), max_hint, .. } = &self.rule else { return Some(batch) };
        if batch.items.is_none() {
            return Some(batch);
        }
        // A hint ends when the batch has outlived its age limit, and not before: the batch itself is not the probe then.
        let ends = batch.opened.zip(max_age).map(|(opened, age)| expires_at(opened, age));
        let age_limit = max_age.map_or(Duration::MAX, |age| age.saturating_add(Duration::from_millis(1)));
        // Zero is no wish to wait.
        let hint = hint.map(|hint| hint.min(*max_hint).min(age_limit)).filter(|hint| !hint.is_zero());
        let (partition, hold, all) = (batch.partition, Hold { hint, ends }, all_fail(look));
        let step = match self.by_partition.get_mut(&partition) {
            Some(PartitionBackoff::Held(held)) => {
                let step = held.recovery.failed(batch.generation, now, hold, all);
                self.generation = self.generation.max(held.recovery.generation);
                step
            }
            // ## Failing => Failing
            Some(PartitionBackoff::Failing { in_a_row, .. }) if hint.is_none() && *in_a_row + 1 < all => {
                *in_a_row += 1;
                Step::Alone
            }
            // ## well => Failing
            None if hint.is_none() && all > 1 => {
                self.by_partition.insert(partition, PartitionBackoff::Failing { in_a_row: 1, until: now });
                Step::Alone
            }
            // ## (well | Failing) => Held
            Some(PartitionBackoff::Failing { .. }) | None => {
                self.generation += 1;
                let recovery = Recovery::begin(backoff.make(), now, hold, self.generation);
                let Some(recovery) = recovery else { return Some(batch) };
                let held = HeldPartition { recovery, waiting: VecDeque::new() };
                self.by_partition.insert(partition, PartitionBackoff::Held(held));
                Step::Recovering
            }
        };
        match step {
            Step::Alone => {
                let waits = batch.waits.get_or_insert_with(|| backoff.make());
                let Some(wait) = waits.next() else { return Some(batch) };
                let due = hold.until(now, saturating_add(now, wait));
                if let Some(PartitionBackoff::Failing { until, .. }) = self.by_partition.get_mut(&partition) {
                    *until = due.max(*until);
                }
                trace::parked(batch.len(), batch.attempts, hint);
                self.bytes += batch.charge.bytes;
                self.resting.rest(batch, due);
                None
            }
            Step::GivenUp => {
                self.start_over(partition, now);
                Some(batch)
            }
            Step::Recovering | Step::Recovered => {
                trace::parked(batch.len(), batch.attempts, hint);
                self.bytes += batch.charge.bytes;
                if let Some(PartitionBackoff::Held(held)) = self.by_partition.get_mut(&partition) {
                    held.waiting.push_front(batch);
                }
                None
            }
        }
    }

    /// The batch that was the probe is given up. What else waits gets a fresh start: it begins a backoff of its own, and the
    /// hint was for the batch that is given up, and holds nothing else.
    fn start_over(&mut self, partition: Partition, now: Instant) {
        let (Entry::Occupied(mut entry), Some(backoff)) = (self.by_partition.entry(partition), &self.rule.backoff)
        else {
            return;
        };
        match entry.get_mut() {
            PartitionBackoff::Held(held) if !held.waiting.is_empty() => {
                self.generation += 1;
                if let Some(recovery) = Recovery::begin(backoff.make(), now, Hold::NONE, self.generation) {
                    held.recovery = recovery;
                }
            }
            PartitionBackoff::Held(_) | PartitionBackoff::Failing { .. } => drop(entry.remove()),
        }
    }

    /// Forgets the partitions that nothing waits for, if there are many: keys that failed once and were never used again.
    fn forget_idle(&mut self, now: Instant) {
        if self.by_partition.len() >= self.crowded {
            self.by_partition.retain(|_, backoff| match backoff {
                PartitionBackoff::Failing { until, .. } => *until > now,
                PartitionBackoff::Held(held) => !held.waiting.is_empty() || !held.recovery.is_at_rest(now),
            });
            // What is left is bounded by the items that wait and by the backoff. It is not gone through for each of them.
            self.crowded = REMEMBERED.max(2 * self.by_partition.len());
        }
    }

    /// A batch that was not sent yet waits behind those of its partition; it is returned if that does not fail.
    ///
    /// It joins the last of them if the two may be one batch: what waits leaves in as few requests as possible.
    pub(crate) fn hold(&mut self, batch: PendingBatch<T, A>, join: &Join) -> Option<PendingBatch<T, A>> {
        let Some(PartitionBackoff::Held(held)) = self.by_partition.get_mut(&batch.partition) else {
            return Some(batch);
        };
        let batch = match held.waiting.back_mut() {
            Some(last) => last.absorb(batch, join)?,
            None => batch,
        };
        if batch.attempts > 0 {
            // A part of what was sent as a whole.
            self.bytes += batch.charge.bytes;
        }
        held.waiting.push_back(batch);
        None
    }

    /// A batch that may be sent now.
    pub(crate) fn next(&mut self, now: Instant) -> Option<PendingBatch<T, A>> {
        while let Some(batch) = self.resting.take_due(now) {
            match self.by_partition.get_mut(&batch.partition) {
                // Meanwhile everything fails: it waits with the others.
                Some(PartitionBackoff::Held(held)) if held.holds(now) => held.waiting.push_back(batch),
                _ => {
                    self.forget_bytes(&batch);
                    return Some(batch);
                }
            }
        }
        let held = self.held_mut().find(|held| !held.waiting.is_empty() && held.recovery.may_send(now))?;
        let batch = held.waiting.pop_front()?;
        self.forget_bytes(&batch);
        Some(batch)
    }

    fn held(&self) -> impl Iterator<Item = &HeldPartition<T, A>> {
        self.by_partition.values().filter_map(PartitionBackoff::as_held)
    }

    fn held_mut(&mut self) -> impl Iterator<Item = &mut HeldPartition<T, A>> {
        self.by_partition.values_mut().filter_map(PartitionBackoff::as_held_mut)
    }

    /// `batch`, which is sent now, together with those that wait behind it, as far as they are one batch.
    pub(crate) fn joined(&mut self, mut batch: PendingBatch<T, A>, join: &Join) -> PendingBatch<T, A> {
        let held = self.by_partition.get_mut(&batch.partition).and_then(PartitionBackoff::as_held_mut);
        let Some(HeldPartition { waiting, .. }) = held else { return batch };
        while let Some(next) = waiting.pop_front() {
            // What was sent before stays as it was, so the bytes that were sent before do not change.
            if let Some(next) = batch.absorb(next, join) {
                waiting.push_front(next);
                break;
            }
        }
        batch
    }

    /// The oldest batch, by its age, of those that were sent before, while more bytes wait than may.
    pub(crate) fn evict(&mut self) -> Option<PendingBatch<T, A>> {
        if self.bytes <= self.rule.max_bytes {
            return None;
        }
        let held = self.by_partition.iter().filter_map(|(partition, backoff)| Some((partition, backoff.as_held()?)));
        let batches = held.flat_map(|(partition, held)| {
            let batches = held.waiting.iter().enumerate().filter(|(_, batch)| batch.attempts > 0);
            batches.map(|(place, batch)| (batch.opened, *partition, place))
        });
        let oldest = batches.min_by_key(|(opened, ..)| *opened);
        let batch = match (oldest, self.resting.oldest()) {
            (Some((opened, partition, place)), resting) if resting.is_none() || opened <= resting => {
                let held = self.by_partition.get_mut(&partition).and_then(PartitionBackoff::as_held_mut)?;
                let batch = held.waiting.remove(place)?;
                held.end_hint_if_unfounded();
                batch
            }
            _ => self.resting.take_oldest()?,
        };
        self.forget_bytes(&batch);
        Some(batch)
    }

    /// Takes out the batches that have outlived `max_age` at `now`.
    pub(crate) fn expired(&mut self, now: Instant, max_age: Duration) -> Vec<PendingBatch<T, A>> {
        let mut expired: Vec<_> = iter::from_fn(|| self.resting.take_expired(now, max_age)).collect();
        for held in self.held_mut() {
            // The front is not always the oldest: batches come back in any order.
            let (old, left): (VecDeque<_>, VecDeque<_>) =
                mem::take(&mut held.waiting).into_iter().partition(|batch| batch.is_expired(now, Some(max_age)));
            held.waiting = left;
            if !old.is_empty() {
                held.end_hint_if_unfounded();
            }
            expired.extend(old);
        }
        expired.iter().for_each(|batch| self.forget_bytes(batch));
        expired
    }

    fn forget_bytes(&mut self, batch: &PendingBatch<T, A>) {
        if batch.attempts > 0 {
            self.bytes -= batch.charge.bytes;
        }
    }

    /// A batch of this partition is sent; the generation that it belongs to.
    pub(crate) fn sent(&mut self, partition: Partition) -> u64 {
        let held = self.by_partition.get_mut(&partition).and_then(PartitionBackoff::as_held_mut);
        held.map_or(0, |held| held.recovery.sent())
    }

    /// Counts what is in flight again: after a panic, a batch that was sent may be lost without having come back.
    pub(crate) fn recount(&mut self, in_flight: &[&PendingBatch<T, A>]) {
        for (partition, backoff) in &mut self.by_partition {
            if let PartitionBackoff::Held(held) = backoff {
                let belongs = (*partition, held.recovery.generation);
                let in_flight = in_flight.iter().filter(|batch| (batch.partition, batch.generation) == belongs);
                held.recovery.recount(in_flight.count());
            }
        }
    }

    /// The server has responded to a batch, other than by a failure that may pass; `most` may be in flight.
    pub(crate) fn responded(&mut self, batch: &PendingBatch<T, A>, most: usize) {
        let Entry::Occupied(mut entry) = self.by_partition.entry(batch.partition) else { return };
        match entry.get_mut() {
            // ## Failing => well: what rests goes on to rest.
            PartitionBackoff::Failing { .. } => drop(entry.remove()),
            PartitionBackoff::Held(held) => {
                if held.recovery.responded(batch.generation, most) == Step::Recovered {
                    // ## Held => well
                    if held.waiting.is_empty() {
                        drop(entry.remove());
                    } else if let Some(backoff) = &self.rule.backoff {
                        held.recovery.renew(backoff.make());
                    }
                }
            }
        }
    }

    /// When there is something to do next: a wait ends, or a batch outlives `max_age`.
    ///
    /// What is due already is not waited for: it was looked at, and waits for something else.
    pub(crate) fn due(&self, now: Instant, max_age: Option<Duration>) -> Option<Instant> {
        // Also where nothing waits any more: the next batches may still be in the queue.
        let held = self.held().flat_map(|held| {
            let oldest = held.waiting.iter().filter_map(|batch| batch.opened).min();
            let expires = oldest.zip(max_age).map(|(opened, age)| expires_at(opened, age));
            [held.recovery.due(), expires].into_iter().flatten()
        });
        earlier(held.filter(|due| *due > now).min(), self.resting.due(now, max_age))
    }

    /// Everything that waits.
    pub(crate) fn take_all(&mut self) -> Vec<PendingBatch<T, A>> {
        self.bytes = 0;
        let mut all: Vec<_> = self.resting.take_all().collect();
        for backoff in mem::take(&mut self.by_partition).into_values() {
            if let PartitionBackoff::Held(held) = backoff {
                all.extend(held.waiting);
            }
        }
        all
    }

    /// Whether any batch waits.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.resting.is_empty() || self.held().any(|held| !held.waiting.is_empty())
    }
}

// === impl PartitionBackoff ===

impl<T, A> PartitionBackoff<T, A> {
    fn as_held(&self) -> Option<&HeldPartition<T, A>> {
        match self {
            Self::Held(held) => Some(held),
            Self::Failing { .. } => None,
        }
    }

    fn as_held_mut(&mut self) -> Option<&mut HeldPartition<T, A>> {
        match self {
            Self::Held(held) => Some(held),
            Self::Failing { .. } => None,
        }
    }
}

// === impl HeldPartition ===

impl<T, A> HeldPartition<T, A> {
    /// Whether another batch has to wait.
    fn holds(&self, now: Instant) -> bool {
        !self.waiting.is_empty() || !self.recovery.may_send(now)
    }

    /// Of the batches that were sent and failed none waits any more: there is nothing left to hold the others for.
    fn end_hint_if_unfounded(&mut self) {
        if self.waiting.iter().all(|batch| batch.attempts == 0) {
            self.recovery.end_hint();
        }
    }
}

#[cfg(test)]
mod tests;
