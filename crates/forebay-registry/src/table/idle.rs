//! Clients without a lease, and entries without a client, that are to go.

use super::{Expendable, Leases, Slot, SlotState, Table};
use crate::{AcquireError, CloseReason, WhenFull};
use std::{
    hash::Hash,
    time::{Duration, Instant},
};

/// Idle clients are looked for four times in the time that clients linger, so one lingers for at most 1.25 of it.
const LOOKS: u32 = 4;

/// For how long a full registry, in which all clients are in use, does not look for an idle one again.
const NO_ROOM: Duration = Duration::from_millis(1);

impl<K: Hash + Eq + Clone, G> Table<K, G> {
    /// Takes out what has been idle, or failed, for as long as it may. The clients that are returned lose their keeps: with
    /// each of them goes its client, unless a caller got it at this very moment.
    #[must_use]
    pub(crate) fn sweep(&mut self, now: Instant, leases: &impl Leases) -> Vec<u64> {
        while let Some((id, until)) = self.oldest_failure()
            && until <= now
        {
            self.remove(id);
        }
        if self.next_look.is_none_or(|next| now < next) {
            return Vec::new();
        }
        self.look(now, leases);
        let clients = self.lingers() && self.slots.values().any(|slot| slot.current().is_some());
        self.next_look = if clients { now.checked_add(self.pace()) } else { None };
        let mut swept = Vec::new();
        while let Some((_, &id)) = self.expendable.range((Expendable::IdleClient, 0)..).next()
            && let Some((since, _)) = self.slots.get(&id).and_then(|slot| slot.current()?.idle)
            && now.saturating_duration_since(since) >= self.limits.linger
        {
            self.drain(id, CloseReason::Lingered);
            swept.push(id);
        }
        swept
    }

    /// When `sweep` will next find something.
    pub(crate) fn next_sweep(&self) -> Option<Instant> {
        self.next_look.into_iter().chain(self.oldest_failure().map(|(_, until)| until)).min()
    }

    fn oldest_failure(&self) -> Option<(u64, Instant)> {
        let (_, id) = self.expendable.first_key_value()?;
        match self.slots.get(id)?.state {
            SlotState::Failed { until, .. } => Some((*id, until)),
            _ => None,
        }
    }

    /// From now on nothing lingers: the owner drops all keeps after it has released its lock.
    pub(crate) fn keep_nothing(&mut self) {
        self.limits.linger = Duration::ZERO;
        self.next_look = None;
        self.expendable.retain(|(kind, _), _| *kind == Expendable::Failure);
        for slot in self.slots.values_mut() {
            if let SlotState::Client(client) = &mut slot.state {
                client.idle = None;
            }
        }
    }

    /// The client `id` is to be closed now, if no caller has it. `true`: it loses its keep.
    pub(crate) fn close_idle(&mut self, id: u64, leases: &impl Leases) -> bool {
        let has_place = self.slots.get(&id).is_some_and(|slot| slot.current().is_some());
        let idle = self.lingers() && has_place && leases.count(id) == 0;
        if idle {
            self.drain(id, CloseReason::LastLease);
        }
        idle
    }

    /// Room for one more entry: that of the oldest failure, else of an idle client, which loses its keep.
    pub(super) fn make_room(&mut self, now: Instant, leases: &impl Leases) -> Result<Option<u64>, AcquireError> {
        if self.occupied < self.limits.max_entries {
            return Ok(None);
        }
        if let Some((id, _)) = self.oldest_failure() {
            self.remove(id);
            return Ok(None);
        }
        if self.limits.when_full == WhenFull::Refuse || !self.lingers() {
            return Err(AcquireError::full());
        }
        if let Some(id) = self.evict_idle(leases) {
            return Ok(Some(id));
        }
        // A look goes through all entries, so one that finds nothing is not repeated by each of a flood of calls.
        if self.no_room_until.is_some_and(|until| now < until) {
            return Err(AcquireError::full());
        }
        self.look(now, leases);
        let evicted = self.evict_idle(leases);
        if evicted.is_none() {
            self.no_room_until = now.checked_add(NO_ROOM);
        }
        evicted.map(Some).ok_or_else(AcquireError::full)
    }

    /// How long between two looks.
    pub(super) fn pace(&self) -> Duration {
        // Not so often that a linger of a nanosecond keeps a core busy.
        self.limits.linger.checked_div(LOOKS).unwrap_or_default().max(Duration::from_millis(1))
    }

    /// Notes which clients are idle, and since when: at least since the last look, if none has used them meanwhile.
    fn look(&mut self, now: Instant, leases: &impl Leases) {
        for (&id, slot) in &mut self.slots {
            let Slot { state: SlotState::Client(client), .. } = slot else { continue };
            if client.draining.is_some() {
                continue;
            }
            // CORRECTNESS: the mark first, then the count. A lease that begins between the two is seen by the count, and one
            // that begins afterwards leaves a mark for the next look.
            let used = leases.take_used(id);
            let is_idle = leases.count(id) == 0;
            if is_idle {
                client.held_since = now;
            }
            if is_idle && !used && client.idle.is_some() {
                continue;
            }
            if let Some((_, order)) = client.idle.take() {
                self.expendable.remove(&(Expendable::IdleClient, order));
            }
            if is_idle {
                self.last_order += 1;
                self.expendable.insert((Expendable::IdleClient, self.last_order), id);
                client.idle = Some((now, self.last_order));
            }
        }
    }

    /// Takes the place of the client that is idle longest.
    fn evict_idle(&mut self, leases: &impl Leases) -> Option<u64> {
        while let Some((_, id)) = self.expendable.pop_first() {
            if let Some(Slot { state: SlotState::Client(client), .. }) = self.slots.get_mut(&id) {
                client.idle = None;
            }
            if leases.count(id) == 0 && !leases.take_used(id) {
                self.drain(id, CloseReason::Evicted);
                return Some(id);
            }
        }
        None
    }
}
