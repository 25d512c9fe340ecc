//! What the table holds, for a snapshot.

use super::{ClientSlot, Leases, Slot, SlotState, Table};
use crate::snapshot::{EntryInfo, EntryState};
use std::time::Instant;

impl<K: Clone, G> Table<K, G> {
    pub(crate) fn describe(&self, now: Instant, leases: &impl Leases) -> Vec<EntryInfo<K>> {
        let mut entries: Vec<_> = self.slots.iter().map(|(id, slot)| self.info(*id, slot, now, leases)).collect();
        entries.sort_by_key(|entry| entry.state == EntryState::Draining);
        entries
    }

    fn info(
        &self,
        id: u64,
        Slot { key, since, state }: &Slot<K, G>,
        now: Instant,
        leases: &impl Leases,
    ) -> EntryInfo<K> {
        let age = now.saturating_duration_since(*since);
        let info = EntryInfo {
            key: key.clone(),
            state: EntryState::Pending,
            generation: None,
            leases: 0,
            waiters: 0,
            in_state_for: age,
            age,
            diverged: 0,
        };
        match state {
            SlotState::Building { waiters, .. } | SlotState::Forgetting { waiters } => {
                EntryInfo { waiters: *waiters, ..info }
            }
            SlotState::Failed { .. } => EntryInfo { state: EntryState::Failed, ..info },
            SlotState::Client(ClientSlot { held_since, idle, diverged, draining, .. }) => {
                let leases = leases.count(id);
                let is_idle = self.lingers() && draining.is_none() && leases == 0;
                let (state, since) = match (draining, is_idle) {
                    (Some(_), _) => (EntryState::Draining, *held_since),
                    // Without a look since it became idle, that was just now.
                    (None, true) => (EntryState::Idle, idle.map_or(now, |(since, _)| since)),
                    (None, false) => (EntryState::Leased, *held_since),
                };
                let in_state_for = now.saturating_duration_since(since);
                EntryInfo { state, generation: Some(id), leases, in_state_for, diverged: *diverged, ..info }
            }
        }
    }
}
