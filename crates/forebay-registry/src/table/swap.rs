//! A new client in the place of an old one.

use super::{Entry, Forge, Forget, Handle, Leased, Retired, Stage, Table};
use crate::{AcquireError, CloseReason};
use std::{borrow::Borrow, hash::Hash, time::Instant};

/// What became of a client that was made to replace another.
pub(crate) enum Swapped<K, C, L, F> {
    /// It is the key's client now.
    Done {
        lease: L,
        /// The number of the one it replaced.
        from: Option<u64>,
        /// Clients that nobody holds: the one it replaced, the one that had to make room.
        retired: Vec<Retired<K, C>>,
        /// Those who waited for another client; they get this one.
        flight: Option<F>,
    },
    /// A client that was asked for later is there already.
    Superseded(Retired<K, C>),
    /// There is no place for it.
    Refused(AcquireError, Retired<K, C>),
}

impl<K, G, C, W, F> Table<K, G, C, W, F>
where
    K: Hash + Eq + Clone,
    G: PartialEq + Clone,
    W: Handle,
    F: Clone,
{
    /// Somebody wants to replace the client of `key`. The number orders the replacements by when they were asked for.
    ///
    /// `None`: there is nothing to replace, an `acquire` will do.
    pub(crate) fn begin_swap<Q>(&mut self, key: &Q) -> Option<u64>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        if self.closed {
            return None;
        }
        match self.entries.get(key)? {
            Entry::Leased(_) | Entry::Idle(_) => {}
            Entry::Pending(pending) if !matches!(pending.stage, Stage::Forgetting) => {}
            Entry::Pending(_) => return None,
            Entry::Failed(failed) => {
                // Whoever replaces knows something new.
                let order = failed.order;
                self.failed.remove(&order);
                self.entries.remove(key);
                return None;
            }
        }
        let key = self.entries.get_key_value(key).map(|(key, _)| key.clone())?;
        // Until it ends, the key is not vacant: `on_vacant` never runs beside a replacement.
        self.follow(&key, false);
        Some(self.number())
    }

    /// The replacement `ticket` ends without a client.
    pub(crate) fn abandon_swap<X>(&mut self, key: &K, now: Instant, forge: &mut X) -> Option<Forget<K>>
    where
        X: Forge<K, G, C, W, F>,
    {
        self.unfollow(key);
        self.vacated(key, now, forge)
    }

    /// The replacement `ticket` has its client.
    pub(crate) fn swap<X>(
        &mut self,
        key: &K,
        ticket: u64,
        config: &G,
        client: C,
        now: Instant,
        forge: &mut X,
    ) -> Swapped<K, C, W::Lease, F>
    where
        X: Forge<K, G, C, W, F>,
    {
        self.counts.created += 1;
        self.unfollow(key);
        if self.closed {
            let retired = self.retire(key.clone(), ticket, client, CloseReason::Shutdown);
            return Swapped::Refused(AcquireError::closed(), retired);
        }
        let current = match self.entries.get(key) {
            Some(Entry::Leased(leased)) => Some(leased.generation),
            Some(Entry::Idle(idle)) => Some(idle.generation),
            Some(Entry::Pending(pending)) => match &pending.stage {
                Stage::Building(_) => Some(pending.id),
                Stage::Returning(leased) => Some(leased.generation),
                Stage::Forgetting => None,
            },
            Some(Entry::Failed(_)) | None => None,
        };
        // CORRECTNESS: a slow replacement with old credentials never takes the place of a later one.
        if current.is_some_and(|current| current > ticket) {
            return Swapped::Superseded(self.retire(key.clone(), ticket, client, CloseReason::Superseded));
        }
        let (mut from, mut flight, mut retired) = (None, None, Vec::new());
        match self.entries.remove(key) {
            None => match self.make_room() {
                Ok(evicted) => retired.extend(evicted),
                Err(error) => {
                    let retired = self.retire(key.clone(), ticket, client, CloseReason::Superseded);
                    return Swapped::Refused(error, retired);
                }
            },
            Some(Entry::Failed(failed)) => drop(self.failed.remove(&failed.order)),
            Some(Entry::Leased(old)) => {
                from = Some(old.generation);
                self.drain(key.clone(), old);
            }
            Some(Entry::Idle(old)) => {
                from = Some(old.generation);
                self.idle.remove(&old.order);
                retired.push(self.retire(key.clone(), old.generation, old.client, CloseReason::Replaced));
            }
            Some(Entry::Pending(pending)) => {
                flight = Some(pending.flight);
                match pending.stage {
                    Stage::Building(_) => {}
                    Stage::Forgetting => self.forgetting = self.forgetting.saturating_sub(1),
                    Stage::Returning(old) => {
                        from = Some(old.generation);
                        self.drain(key.clone(), old);
                    }
                }
            }
        }
        self.counts.swapped += 1;
        let (handle, lease) = forge.lease(key, config, ticket, client);
        let leased = Leased { generation: ticket, config: config.clone(), handle, since: now, made: now, diverged: 0 };
        self.entries.insert(key.clone(), Entry::Leased(leased));
        Swapped::Done { lease, from, retired, flight }
    }
}
