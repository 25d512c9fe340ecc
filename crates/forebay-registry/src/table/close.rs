//! From the end of a lease to the end of the entry.

use super::{Entry, Forge, Forget, Handle, Idle, Leased, Pending, Retired, Stage, Table};
use crate::{CloseEnd, CloseReason};
use std::{hash::Hash, mem, time::Instant};

/// What becomes of a client whose last lease has ended.
pub(crate) enum Released<K, G, C, L, F> {
    /// It stays for a while.
    Lingers,
    /// Somebody has waited for it.
    Handed { lease: L, config: G, flight: F },
    /// It is to be closed.
    Retired(Retired<K, C>),
}

/// What is to be done when somebody stops waiting.
pub(crate) struct Left<K, F> {
    /// Nobody waits any more; to be dropped outside the lock.
    pub(crate) flight: Option<F>,
    /// It was the last that the key had.
    pub(crate) forget: Option<Forget<K>>,
}

/// What is to be done when the registry is closed.
pub(crate) struct Shut<K, C, F> {
    /// Idle clients.
    pub(crate) retired: Vec<Retired<K, C>>,
    /// Nobody will bring these a client.
    pub(crate) stranded: Vec<F>,
}

impl<K, G, C, W, F> Table<K, G, C, W, F>
where
    K: Hash + Eq + Clone,
    G: PartialEq + Clone,
    W: Handle,
    F: Clone,
{
    /// The last lease of `generation` has ended. `linger`: it may stay, if it is still the key's client.
    pub(crate) fn released<X>(
        &mut self,
        key: &K,
        generation: u64,
        client: C,
        linger: bool,
        now: Instant,
        forge: &mut X,
    ) -> Released<K, G, C, W::Lease, F>
    where
        X: Forge<K, G, C, W, F>,
    {
        // CORRECTNESS: a release names the generation it belongs to. By the key alone it would take away a client
        // that was made while this release was on its way.
        let is_current = |leased: &Leased<G, W>| leased.generation == generation || cfg!(forebay_planted_race);
        match self.entries.get(key) {
            Some(Entry::Leased(leased)) if is_current(leased) => {
                let Some((key, Entry::Leased(leased))) = self.entries.remove_entry(key) else {
                    unreachable!("it was looked up under the same lock")
                };
                if self.closed {
                    return Released::Retired(self.retire(key, generation, client, CloseReason::Shutdown));
                }
                if !linger || self.limits.linger.is_zero() {
                    return Released::Retired(self.retire(key, generation, client, CloseReason::LastLease));
                }
                self.rest(key, leased, client, now);
                Released::Lingers
            }
            Some(Entry::Pending(Pending { stage: Stage::Returning(leased), .. }))
                if leased.generation == generation =>
            {
                let Some((key, Entry::Pending(Pending { stage: Stage::Returning(leased), flight, .. }))) =
                    self.entries.remove_entry(key)
                else {
                    unreachable!("it was looked up under the same lock")
                };
                self.counts.revived += 1;
                let (handle, lease) = forge.lease(&key, &leased.config, generation, client);
                let config = leased.config.clone();
                self.entries.insert(key, Entry::Leased(Leased { handle, since: now, ..leased }));
                Released::Handed { lease, config, flight }
            }
            _ => {
                let drained = self.draining.remove(&generation).is_some();
                let reason = if self.closed { CloseReason::Shutdown } else { CloseReason::LastLease };
                let retired = self.retire(key.clone(), generation, client, reason);
                if drained {
                    // It was followed while it drained, and is followed while it closes: once is enough.
                    self.unfollow(key);
                }
                Released::Retired(retired)
            }
        }
    }

    fn rest(&mut self, key: K, leased: Leased<G, W>, client: C, now: Instant) {
        let order = self.order();
        let Leased { generation, config, handle: _, since: _, made, diverged } = leased;
        self.idle.insert(order, key.clone());
        self.entries.insert(key, Entry::Idle(Idle { generation, config, client, since: now, made, diverged, order }));
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
        let Some((key, Entry::Pending(pending))) = self.entries.remove_entry(key) else { return nothing };
        let forget = match pending.stage {
            // As it was before: the release is still to come.
            Stage::Returning(dying) => {
                self.entries.insert(key, Entry::Leased(dying));
                None
            }
            Stage::Building(_) | Stage::Forgetting => {
                self.counts.abandoned += 1;
                self.vacated(&key, now, forge)
            }
        };
        Left { flight: Some(pending.flight), forget }
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

    /// Takes out what has been idle, or failed, for as long as it may.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<Retired<K, C>> {
        let mut retired = Vec::new();
        while let Some((&order, key)) = self.idle.first_key_value()
            && let Some(Entry::Idle(idle)) = self.entries.get(key)
            && now.saturating_duration_since(idle.since) >= self.limits.linger
        {
            if let Some(key) = self.idle.remove(&order)
                && let Some(Entry::Idle(idle)) = self.entries.remove(&key)
            {
                retired.push(self.retire(key, idle.generation, idle.client, CloseReason::Lingered));
            }
        }
        while let Some((&order, key)) = self.failed.first_key_value()
            && let Some(Entry::Failed(failed)) = self.entries.get(key)
            && failed.until <= now
        {
            if let Some(key) = self.failed.remove(&order) {
                self.entries.remove(&key);
            }
        }
        retired
    }

    /// When `sweep` will next find something.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        let idle = self.idle.values().next().and_then(|key| match self.entries.get(key) {
            Some(Entry::Idle(idle)) => idle.since.checked_add(self.limits.linger),
            _ => None,
        });
        let failed = self.failed.values().next().and_then(|key| match self.entries.get(key) {
            Some(Entry::Failed(failed)) => Some(failed.until),
            _ => None,
        });
        idle.into_iter().chain(failed).min()
    }

    /// Nothing comes in any more. Idle clients leave at once, leased ones when their leases end.
    pub(crate) fn shut(&mut self) -> Shut<K, C, F> {
        self.closed = true;
        let mut shut = Shut { retired: Vec::new(), stranded: Vec::new() };
        for key in mem::take(&mut self.idle).into_values() {
            if let Some(Entry::Idle(idle)) = self.entries.remove(&key) {
                shut.retired.push(self.retire(key, idle.generation, idle.client, CloseReason::Shutdown));
            }
        }
        for key in mem::take(&mut self.failed).into_values() {
            self.entries.remove(&key);
        }
        let returning: Vec<K> = (self.entries.iter())
            .filter(|(_, entry)| matches!(entry, Entry::Pending(Pending { stage: Stage::Returning(_), .. })))
            .map(|(key, _)| key.clone())
            .collect();
        for key in returning {
            if let Some(Entry::Pending(Pending { stage: Stage::Returning(dying), flight, .. })) =
                self.entries.remove(&key)
            {
                self.drain(key, dying);
                shut.stranded.push(flight);
            }
        }
        shut
    }
}
