//! A new client in the place of an old one.

use super::{Entry, Forge, Forget, Handle, Retired, Stage, Table};
use crate::{AcquireError, CloseReason};
use std::{borrow::Borrow, hash::Hash, time::Instant};

/// What became of a client that was made to replace another.
pub(crate) enum Swapped<K, C, L, F> {
    /// It is the key's client now.
    Done {
        lease: L,
        /// The number of the one it replaced.
        from: Option<u64>,
        /// The keep of the one it replaced, or of the one that had to make room; to be dropped outside the lock.
        keep: Option<L>,
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
            Entry::Leased(_) => {}
            Entry::Pending(pending) if matches!(pending.stage, Stage::Building(_)) => {}
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

    /// A replacement ends without a client.
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
            Some(Entry::Pending(pending)) => matches!(pending.stage, Stage::Building(_)).then_some(pending.id),
            Some(Entry::Failed(_)) | None => None,
        };
        // CORRECTNESS: a slow replacement with old credentials never takes the place of a later one.
        if current.is_some_and(|current| current > ticket) {
            return Swapped::Superseded(self.retire(key.clone(), ticket, client, CloseReason::Superseded));
        }
        let (mut from, mut flight, mut keep) = (None, None, None);
        match self.entries.remove(key) {
            None => match self.make_room(now) {
                Ok(evicted) => keep = evicted,
                Err(error) => {
                    let retired = self.retire(key.clone(), ticket, client, CloseReason::Superseded);
                    return Swapped::Refused(error, retired);
                }
            },
            Some(Entry::Failed(failed)) => drop(self.failed.remove(&failed.order)),
            Some(Entry::Leased(old)) => {
                from = Some(old.generation);
                keep = self.drain(key.clone(), old, CloseReason::Replaced);
            }
            Some(Entry::Pending(pending)) => {
                flight = Some(pending.flight);
                if matches!(pending.stage, Stage::Forgetting) {
                    self.forgetting = self.forgetting.saturating_sub(1);
                }
            }
        }
        self.counts.swapped += 1;
        let lease = self.install(key, config, ticket, client, now, forge);
        Swapped::Done { lease, from, keep, flight }
    }
}
