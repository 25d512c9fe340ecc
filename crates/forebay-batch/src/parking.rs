//! Where batches wait that came back retryable: for how long, how many, and what is dropped to make room.

use crate::{
    pending::{Join, Partition, PendingBatch, expires_at},
    recovery::{Hold, Recovery, Step},
    trace,
};
use forebay_core::panic;
use std::{
    collections::{HashMap, VecDeque},
    fmt, mem,
    sync::Arc,
    time::{Duration, Instant},
};

/// How many partitions may be remembered that nothing waits for, and whose wait is over. A partition that is forgotten gets
/// requests at full rate again; there are so many only where keys are used once.
const REMEMBERED: usize = 1024;

/// Whether a batch that came back retryable waits, and with how many others.
#[derive(Clone, Debug)]
pub(crate) struct ParkRule {
    /// A fresh backoff for each partition that begins to fail; `None` drops what came back retryable.
    pub(crate) backoff: Option<MakeWaits>,
    /// The most bytes that may wait for another attempt.
    pub(crate) max_bytes: usize,
    /// The longest that a server's hint may hold a partition.
    pub(crate) max_hint: Duration,
}

/// The user's backoff, of which each partition that fails gets a fresh one.
#[derive(Clone)]
pub(crate) struct MakeWaits(Arc<dyn Fn() -> Waits + Send + Sync>);

/// The waits of one partition. All of it is user code, which is guarded: a backoff that panics has ended.
pub(crate) struct Waits(Option<Box<dyn Iterator<Item = Duration> + Send>>);

/// The partitions whose server has failed, and the batches that wait for them. Pure state.
///
/// Batches of all other partitions never enter it.
#[derive(Debug)]
pub(crate) struct Backoffs<T, A> {
    rule: ParkRule,
    by_partition: HashMap<Partition, PartitionBackoff<T, A>>,
    /// From so many partitions on, those are looked for that may be forgotten.
    crowded: usize,
    /// The bytes of the batches in here that were sent at least once.
    bytes: usize,
}

#[derive(Debug)]
struct PartitionBackoff<T, A> {
    recovery: Recovery<Waits>,
    /// In the order in which they are sent.
    waiting: VecDeque<PendingBatch<T, A>>,
}

// === impl MakeWaits ===

impl MakeWaits {
    pub(crate) fn new<B>(backoff: B) -> Self
    where
        B: IntoIterator<Item = Duration, IntoIter: Send + 'static> + Clone + Send + Sync + 'static,
    {
        Self(Arc::new(move || {
            let waits = panic::catch(|| Box::new(backoff.clone().into_iter()) as Box<dyn Iterator<Item = _> + Send>);
            Waits(waits.ok())
        }))
    }

    fn make(&self) -> Waits {
        (self.0)()
    }
}

impl fmt::Debug for MakeWaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeWaits").finish_non_exhaustive()
    }
}

// === impl Waits ===

impl Iterator for Waits {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let waits = self.0.as_mut()?;
        if let Ok(wait) = panic::catch(|| waits.next()) {
            return wait;
        }
        panic::discard(self.0.take());
        None
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        panic::discard(self.0.take());
    }
}

impl fmt::Debug for Waits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waits").finish_non_exhaustive()
    }
}

// === impl Backoffs ===

impl<T, A> Backoffs<T, A> {
    pub(crate) fn new(rule: ParkRule) -> Self {
        Self { rule, by_partition: HashMap::new(), crowded: REMEMBERED, bytes: 0 }
    }

    /// Whether anything waits at all.
    pub(crate) fn is_on(&self) -> bool {
        self.rule.backoff.is_some()
    }

    /// Whether batches of this partition have to wait.
    pub(crate) fn holds(&self, partition: Partition, now: Instant) -> bool {
        let held = self.by_partition.get(&partition);
        held.is_some_and(|held| !held.waiting.is_empty() || !held.recovery.may_send(now))
    }

    /// A batch that was sent comes back retryable, and waits in front of the others; it is returned if there is no other
    /// attempt for it.
    ///
    /// `hint` is how long the server asked its clients to wait.
    pub(crate) fn park(
        &mut self,
        batch: PendingBatch<T, A>,
        hint: Option<Duration>,
        now: Instant,
        max_age: Option<Duration>,
    ) -> Option<PendingBatch<T, A>> {
        let ParkRule { backoff: Some(backoff), max_hint, .. } = &self.rule else { return Some(batch) };
        if batch.items.is_none() {
            return Some(batch);
        }
        // A hint ends when the batch has outlived its age limit, and not before: the batch itself is not the probe then.
        let ends = batch.opened.zip(max_age).map(|(opened, age)| expires_at(opened, age));
        let age_limit = max_age.map_or(Duration::MAX, |age| age.saturating_add(Duration::from_millis(1)));
        let hint = hint.map(|hint| hint.min(*max_hint).min(age_limit));
        let (partition, hold) = (batch.partition, Hold { hint, ends });
        if let Some(held) = self.by_partition.get_mut(&partition) {
            if held.recovery.failed(batch.generation, now, hold) == Step::GivenUp {
                // What else waits gets a fresh start: it may be sent at once, and begins a backoff of its own. The hint was for
                // the batch that is given up, and holds nothing else.
                if held.waiting.is_empty() {
                    self.by_partition.remove(&partition);
                } else if let Some(recovery) = Recovery::begin(backoff.make(), now, Hold::NONE) {
                    held.recovery = recovery;
                }
                return Some(batch);
            }
        } else {
            let Some(recovery) = Recovery::begin(backoff.make(), now, hold) else { return Some(batch) };
            self.forget_idle(now);
            self.by_partition.insert(partition, PartitionBackoff { recovery, waiting: VecDeque::new() });
        }
        trace::parked(batch.len(), batch.attempts, hint);
        self.bytes += batch.charge.bytes;
        if let Some(held) = self.by_partition.get_mut(&partition) {
            held.waiting.push_front(batch);
        }
        None
    }

    /// Forgets the partitions that nothing waits for, if there are many: keys that failed once and were never used again.
    fn forget_idle(&mut self, now: Instant) {
        if self.by_partition.len() >= self.crowded {
            self.by_partition.retain(|_, held| !held.waiting.is_empty() || !held.recovery.is_at_rest(now));
            // What is left is bounded by the items that wait and by the backoff. It is not gone through for each of them.
            self.crowded = REMEMBERED.max(2 * self.by_partition.len());
        }
    }

    /// A batch that was not sent yet waits behind those of its partition; it is returned if that does not fail.
    ///
    /// It joins the last of them if the two may be one batch: what waits leaves in as few requests as possible.
    pub(crate) fn hold(&mut self, batch: PendingBatch<T, A>, join: &Join) -> Option<PendingBatch<T, A>> {
        let Some(held) = self.by_partition.get_mut(&batch.partition) else { return Some(batch) };
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
        let mut ready = self.by_partition.values_mut();
        let held = ready.find(|held| !held.waiting.is_empty() && held.recovery.may_send(now))?;
        let batch = held.waiting.pop_front()?;
        self.forget_bytes(&batch);
        Some(batch)
    }

    /// The oldest batch, by its age, of those that were sent before, while more bytes wait than may.
    pub(crate) fn evict(&mut self) -> Option<PendingBatch<T, A>> {
        if self.bytes <= self.rule.max_bytes {
            return None;
        }
        let batches = self.by_partition.iter().flat_map(|(partition, held)| {
            let batches = held.waiting.iter().enumerate().filter(|(_, batch)| batch.attempts > 0);
            batches.map(|(place, batch)| (batch.opened, *partition, place))
        });
        let (_, partition, place) = batches.min_by_key(|(opened, ..)| *opened)?;
        let held = self.by_partition.get_mut(&partition)?;
        let batch = held.waiting.remove(place)?;
        held.end_hint_if_unfounded();
        self.forget_bytes(&batch);
        Some(batch)
    }

    /// Takes out the batches that have outlived `max_age` at `now`.
    pub(crate) fn expired(&mut self, now: Instant, max_age: Duration) -> Vec<PendingBatch<T, A>> {
        let mut expired = Vec::new();
        for held in self.by_partition.values_mut() {
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
        self.by_partition.get_mut(&partition).map_or(0, |held| held.recovery.sent())
    }

    /// Counts what is in flight again: after a panic, a batch that was sent may be lost without having come back.
    pub(crate) fn recount(&mut self, in_flight: &[&PendingBatch<T, A>]) {
        for (partition, held) in &mut self.by_partition {
            let belongs = (*partition, held.recovery.generation);
            let in_flight = in_flight.iter().filter(|batch| (batch.partition, batch.generation) == belongs);
            held.recovery.recount(in_flight.count());
        }
    }

    /// The server has responded to a batch, other than by a failure that may pass; `most` may be in flight.
    pub(crate) fn responded(&mut self, batch: &PendingBatch<T, A>, most: usize) {
        let Some(held) = self.by_partition.get_mut(&batch.partition) else { return };
        if held.recovery.responded(batch.generation, most) == Step::Recovered {
            if held.waiting.is_empty() {
                self.by_partition.remove(&batch.partition);
            } else if let Some(backoff) = &self.rule.backoff {
                held.recovery.renew(backoff.make());
            }
        }
    }

    /// When there is something to do next: a wait ends, or a batch outlives `max_age`.
    ///
    /// What is due already is not waited for: it was looked at, and waits for something else.
    pub(crate) fn due(&self, now: Instant, max_age: Option<Duration>) -> Option<Instant> {
        // Also where nothing waits any more: the next batches may still be in the queue.
        self.by_partition
            .values()
            .flat_map(|held| {
                let oldest = held.waiting.iter().filter_map(|batch| batch.opened).min();
                let expires = oldest.zip(max_age).map(|(opened, age)| expires_at(opened, age));
                [held.recovery.due(), expires].into_iter().flatten()
            })
            .filter(|due| *due > now)
            .min()
    }

    /// Everything that waits.
    pub(crate) fn take_all(&mut self) -> Vec<PendingBatch<T, A>> {
        self.bytes = 0;
        mem::take(&mut self.by_partition).into_values().flat_map(|held| held.waiting).collect()
    }

    /// Whether any batch waits.
    pub(crate) fn has_waiting(&self) -> bool {
        self.by_partition.values().any(|held| !held.waiting.is_empty())
    }
}

// === impl PartitionBackoff ===

impl<T, A> PartitionBackoff<T, A> {
    /// Of the batches that were sent and failed none waits any more: there is nothing left to hold the others for.
    fn end_hint_if_unfounded(&mut self) {
        if self.waiting.iter().all(|batch| batch.attempts == 0) {
            self.recovery.end_hint();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn batch(partition: u128, opened: Instant) -> PendingBatch<u8, ()> {
        let mut batch = PendingBatch::of(vec![1]);
        (batch.partition, batch.opened, batch.attempts) = (Partition(partition), Some(opened), 1);
        batch
    }

    /// Two waits of a second.
    fn backoffs() -> Backoffs<u8, ()> {
        Backoffs::new(ParkRule {
            backoff: Some(MakeWaits::new([S, S])),
            max_bytes: usize::MAX,
            max_hint: Duration::ZERO,
        })
    }

    #[test]
    fn a_key_that_failed_once_and_was_never_used_again_is_forgotten() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
        let start = Instant::now();
        let mut backoffs = backoffs();
        for number in 0..10_000 {
            let now = start + S * number;
            assert!(backoffs.park(batch(number.into(), now), None, now, None).is_none());
            // It outlives its limit long before it could be sent again.
            assert_eq!(backoffs.expired(now + S / 2, S / 4).len(), 1);
            assert!(backoffs.by_partition.len() <= 2 * REMEMBERED, "{number}");
        }
        assert_eq!(backoffs.bytes, 0);
        // What waits, or may not be sent to yet, is kept.
        let now = start + S * 20_000;
        assert!(backoffs.park(batch(20_000, now), None, now, None).is_none());
        backoffs.crowded = 0;
        backoffs.forget_idle(now);
        assert_eq!(backoffs.by_partition.len(), 1);
        assert!(backoffs.holds(Partition(20_000), now));
    }

    #[test]
    fn f18_a_probe_that_was_lost_to_a_panic_is_not_waited_for() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
        let start = Instant::now();
        let (one, due) = (Partition(1), start + S);
        let mut backoffs = backoffs();
        assert!(backoffs.park(batch(1, start), None, start, None).is_none());
        let probe = backoffs.next(due).unwrap();
        let generation = backoffs.sent(one);
        let sent = |partition, generation| {
            let mut batch = batch(partition, start);
            batch.generation = generation;
            batch
        };
        backoffs.recount(&[&sent(1, generation)]);
        assert!(backoffs.holds(one, due), "it is still in flight");
        drop(probe);
        backoffs.recount(&[&sent(1, generation - 1), &sent(2, generation)]);
        assert!(!backoffs.holds(one, due), "what is in flight is of another generation, or partition");
        assert_eq!(backoffs.sent(one), generation);
        assert!(backoffs.holds(one, due), "one probe at a time");
    }
}
