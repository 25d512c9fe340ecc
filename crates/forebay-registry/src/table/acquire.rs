//! From the first call to the first lease.

use super::{Entry, Failed, Forge, Forget, Handle, Idle, Leased, Pending, Retired, Stage, Table};
use crate::{AcquireError, AcquireErrorKind, CloseReason, WhenFull};
use std::{borrow::Borrow, hash::Hash, time::Instant};

/// What a call for a client finds.
pub(crate) enum Acquired<K, G, C, L, F> {
    /// A client. `hit`: it was leased already, so the lock-free path could have served it.
    Lease { lease: L, generation: u64, config: G, hit: bool },
    /// Others wait for one, or it is to be made: wait for the flight. `evicted` made room for it.
    Wait { id: u64, flight: F, evicted: Option<Retired<K, C>> },
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
    pub(crate) fn acquire<Q, X>(
        &mut self,
        key: &Q,
        config: &G,
        now: Instant,
        forge: &mut X,
    ) -> Acquired<K, G, C, W::Lease, F>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
        X: Forge<K, G, C, W, F>,
    {
        if self.closed {
            return self.refuse(AcquireError::closed());
        }
        if let Some(found) = self.find(key, now, forge) {
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
            Some(Entry::Leased(_) | Entry::Idle(_)) | None => {}
        }
        match self.entries.remove_entry(key) {
            // CORRECTNESS: the count is zero and the release is on its way to this table. Nobody can get that lease
            // again; with linger its client comes back with the release, without it a fresh one is made beside it.
            Some((key, Entry::Leased(dying))) if self.limits.linger.is_zero() => {
                self.drain(key.clone(), dying);
                self.pend(key, Stage::Building(config.clone()), now, forge, None)
            }
            Some((key, Entry::Leased(dying))) => self.pend(key, Stage::Returning(dying), now, forge, None),
            Some((key, _)) => self.pend(key, Stage::Building(config.clone()), now, forge, None),
            None => match self.make_room() {
                Ok(evicted) => self.pend(key.to_owned(), Stage::Building(config.clone()), now, forge, evicted),
                Err(error) => self.refuse(error),
            },
        }
    }

    /// A lease of a client that is there, leased or idle.
    pub(crate) fn find<Q, X>(&mut self, key: &Q, now: Instant, forge: &mut X) -> Option<Acquired<K, G, C, W::Lease, F>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        X: Forge<K, G, C, W, F>,
    {
        match self.entries.get(key)? {
            Entry::Leased(leased) => {
                let lease = leased.handle.upgrade()?;
                let config = leased.config.clone();
                Some(Acquired::Lease { lease, generation: leased.generation, config, hit: true })
            }
            Entry::Idle(_) => {
                let Some((key, Entry::Idle(idle))) = self.entries.remove_entry(key) else { return None };
                let Idle { generation, config, client, since: _, made, diverged, order } = idle;
                self.idle.remove(&order);
                self.counts.revived += 1;
                let (handle, lease) = forge.lease(&key, &config, generation, client);
                let leased = Leased { generation, config: config.clone(), handle, since: now, made, diverged };
                self.entries.insert(key, Entry::Leased(leased));
                Some(Acquired::Lease { lease, generation, config, hit: false })
            }
            Entry::Pending(_) | Entry::Failed(_) => None,
        }
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
                let (handle, lease) = forge.lease(&key, &config, id, client);
                let made =
                    Leased { generation: id, config: config.clone(), handle, since: now, made: now, diverged: 0 };
                self.entries.insert(key, Entry::Leased(made));
                Built::Leased { lease, generation: id, config }
            }
            Err(error) => {
                self.counts.attempt_failed(&error);
                let declined = error.kind() == AcquireErrorKind::Declined;
                let forget = self.vacated(&key, now, forge);
                if forget.is_none() && !declined {
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

    fn pend<X>(
        &mut self,
        key: K,
        stage: Stage<G, W>,
        now: Instant,
        forge: &mut X,
        evicted: Option<Retired<K, C>>,
    ) -> Acquired<K, G, C, W::Lease, F>
    where
        X: Forge<K, G, C, W, F>,
    {
        let id = self.number();
        let build = match &stage {
            Stage::Building(config) => Some(config),
            Stage::Returning(_) | Stage::Forgetting => None,
        };
        let flight = forge.flight(&key, build);
        let waiting = flight.clone();
        let pending = Pending { id, flight, waiters: 1, since: now, stage };
        self.entries.insert(key, Entry::Pending(pending));
        Acquired::Wait { id, flight: waiting, evicted }
    }

    /// Room for one more entry: that of the oldest failure, else of the client that was idle longest.
    pub(super) fn make_room(&mut self) -> Result<Option<Retired<K, C>>, AcquireError> {
        // An entry whose `on_vacant` runs is about to go, and holds no client.
        if self.entries.len() - self.forgetting < self.limits.max_entries {
            return Ok(None);
        }
        if let Some((_, key)) = self.failed.pop_first() {
            self.entries.remove(&key);
            return Ok(None);
        }
        if self.limits.when_full == WhenFull::EvictIdle
            && let Some((_, key)) = self.idle.pop_first()
            && let Some(Entry::Idle(idle)) = self.entries.remove(&key)
        {
            return Ok(Some(self.retire(key, idle.generation, idle.client, CloseReason::Evicted)));
        }
        Err(AcquireError::full())
    }

    /// A client whose release is still to come makes place.
    pub(super) fn drain(&mut self, key: K, leased: Leased<G, W>) {
        self.follow(&key, true);
        self.draining.insert(leased.generation, (key, leased));
    }

    fn refuse(&mut self, error: AcquireError) -> Acquired<K, G, C, W::Lease, F> {
        self.counts.refused += 1;
        Acquired::Refused(error)
    }
}
