//! What the table holds, for a snapshot.

use super::{Entry, Handle, Leased, Pending, Table};
use crate::snapshot::{EntryInfo, EntryState};
use std::{hash::Hash, time::Instant};

impl<K, G, C, W, F> Table<K, G, C, W, F>
where
    K: Hash + Eq + Clone,
    W: Handle,
{
    pub(crate) fn describe(&self, now: Instant) -> Vec<EntryInfo<K>> {
        let age = |since: Instant| now.saturating_duration_since(since);
        let none = |key: &K, state, since| EntryInfo {
            key: key.clone(),
            state,
            generation: None,
            leases: 0,
            waiters: 0,
            in_state_for: age(since),
            age: age(since),
            diverged: 0,
        };
        let client = |key: &K, leased: &Leased<G, W>, draining: bool| {
            let idle = leased.is_idle();
            let since = match leased.idle {
                Some((since, _)) if idle => since,
                // Nobody has looked since it became idle.
                None if idle => now,
                _ => leased.held_since,
            };
            EntryInfo {
                state: match (draining, idle) {
                    (true, _) => EntryState::Draining,
                    (false, true) => EntryState::Idle,
                    (false, false) => EntryState::Leased,
                },
                generation: Some(leased.generation),
                leases: leased.handle.leases().saturating_sub(usize::from(leased.keep.is_some())),
                age: age(leased.made),
                diverged: leased.diverged,
                ..none(key, EntryState::Leased, since)
            }
        };
        let current = self.entries.iter().map(|(key, entry)| match entry {
            Entry::Leased(leased) => client(key, leased, false),
            Entry::Pending(Pending { waiters, since, .. }) => {
                EntryInfo { waiters: *waiters, ..none(key, EntryState::Pending, *since) }
            }
            Entry::Failed(failed) => {
                let left = failed.until.saturating_duration_since(now);
                let since = self.limits.negative_ttl.saturating_sub(left);
                EntryInfo { in_state_for: since, age: since, ..none(key, EntryState::Failed, now) }
            }
        });
        let draining = self.draining.values().map(|it| client(&it.key, &it.leased, true));
        current.chain(draining).collect()
    }
}
