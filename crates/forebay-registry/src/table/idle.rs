//! What nobody has, and nobody can have.

use super::{Entry, Handle, Table};
use crate::{AcquireError, CloseReason, WhenFull};
use std::{
    hash::Hash,
    time::{Duration, Instant},
};

/// A look at who is idle comes four times in the time that clients linger, so one lingers for at most 1.25 of it.
const LOOKS: u32 = 4;

/// For how long a full registry, in which all are in use, does not look for somebody idle again.
const NO_ROOM: Duration = Duration::from_millis(1);

impl<K, G, C, W, F> Table<K, G, C, W, F>
where
    K: Hash + Eq + Clone,
    W: Handle,
{
    /// Takes out what has been idle, or failed, for as long as it may. The keeps are to be dropped outside the lock:
    /// with each of them goes its client, unless somebody got it at this very moment.
    #[must_use]
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<W::Lease> {
        while let Some((&order, key)) = self.failed.first_key_value()
            && let Some(Entry::Failed(failed)) = self.entries.get(key)
            && failed.until <= now
        {
            if let Some(key) = self.failed.remove(&order) {
                self.entries.remove(&key);
            }
        }
        if self.next_look.is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.look(now);
        let lingers =
            self.entries.values().any(|entry| matches!(entry, Entry::Leased(leased) if leased.keep.is_some()));
        self.next_look = if lingers { now.checked_add(self.pace()) } else { None };
        let mut keeps = Vec::new();
        while let Some((_, key)) = self.idle.first_key_value()
            && let Some(Entry::Leased(leased)) = self.entries.get(key)
            && leased.idle.is_some_and(|(since, _)| now.saturating_duration_since(since) >= self.limits.linger)
        {
            let key = key.clone();
            keeps.extend(self.evict(&key, CloseReason::Lingered));
        }
        keeps
    }

    /// When `sweep` will next find something.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        let failed = self.failed.values().next().and_then(|key| match self.entries.get(key) {
            Some(Entry::Failed(failed)) => Some(failed.until),
            _ => None,
        });
        self.next_look.into_iter().chain(failed).min()
    }

    /// From now on nothing lingers. The keeps are to be dropped outside the lock.
    #[must_use]
    pub(crate) fn keep_nothing(&mut self) -> Vec<W::Lease> {
        self.limits.linger = Duration::ZERO;
        self.next_look = None;
        self.idle.clear();
        self.entries
            .values_mut()
            .filter_map(|entry| match entry {
                Entry::Leased(leased) => {
                    leased.idle = None;
                    leased.keep.take()
                }
                Entry::Pending(_) | Entry::Failed(_) => None,
            })
            .collect()
    }

    /// The client `generation` of `key` is to be closed now, if nobody has it. The keep is to be dropped outside the
    /// lock.
    #[must_use]
    pub(crate) fn close_idle(&mut self, key: &K, generation: u64) -> Option<W::Lease> {
        match self.entries.get(key) {
            Some(Entry::Leased(leased)) if leased.generation == generation && leased.is_idle() => {
                self.evict(key, CloseReason::LastLease)
            }
            _ => None,
        }
    }

    /// Room for one more entry: that of the oldest failure, else of a client that is idle. Its keep is to be dropped
    /// outside the lock.
    pub(super) fn make_room(&mut self, now: Instant) -> Result<Option<W::Lease>, AcquireError> {
        // An entry whose `on_vacant` runs is about to go, and holds no client.
        if self.entries.len() - self.forgetting < self.limits.max_entries {
            return Ok(None);
        }
        if let Some((_, key)) = self.failed.pop_first() {
            self.entries.remove(&key);
            return Ok(None);
        }
        if self.limits.when_full == WhenFull::Refuse || self.limits.linger.is_zero() {
            return Err(AcquireError::full());
        }
        if let Some(keep) = self.evict_idle() {
            return Ok(Some(keep));
        }
        // A look goes through all entries, so one that finds nothing is not repeated by each of a flood of calls.
        if self.no_room_until.is_some_and(|until| now < until) {
            return Err(AcquireError::full());
        }
        self.look(now);
        match self.evict_idle() {
            Some(keep) => Ok(Some(keep)),
            None => {
                self.no_room_until = now.checked_add(NO_ROOM);
                Err(AcquireError::full())
            }
        }
    }

    pub(super) fn pace(&self) -> Duration {
        // Not so fast that a linger of a nanosecond keeps a core busy.
        self.limits.linger.checked_div(LOOKS).unwrap_or_default().max(Duration::from_millis(1))
    }

    /// Notes who is idle, and since when: at least since the last look, if nobody has used it meanwhile.
    fn look(&mut self, now: Instant) {
        let (entries, idle, orders) = (&mut self.entries, &mut self.idle, &mut self.orders);
        for (key, entry) in entries {
            let Entry::Leased(leased) = entry else { continue };
            let Some(keep) = &leased.keep else { continue };
            // CORRECTNESS: the mark first, then the count. Whoever gets a lease between the two is seen by the count,
            // and whoever gets one afterwards leaves a mark for the next look.
            let used = W::was_used(keep);
            let is_idle = leased.is_idle();
            if is_idle {
                leased.held_since = now;
            }
            if is_idle && !used && leased.idle.is_some() {
                continue;
            }
            if let Some((_, order)) = leased.idle.take() {
                idle.remove(&order);
            }
            if is_idle {
                *orders += 1;
                idle.insert(*orders, key.clone());
                leased.idle = Some((now, *orders));
            }
        }
    }

    /// Takes the place of the client that is idle longest.
    fn evict_idle(&mut self) -> Option<W::Lease> {
        while let Some((_, key)) = self.idle.pop_first() {
            let Some(Entry::Leased(leased)) = self.entries.get_mut(&key) else { continue };
            leased.idle = None;
            if leased.is_idle() && !leased.keep.as_ref().is_some_and(W::was_used) {
                return self.evict(&key, CloseReason::Evicted);
            }
        }
        None
    }

    fn evict(&mut self, key: &K, reason: CloseReason) -> Option<W::Lease> {
        let Some((key, Entry::Leased(leased))) = self.entries.remove_entry(key) else { return None };
        self.drain(key, leased, reason)
    }
}
