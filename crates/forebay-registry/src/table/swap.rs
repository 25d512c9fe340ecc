//! A new client in the place of an old one.

use super::{ClientSlot, Forget, Leases, SlotState, Table};
use crate::{AcquireError, CloseReason};
use std::{borrow::Borrow, hash::Hash, time::Instant};

/// What became of a client that was made to replace another.
pub(crate) enum Swapped {
    /// It has its place.
    Done {
        /// The client that it replaced; it loses its keep.
        from: Option<u64>,
        /// The client that made room; it loses its keep.
        evicted: Option<u64>,
        /// Calls that waited for another client; they get this one.
        waiting: Option<u64>,
    },
    /// A client that was asked for later is there already; this one is to be closed.
    Superseded(CloseReason),
    /// There is no place for it; it is to be closed.
    Refused(AcquireError, CloseReason),
}

impl<K: Hash + Eq + Clone, G: PartialEq + Clone> Table<K, G> {
    /// A caller wants to replace the client of `key`. The id orders the replacements by when they were asked for.
    ///
    /// `None`: there is nothing to replace, and an `acquire` will do.
    pub(crate) fn begin_swap<Q>(&mut self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let id = self.keys.get(key).filter(|_| !self.closed)?.entry?;
        match self.slots.get(&id)?.state {
            SlotState::Building { .. } | SlotState::Client(_) => {}
            SlotState::Forgetting { .. } => return None,
            SlotState::Failed { .. } => {
                // A caller that replaces knows something new.
                self.remove(id);
                return None;
            }
        }
        // Until it ends, the key is not vacant: `on_vacant` never runs beside a replacement.
        self.keys.get_mut(key)?.others += 1;
        Some(self.next_id())
    }

    /// A replacement ends without a client.
    pub(crate) fn abandon_swap(&mut self, key: &K, now: Instant) -> Option<Forget<K>> {
        self.release(key);
        self.vacated(key, now)
    }

    /// The replacement `ticket` has its client.
    pub(crate) fn swap(&mut self, key: &K, ticket: u64, config: &G, now: Instant, leases: &impl Leases) -> Swapped {
        self.counts.created += 1;
        self.release(key);
        if self.closed {
            self.retire(key, CloseReason::Shutdown);
            return Swapped::Refused(AcquireError::closed(), CloseReason::Shutdown);
        }
        let entry = self.keys.get(key).and_then(|refs| refs.entry);
        let (mut from, mut evicted, mut waiting) = (None, None, None);
        match entry.and_then(|id| Some((id, &self.slots.get(&id)?.state))) {
            // CORRECTNESS: a slow replacement with old credentials never takes the place of a later one.
            Some((id, SlotState::Building { .. } | SlotState::Client(_))) if id > ticket => {
                self.retire(key, CloseReason::Superseded);
                return Swapped::Superseded(CloseReason::Superseded);
            }
            Some((id, SlotState::Client(_))) => {
                from = Some(id);
                self.drain(id, CloseReason::Replaced);
            }
            Some((id, SlotState::Building { .. } | SlotState::Forgetting { .. })) => {
                waiting = Some(id);
                self.remove(id);
            }
            Some((id, SlotState::Failed { .. })) => self.remove(id),
            None => match self.make_room(now, leases) {
                Ok(room) => evicted = room,
                Err(error) => {
                    self.retire(key, CloseReason::Superseded);
                    return Swapped::Refused(error, CloseReason::Superseded);
                }
            },
        }
        self.counts.swapped += 1;
        self.insert(key.clone(), ticket, now, SlotState::Client(ClientSlot::new(config.clone(), now)));
        Swapped::Done { from, evicted, waiting }
    }
}
