//! From the first call to the first lease.

use super::{Entry, Failed, Forge, Forget, Handle, Pending, Retired, Stage, Table};
use crate::{AcquireError, AcquireErrorKind, CloseReason};
use std::{borrow::Borrow, hash::Hash, time::Instant};

/// What a call for a client finds.
pub(crate) enum Acquired<G, L, F> {
    /// A client.
    Lease { lease: L, generation: u64, config: G },
    /// Others wait for one, or it is to be made: wait for the flight. `evicted` made room for it, and is to be dropped
    /// outside the lock.
    Wait { id: u64, flight: F, evicted: Option<L> },
    /// No client, and the maker is not asked.
    Refused(AcquireError),
}

/// What became of a client that was made, or of the attempt.
pub(crate) enum Built<K, G, C, L> {
    /// Here it is.
    Leased { lease: L, generation: u64, config: G },
    /// Those who wait get the error, if they asked for this configuration. `forget`: with it, the last that the key
    /// had is gone.
    Failed { error: AcquireError, config: G, forget: Option<Forget<K>> },
    /// It came when its place was taken by another client; or, with an error, when the registry was closed.
    Late { error: Option<AcquireError>, retired: Option<Retired<K, C>>, forget: Option<Forget<K>> },
}

impl<K, G, C, W, F> Table<K, G, C, W, F>
where
    K: Hash + Eq + Clone,
    G: PartialEq + Clone,
    W: Handle,
    F: Clone,
{
    /// Somebody wants the client of `key`, made with `config` if it is not there.
    pub(crate) fn acquire<Q, X>(&mut self, key: &Q, config: &G, now: Instant, forge: &mut X) -> Acquired<G, W::Lease, F>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        X: Forge<K, G, C, W, F>,
    {
        if self.closed {
            return self.refuse(AcquireError::closed());
        }
        if let Some(found) = self.find(key) {
            return found;
        }
        match self.entries.get_mut(key) {
            Some(Entry::Pending(pending)) => {
                pending.waiters += 1;
                return Acquired::Wait { id: pending.id, flight: pending.flight.clone(), evicted: None };
            }
            // A failure is told to those who ask for the same; who asks for something else may be luckier.
            Some(Entry::Failed(failed)) if now < failed.until && failed.config == *config => {
                let error = failed.error.again(failed.until.saturating_duration_since(now));
                return self.refuse(error);
            }
            Some(Entry::Failed(failed)) => drop(self.failed.remove(&failed.order)),
            Some(Entry::Leased(_)) | None => {}
        }
        match self.entries.remove_entry(key) {
            // CORRECTNESS: the count is zero and the release is on its way to this table. Nobody can get that lease
            // again, and a fresh client is made beside it. It has no keep, or its count would not be zero.
            Some((key, Entry::Leased(dying))) => {
                drop(self.drain(key.clone(), dying, CloseReason::LastLease));
                self.build(key, config, now, forge, None)
            }
            Some((key, _)) => self.build(key, config, now, forge, None),
            None => match self.make_room(now) {
                Ok(evicted) => self.build(key.to_owned(), config, now, forge, evicted),
                Err(error) => self.refuse(error),
            },
        }
    }

    /// A lease of a client that is there.
    pub(crate) fn find<Q>(&self, key: &Q) -> Option<Acquired<G, W::Lease, F>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let Entry::Leased(leased) = self.entries.get(key)? else { return None };
        let lease = leased.handle.upgrade()?;
        Some(Acquired::Lease { lease, generation: leased.generation, config: leased.config.clone() })
    }

    /// The work that was begun under `id` has ended.
    pub(crate) fn built<X>(
        &mut self,
        key: &K,
        id: u64,
        result: Result<C, AcquireError>,
        now: Instant,
        forge: &mut X,
    ) -> Built<K, G, C, W::Lease>
    where
        X: Forge<K, G, C, W, F>,
    {
        let ours = matches!(self.entries.get(key), Some(Entry::Pending(pending)) if pending.id == id);
        if !ours || self.closed {
            let place = if ours { self.entries.remove(key) } else { None };
            let reason = if self.closed { CloseReason::Shutdown } else { CloseReason::Superseded };
            let retired = result.ok().map(|client| {
                self.counts.created += 1;
                self.retire(key.clone(), id, client, reason)
            });
            let forget = if place.is_some() { self.vacated(key, now, forge) } else { None };
            return Built::Late { error: self.closed.then(AcquireError::closed), retired, forget };
        }
        let Some((key, Entry::Pending(Pending { stage: Stage::Building(config), .. }))) =
            self.entries.remove_entry(key)
        else {
            unreachable!("it was looked up under the same lock, and only a build has work to end")
        };
        match result {
            Ok(client) => {
                self.counts.created += 1;
                let lease = self.install(&key, &config, id, client, now, forge);
                Built::Leased { lease, generation: id, config }
            }
            Err(error) => {
                self.counts.attempt_failed(&error);
                let forget = self.vacated(&key, now, forge);
                if forget.is_none() && error.kind() != AcquireErrorKind::Declined {
                    self.remember(key, config.clone(), error.clone(), now);
                }
                Built::Failed { error, config, forget }
            }
        }
    }

    /// With `negative_ttl`, a failure is told to others for a while.
    fn remember(&mut self, key: K, config: G, error: AcquireError, now: Instant) {
        let Some(until) = now.checked_add(self.limits.negative_ttl).filter(|until| *until > now) else { return };
        let order = self.order();
        self.failed.insert(order, key.clone());
        self.entries.insert(key, Entry::Failed(Failed { config, error, until, order }));
    }

    fn build<X>(
        &mut self,
        key: K,
        config: &G,
        now: Instant,
        forge: &mut X,
        evicted: Option<W::Lease>,
    ) -> Acquired<G, W::Lease, F>
    where
        X: Forge<K, G, C, W, F>,
    {
        let id = self.number();
        let flight = forge.flight(&key, Some(config));
        let waiting = flight.clone();
        let pending = Pending { id, flight, waiters: 1, since: now, stage: Stage::Building(config.clone()) };
        self.entries.insert(key, Entry::Pending(pending));
        Acquired::Wait { id, flight: waiting, evicted }
    }

    fn refuse(&mut self, error: AcquireError) -> Acquired<G, W::Lease, F> {
        self.counts.refused += 1;
        Acquired::Refused(error)
    }
}
