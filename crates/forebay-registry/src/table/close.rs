//! From the end of a lease to the end of the entry.

use super::{Expendable, Forget, Slot, SlotState, Table};
use crate::{CloseEnd, CloseReason};
use std::{hash::Hash, time::Instant};

impl<K: Hash + Eq + Clone, G> Table<K, G> {
    /// The last lease of the client `id` has ended: it closes from now on.
    pub(crate) fn released(&mut self, id: u64) -> CloseReason {
        // CORRECTNESS: a release names the client it belongs to. By the key alone it would take away a client that was made
        // while this release was on its way.
        self.drain(id, CloseReason::LastLease);
        let slot = self.slots.remove(&id);
        let reason = match &slot {
            Some(Slot { state: SlotState::Client(client), .. }) if !self.closed => client.draining,
            _ => Some(CloseReason::Shutdown),
        };
        self.removed.slots.extend(slot);
        let reason = reason.unwrap_or(CloseReason::LastLease);
        self.start_closing(reason);
        reason
    }

    /// A caller that waited for `id` leaves. `true`: it was the last one, and the work ends too; perhaps it was the last that
    /// the key had.
    pub(crate) fn leave(&mut self, key: &K, id: u64, now: Instant) -> (bool, Option<Forget<K>>) {
        match self.slots.get_mut(&id).map(|slot| &mut slot.state) {
            Some(SlotState::Building { waiters, .. }) if *waiters <= 1 => {}
            Some(SlotState::Building { waiters, .. } | SlotState::Forgetting { waiters }) => {
                *waiters = waiters.saturating_sub(1);
                return (false, None);
            }
            _ => return (false, None),
        }
        self.remove(id);
        self.counts.abandoned += 1;
        (true, self.vacated(key, now))
    }

    /// The close of one client has ended; perhaps it was the last that the key had.
    pub(crate) fn closed(&mut self, key: &K, end: &CloseEnd, now: Instant) -> Option<Forget<K>> {
        self.closing = self.closing.saturating_sub(1);
        self.counts.closed(end);
        self.release(key);
        self.vacated(key, now)
    }

    /// `on_vacant` has run. `true`: those that wait for its end ask again.
    pub(crate) fn forgotten(&mut self, id: u64) -> bool {
        let forgets = matches!(self.slots.get(&id), Some(Slot { state: SlotState::Forgetting { .. }, .. }));
        if forgets {
            self.remove(id);
        }
        forgets
    }

    /// No call gets a client any more. Idle clients leave when their keeps are dropped, the others when their leases end.
    pub(crate) fn close(&mut self) {
        self.closed = true;
        while let Some((&(Expendable::Failure, _), &id)) = self.expendable.first_key_value() {
            self.remove(id);
        }
        self.keep_nothing();
    }
}
