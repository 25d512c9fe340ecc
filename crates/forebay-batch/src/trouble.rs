use crate::{
    lot::{Join, Lot, Partition},
    recovery::{Hold, Recovery, Step},
};
use forebay_core::time::saturating_add;
use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

/// How many partitions may be remembered that nothing waits for, and whose wait is over. One that is forgotten is sent to at
/// full rate again; there are so many only where keys come and go.
const REMEMBERED: usize = 1024;

/// The partitions whose far side has failed, and the lots that wait for them. Pure state.
///
/// Lots of all other partitions do not come by here.
#[derive(Debug)]
pub(crate) struct Troubles<T, A, B: IntoIterator> {
    by_partition: HashMap<Partition, Trouble<T, A, B::IntoIter>>,
    /// When there are so many, those that are of no use are looked for.
    crowded: usize,
    /// Bytes of the lots that were sent at least once.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
struct Trouble<T, A, I> {
    recovery: Recovery<I>,
    waiting: VecDeque<Lot<T, A>>,
}

// === impl Troubles ===

impl<T, A, B> Troubles<T, A, B>
where
    B: IntoIterator<Item = Duration> + Clone,
{
    pub(crate) fn new() -> Self {
        Self { by_partition: HashMap::new(), crowded: REMEMBERED, bytes: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_partition.is_empty()
    }

    /// Whether lots of this partition have to wait.
    pub(crate) fn holds(&self, partition: Partition, now: Instant) -> bool {
        self.by_partition
            .get(&partition)
            .is_some_and(|trouble| !trouble.waiting.is_empty() || !trouble.recovery.may_send(now))
    }

    /// A lot comes back retryable, and waits in front; it is returned if there are no more attempts for it.
    pub(crate) fn park(
        &mut self,
        lot: Lot<T, A>,
        generation: u64,
        now: Instant,
        hold: Hold,
        backoff: &B,
    ) -> Option<Lot<T, A>> {
        let partition = lot.partition;
        if let Some(trouble) = self.by_partition.get_mut(&partition) {
            if trouble.recovery.failed(generation, now, hold) == Step::GivenUp {
                // What else waits is tried afresh, once: it may be sent at once, and begins a backoff of its own. The hint is
                // that of a batch that is given up, and holds nothing else.
                let unhinted = Hold { hint: None, ends: None };
                if trouble.waiting.is_empty() {
                    self.by_partition.remove(&partition);
                } else if let Some(recovery) = Recovery::begin(backoff.clone().into_iter(), now, unhinted) {
                    trouble.recovery = recovery;
                }
                return Some(lot);
            }
        } else {
            let Some(recovery) = Recovery::begin(backoff.clone().into_iter(), now, hold) else { return Some(lot) };
            self.make_room(now);
            self.by_partition.insert(partition, Trouble { recovery, waiting: VecDeque::new() });
        }
        self.bytes += lot.charge.bytes;
        if let Some(trouble) = self.by_partition.get_mut(&partition) {
            trouble.waiting.push_front(lot);
        }
        None
    }

    /// Forgets what is of no use, where there is much: keys that failed once and never came again.
    fn make_room(&mut self, now: Instant) {
        if self.by_partition.len() >= self.crowded {
            self.by_partition.retain(|_, trouble| !trouble.waiting.is_empty() || !trouble.recovery.is_at_rest(now));
            // What is left is bounded by the items that wait and by the backoff. It is not gone through for each of them.
            self.crowded = REMEMBERED.max(2 * self.by_partition.len());
        }
    }

    /// A lot that was not sent yet waits behind those of its partition; it is returned if that is not in trouble.
    ///
    /// It joins the last of them where the two may be one batch: what waits leaves in as few requests as it can.
    pub(crate) fn hold(&mut self, lot: Lot<T, A>, join: &Join) -> Option<Lot<T, A>> {
        let Some(trouble) = self.by_partition.get_mut(&lot.partition) else { return Some(lot) };
        let lot = match trouble.waiting.back_mut() {
            Some(last) => last.absorb(lot, join)?,
            None => lot,
        };
        if lot.attempts > 0 {
            // A part of what was sent as a whole.
            self.bytes += lot.charge.bytes;
        }
        trouble.waiting.push_back(lot);
        None
    }

    /// A lot that may be sent now.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Lot<T, A>> {
        let mut ready = self.by_partition.values_mut();
        let trouble = ready.find(|trouble| !trouble.waiting.is_empty() && trouble.recovery.may_send(now))?;
        let lot = trouble.waiting.pop_front()?;
        self.forget_bytes(&lot);
        Some(lot)
    }

    /// The lot that has waited longest among those that were sent before; to make room.
    pub(crate) fn oldest(&mut self) -> Option<Lot<T, A>> {
        let lots = self.by_partition.iter().flat_map(|(partition, trouble)| {
            let lots = trouble.waiting.iter().enumerate().filter(|(_, lot)| lot.attempts > 0);
            lots.map(|(place, lot)| (lot.opened, *partition, place))
        });
        let (_, partition, place) = lots.min_by_key(|(opened, ..)| *opened)?;
        let trouble = self.by_partition.get_mut(&partition)?;
        let lot = trouble.waiting.remove(place)?;
        trouble.end_hint_if_unfounded();
        self.forget_bytes(&lot);
        Some(lot)
    }

    /// The lots that were opened before `limit`.
    pub(crate) fn expired(&mut self, limit: Instant) -> Vec<Lot<T, A>> {
        let mut expired = Vec::new();
        for trouble in self.by_partition.values_mut() {
            // The front is not always the oldest: lots come back in any order.
            let waiting = std::mem::take(&mut trouble.waiting);
            let (gone, left): (VecDeque<_>, VecDeque<_>) =
                waiting.into_iter().partition(|lot| lot.opened.is_some_and(|opened| opened < limit));
            trouble.waiting = left;
            if !gone.is_empty() {
                trouble.end_hint_if_unfounded();
            }
            expired.extend(gone);
        }
        expired.iter().for_each(|lot| self.forget_bytes(lot));
        expired
    }

    fn forget_bytes(&mut self, lot: &Lot<T, A>) {
        if lot.attempts > 0 {
            self.bytes -= lot.charge.bytes;
        }
    }

    /// A lot of this partition is sent; the generation it belongs to.
    pub(crate) fn sent(&mut self, partition: Partition) -> u64 {
        self.by_partition.get_mut(&partition).map_or(0, |trouble| trouble.recovery.sent())
    }

    /// Counts again what is under way, from the partition and the generation of each lot that is in flight: after a panic, a
    /// lot that was sent may be gone without having been answered.
    pub(crate) fn recount(&mut self, in_flight: &[(Partition, u64)]) {
        for (partition, trouble) in &mut self.by_partition {
            let belongs = (*partition, trouble.recovery.generation);
            trouble.recovery.recount(in_flight.iter().filter(|lot| **lot == belongs).count());
        }
    }

    /// A lot of this partition was answered, other than by a failure that may pass.
    pub(crate) fn answered(&mut self, partition: Partition, generation: u64, most: usize, backoff: &B) {
        let Some(trouble) = self.by_partition.get_mut(&partition) else { return };
        if trouble.recovery.answered(generation, most) == Step::Recovered {
            if trouble.waiting.is_empty() {
                self.by_partition.remove(&partition);
            } else {
                trouble.recovery.renew(backoff.clone().into_iter());
            }
        }
    }

    /// When there is something to do next: a wait ends, or a lot outlives `max_wait`.
    ///
    /// What is due already is not waited for: it was looked at, and waits for something else.
    pub(crate) fn due(&self, now: Instant, max_wait: Option<Duration>) -> Option<Instant> {
        // Also where nothing waits any more: the next lots may still be in the queue.
        self.by_partition
            .values()
            .flat_map(|trouble| {
                let oldest = trouble.waiting.iter().filter_map(|lot| lot.opened).min();
                // Just after it, so that the lot is then older than the limit.
                let expires = oldest
                    .zip(max_wait)
                    .map(|(opened, wait)| saturating_add(opened, wait.saturating_add(Duration::from_millis(1))));
                [trouble.recovery.due(), expires].into_iter().flatten()
            })
            .filter(|due| *due > now)
            .min()
    }

    /// Everything that waits.
    pub(crate) fn take_all(&mut self) -> Vec<Lot<T, A>> {
        self.bytes = 0;
        std::mem::take(&mut self.by_partition).into_values().flat_map(|trouble| trouble.waiting).collect()
    }

    /// Whether any lot waits.
    pub(crate) fn has_waiting(&self) -> bool {
        self.by_partition.values().any(|trouble| !trouble.waiting.is_empty())
    }
}

// === impl Trouble ===

impl<T, A, I: Iterator<Item = Duration>> Trouble<T, A, I> {
    /// Of the batches that were sent and failed none waits any more: there is nothing left to hold the others for.
    fn end_hint_if_unfounded(&mut self) {
        if self.waiting.iter().all(|lot| lot.attempts == 0) {
            self.recovery.end_hint();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lot::OpenLot;
    use forebay_intake::Epoch;

    const S: Duration = Duration::from_secs(1);

    fn lot(partition: u128, opened: Instant) -> Lot<u8, ()> {
        let mut open = OpenLot::new(1, Epoch::default(), 0);
        open.push(1, 1, forebay_core::Priority::Normal);
        open.opened(opened);
        let mut lot = open.close(Partition(partition)).into_lot();
        lot.attempts = 1;
        lot
    }

    #[test]
    fn a_key_that_failed_once_and_never_came_again_is_forgotten() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
        let start = Instant::now();
        let mut troubles: Troubles<_, _, [Duration; 2]> = Troubles::new();
        for number in 0..10_000 {
            let now = start + S * number;
            assert!(troubles.park(lot(number.into(), now), 0, now, Hold { hint: None, ends: None }, &[S, S]).is_none());
            // It outlives its limit long before it could be sent again.
            assert_eq!(troubles.expired(now + S / 2).len(), 1);
            assert!(troubles.by_partition.len() <= 2 * REMEMBERED, "{number}");
        }
        assert_eq!(troubles.bytes, 0);
        // What waits, or may not be sent to yet, is kept.
        let now = start + S * 20_000;
        assert!(troubles.park(lot(20_000, now), 0, now, Hold { hint: None, ends: None }, &[S, S]).is_none());
        troubles.crowded = 0;
        troubles.make_room(now);
        assert_eq!(troubles.by_partition.len(), 1);
        assert!(troubles.holds(Partition(20_000), now));
    }

    #[test]
    fn f18_a_probe_that_was_lost_to_a_panic_is_not_waited_for() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
        let start = Instant::now();
        let (one, due) = (Partition(1), start + S);
        let mut troubles: Troubles<_, _, [Duration; 2]> = Troubles::new();
        assert!(troubles.park(lot(1, start), 0, start, Hold { hint: None, ends: None }, &[S, S]).is_none());
        let probe = troubles.next(due).unwrap();
        let generation = troubles.sent(one);
        troubles.recount(&[(one, generation)]);
        assert!(troubles.holds(one, due), "it is still under way");
        drop(probe);
        troubles.recount(&[(one, generation - 1), (Partition(2), generation)]);
        assert!(!troubles.holds(one, due), "what is under way is of another generation, or partition");
        assert_eq!(troubles.sent(one), generation);
        assert!(troubles.holds(one, due), "one probe at a time");
    }
}
