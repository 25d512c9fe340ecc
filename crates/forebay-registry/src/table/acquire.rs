//! From the first call to the first lease.

use super::{ClientSlot, Expendable, Forget, Leases, Slot, SlotState, Table};
use crate::{AcquireError, AcquireErrorKind, CloseReason};
use forebay_core::time::saturating_add;
use std::{borrow::Borrow, hash::Hash, time::Instant};

/// What a call for a client does that is not there.
pub(crate) enum Acquired {
    /// It waits for `id`: for a client (`builds`), or for the end of `on_vacant`. `evicted` made room for it, and loses its keep.
    Wait { id: u64, builds: bool, evicted: Option<u64> },
    /// There is no client, and the maker is not asked.
    Refused(AcquireError),
}

/// What became of a client that was made, or of the attempt.
pub(crate) enum Built<K, G, C> {
    /// It has its place.
    Client { client: C, config: G },
    /// Those that wait get the error, if they asked with this configuration. `forget`: it was the last that the key had.
    Failed { error: AcquireError, config: G, forget: Option<Forget<K>> },
    /// Another client has taken its place; or, with an error, the registry is closed. A client is to be closed.
    Late { error: Option<AcquireError>, retired: Option<(C, CloseReason)>, forget: Option<Forget<K>> },
}

impl<K: Hash + Eq + Clone, G: PartialEq + Clone> Table<K, G> {
    /// The client that has the place of `key`. Its last lease may be just ending.
    pub(crate) fn client<Q>(&self, key: &Q) -> Option<(u64, &G)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let id = self.keys.get(key).filter(|_| !self.closed)?.entry?;
        Some((id, &self.slots.get(&id)?.current()?.config))
    }

    /// A caller wants the client of `key`, made with `config` if it is not there. It has looked for one: a client that has the
    /// place has no lease left.
    pub(crate) fn acquire(&mut self, key: &K, config: &G, now: Instant, leases: &impl Leases) -> Acquired {
        if self.closed {
            return self.refuse(AcquireError::closed());
        }
        let mut evicted = None;
        let entry = self.keys.get(key).and_then(|refs| refs.entry);
        match entry.and_then(|id| Some((id, &mut self.slots.get_mut(&id)?.state))) {
            Some((id, SlotState::Building { waiters, .. })) => {
                *waiters += 1;
                return Acquired::Wait { id, builds: true, evicted };
            }
            Some((id, SlotState::Forgetting { waiters })) => {
                *waiters += 1;
                return Acquired::Wait { id, builds: false, evicted };
            }
            // A failure is for those that ask for the same; a caller that asks for something else may be luckier.
            Some((_, SlotState::Failed { config: first, error, until, .. })) if now < *until && *first == *config => {
                let error = error.again(until.saturating_duration_since(now));
                return self.refuse(error);
            }
            Some((id, SlotState::Failed { .. })) => self.remove(id),
            // CORRECTNESS: the count is zero and the release is on its way to this table. No caller can get that lease again,
            // and a fresh client is made beside it. It has no keep, or its count would not be zero.
            Some((id, SlotState::Client(_))) => self.drain(id, CloseReason::LastLease),
            None => match self.make_room(now, leases) {
                Ok(room) => evicted = room,
                Err(error) => return self.refuse(error),
            },
        }
        let id = self.next_id();
        self.insert(key.clone(), id, now, SlotState::Building { config: config.clone(), waiters: 1 });
        Acquired::Wait { id, builds: true, evicted }
    }

    /// The work for the client `id` of `key` has ended.
    pub(crate) fn built<C>(
        &mut self,
        key: &K,
        id: u64,
        result: Result<C, AcquireError>,
        now: Instant,
    ) -> Built<K, G, C> {
        let Some(Slot { state: SlotState::Building { config, .. }, .. }) = self.slots.get(&id).filter(|_| !self.closed)
        else {
            self.remove(id);
            let retired = result.ok().map(|client| {
                self.counts.created += 1;
                let reason = if self.closed { CloseReason::Shutdown } else { CloseReason::Superseded };
                self.retire(key, reason);
                (client, reason)
            });
            let error = self.closed.then(AcquireError::closed);
            return Built::Late { error, retired, forget: self.vacated(key, now) };
        };
        let config = config.clone();
        self.remove(id);
        match result {
            Ok(client) => {
                self.counts.created += 1;
                self.insert(key.clone(), id, now, SlotState::Client(ClientSlot::new(config.clone(), now)));
                Built::Client { client, config }
            }
            Err(error) => {
                self.counts.attempt_failed(&error);
                let forget = self.vacated(key, now);
                if forget.is_none() && error.kind() != AcquireErrorKind::Declined {
                    self.remember(key, id, config.clone(), error.clone(), now);
                }
                Built::Failed { error, config, forget }
            }
        }
    }

    /// With `negative_ttl`, a failure is kept for a while.
    fn remember(&mut self, key: &K, id: u64, config: G, error: AcquireError, now: Instant) {
        if self.limits.negative_ttl.is_zero() {
            return;
        }
        self.last_order += 1;
        let order = self.last_order;
        let until = saturating_add(now, self.limits.negative_ttl);
        self.expendable.insert((Expendable::Failure, order), id);
        self.insert(key.clone(), id, now, SlotState::Failed { config, error, until, order });
    }

    fn refuse(&mut self, error: AcquireError) -> Acquired {
        self.counts.refused += 1;
        Acquired::Refused(error)
    }
}
