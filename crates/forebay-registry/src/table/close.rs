//! From the end of a lease to the end of the entry.

use super::{Entry, Forge, Forget, Handle, Leased, Retired, Stage, Table};
use crate::{CloseEnd, CloseReason};
use std::{hash::Hash, mem, time::Instant};

/// What is to be done when somebody stops waiting.
pub(crate) struct Left<K, F> {
    /// Nobody waits any more; to be dropped outside the lock.
    pub(crate) flight: Option<F>,
    /// It was the last that the key had.
    pub(crate) forget: Option<Forget<K>>,
}

impl<K, G, C, W, F> Table<K, G, C, W, F>
where
    K: Hash + Eq + Clone,
    W: Handle,
{
    /// The last lease of `generation` has ended: the client is to be closed.
    pub(crate) fn released(&mut self, key: &K, generation: u64, client: C) -> Retired<K, C> {
        // CORRECTNESS: a release names the generation it belongs to. By the key alone it would take away a client
        // that was made while this release was on its way.
        let is_current = |leased: &Leased<G, W>| leased.generation == generation || cfg!(forebay_planted_race);
        let mut reason = CloseReason::LastLease;
        if matches!(self.entries.get(key), Some(Entry::Leased(leased)) if is_current(leased)) {
            self.entries.remove(key);
        } else if let Some(drained) = self.draining.remove(&generation) {
            reason = drained.reason;
            let retired = self.retire(key.clone(), generation, client, self.reason(reason));
            // It was followed while it drained, and is followed while it closes: once is enough.
            self.unfollow(key);
            return retired;
        }
        self.retire(key.clone(), generation, client, self.reason(reason))
    }

    fn reason(&self, reason: CloseReason) -> CloseReason {
        if self.closed { CloseReason::Shutdown } else { reason }
    }

    /// Somebody who waited under `id` has what it waited for, or does not want it any more.
    pub(crate) fn leave<X>(&mut self, key: &K, id: u64, now: Instant, forge: &mut X) -> Left<K, F>
    where
        X: Forge<K, G, C, W, F>,
    {
        let nothing = Left { flight: None, forget: None };
        let Some(Entry::Pending(pending)) = self.entries.get_mut(key) else { return nothing };
        if pending.id != id {
            return nothing;
        }
        pending.waiters = pending.waiters.saturating_sub(1);
        if pending.waiters > 0 || matches!(pending.stage, Stage::Forgetting) {
            return nothing;
        }
        let Some(Entry::Pending(pending)) = self.entries.remove(key) else { return nothing };
        self.counts.abandoned += 1;
        Left { flight: Some(pending.flight), forget: self.vacated(key, now, forge) }
    }

    /// The close of one client has ended; perhaps it was the last that the key had.
    pub(crate) fn closed<X>(&mut self, key: &K, end: &CloseEnd, now: Instant, forge: &mut X) -> Option<Forget<K>>
    where
        X: Forge<K, G, C, W, F>,
    {
        self.closing = self.closing.saturating_sub(1);
        self.counts.closed(end);
        self.unfollow(key);
        self.vacated(key, now, forge)
    }

    /// `on_vacant` has run. The flight is of those who wait to begin anew.
    pub(crate) fn forgotten(&mut self, forget: &Forget<K>) -> Option<F> {
        match self.entries.get(&forget.key) {
            Some(Entry::Pending(pending)) if pending.id == forget.id => {}
            _ => return None,
        }
        self.forgetting = self.forgetting.saturating_sub(1);
        match self.entries.remove(&forget.key) {
            Some(Entry::Pending(pending)) => Some(pending.flight),
            _ => None,
        }
    }

    /// Nothing comes in any more. Idle clients leave when their keeps are dropped, which is to happen outside the lock;
    /// the others when their leases end.
    #[must_use]
    pub(crate) fn shut(&mut self) -> Vec<W::Lease> {
        self.closed = true;
        for key in mem::take(&mut self.failed).into_values() {
            self.entries.remove(&key);
        }
        self.keep_nothing()
    }
}
