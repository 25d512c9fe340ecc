use crate::{
    KeyStatus, Mode, Overflow, Snapshot, State, Status,
    core::Core,
    directory::{Directory, Place},
    env::CallEnv,
    slot::{Env, Moved},
    state::{Event, Machine, Transition},
};
use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    sync::{Arc, atomic::Ordering},
};

/// Observes and controls a breaker from outside, also after its services were boxed.
///
/// All it needs of a key is a borrowed form of it, such as `&str` for `String`; a breaker without keys has the one
/// key `()`. What it does takes effect for the next call; results of calls that are under way move nothing that was
/// reset, removed or forced meanwhile.
pub struct BreakerHandle<K> {
    core: Arc<Core<K>>,
}

// === impl BreakerHandle ===

impl<K> BreakerHandle<K> {
    pub(crate) fn new(core: Arc<Core<K>>) -> Self {
        Self { core }
    }

    /// How many keys have a state of their own; 1 for a breaker without keys.
    #[must_use]
    pub fn len(&self) -> usize {
        self.core.counts.gauge.keys.load(Ordering::Relaxed) as usize
    }

    /// Whether no key was seen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys are open or half-open, the overflow bucket included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.core.counts.gauge.open() as usize
    }

    /// All that is known of the overflow bucket; `None` for a breaker without keys.
    #[must_use]
    pub fn overflow(&self) -> Option<Overflow> {
        self.core.directory.as_ref()?;
        let status = self.status_at(Place::SINGLE)?;
        Some(Overflow { status, calls: self.core.counts.overflowed.load(Ordering::Relaxed) })
    }

    /// Changes the mode of the overflow bucket; `false` for a breaker without keys.
    ///
    /// With [`Mode::ForcedClosed`], keys without room are let through unwatched instead of sharing one circuit.
    #[expect(clippy::must_use_candidate, reason = "its effect is the point")]
    pub fn set_overflow_mode(&self, mode: Mode) -> bool {
        self.core.directory.is_some() && self.change_at(Place::SINGLE, |machine| machine.set_mode(mode)).is_ok()
    }

    /// `None` if the key has left the place.
    fn status_at(&self, Place { index, tenancy }: Place) -> Option<Status> {
        let (slot, lines) = self.core.slot(index)?;
        let env = self.core.env();
        slot.view(tenancy, &self.core.ctx(lines, &env), env.now()).ok()
    }

    fn change_at(&self, place: Place, work: impl FnOnce(&mut Machine<'_>) -> Option<Transition>) -> Result<(), Moved> {
        let event = self.change_silently(place, &self.core.env(), work)?;
        // CORRECTNESS: the lock of the slot is released by now: an observer may use this handle.
        self.core.emit_event(place.index, event);
        Ok(())
    }

    /// Returns the event instead of emitting it.
    fn change_silently(
        &self,
        Place { index, tenancy }: Place,
        env: &CallEnv<'_>,
        work: impl FnOnce(&mut Machine<'_>) -> Option<Transition>,
    ) -> Result<Option<Box<Event>>, Moved> {
        let (slot, lines) = self.core.slot(index).ok_or(Moved)?;
        // CORRECTNESS: the tenancy is compared under the lock of the slot, so that a key which takes the place meanwhile keeps
        // its state.
        let ctx = self.core.ctx(lines, env);
        slot.locked_for(tenancy, &ctx, |machine| {
            let transition = work(machine);
            ctx.event(machine, transition)
        })
    }
}

impl<K: Hash + Eq> BreakerHandle<K> {
    /// What the next call for `key` would find.
    ///
    /// It is the truth at this moment: a breaker whose open time is over is [`State::HalfOpen`], although no call has
    /// found that out yet. A key without a state of its own is what the next call would make it: a new key, or, if
    /// there is no room, part of the overflow bucket.
    #[must_use]
    pub fn state<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> State
    where
        K: Borrow<Q>,
    {
        if let Some(status) = self.status(key) {
            return status.state;
        }
        if let Some(directory) = &self.core.directory {
            // Under the lock, for only its holder knows whether a new key fits.
            let writing = directory.write();
            if writing.has_room() {
                return writing.writer.mode.shows(State::Closed);
            }
        }
        self.status_at(Place::SINGLE).map_or(State::Closed, |status| status.state)
    }

    /// All that is known of `key`; `None` if it has no state of its own.
    #[must_use]
    pub fn status<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Status>
    where
        K: Borrow<Q>,
    {
        // A key that leaves at this very moment has no state of its own any more.
        self.status_at(self.core.place(key)?)
    }

    /// All that is known of all keys, the overflow bucket included.
    ///
    /// Each key is shown as it was at one moment; nothing waits for the snapshot, and keys that are added or removed
    /// meanwhile may be missing.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<K>
    where
        K: Clone,
    {
        let mut keys = Vec::with_capacity(self.len());
        let mut add = |key: &K, label, place| {
            if let Some(status) = self.status_at(place) {
                keys.push(KeyStatus { key: key.clone(), label, status });
            }
        };
        match (&self.core.directory, &self.core.only_key) {
            (Some(directory), _) => directory.for_each(|key, place| add(key, (self.core.label)(key), place)),
            (None, Some(key)) => add(key, self.core.name.clone(), Place::SINGLE),
            (None, None) => {}
        }
        let max_keys = self.core.directory.as_ref().map_or(1, Directory::max) as usize;
        Snapshot { keys, overflow: self.overflow(), open: self.open(), max_keys }
    }

    /// Changes the mode of `key`, which gets a state of its own if it has none; `false` if there is no room for one.
    ///
    /// It lasts until the mode is changed again, also while the key is idle. After [`Mode::ForcedOpen`] and
    /// [`Mode::ForcedClosed`] a key is closed with nothing counted; [`Mode::ObserveOnly`] keeps the state.
    pub fn set_mode<Q>(&self, key: &Q, mode: Mode) -> bool
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        loop {
            let place = self.core.place(key).or_else(|| {
                let directory = self.core.directory.as_ref()?;
                self.core.add(directory, key, &self.core.env())
            });
            match place.map(|place| self.change_at(place, |machine| machine.set_mode(mode))) {
                None => return false,
                Some(Ok(())) => return true,
                // The thread that removes a key holds the directory until the map no longer holds the key.
                Some(Err(Moved)) => drop(self.core.directory.as_ref().map(Directory::write)),
            }
        }
    }

    /// Changes the mode of every key, of the overflow bucket, and of all later keys.
    pub fn set_mode_of_all(&self, mode: Mode) {
        self.change_all(mode, |machine| machine.set_mode(mode));
    }

    /// Makes `key` closed in normal mode, with nothing counted; `false` if it has no state of its own.
    pub fn reset<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let place = self.core.place(key);
        place.is_some_and(|place| self.change_at(place, |machine| Some(machine.reset(Mode::Normal))).is_ok())
    }

    /// Makes every key and the overflow bucket closed in normal mode, and all later keys normal.
    pub fn reset_all(&self) {
        self.change_all(Mode::Normal, |machine| Some(machine.reset(Mode::Normal)));
    }

    /// Removes `key` and all that is known of it; `false` if it has no state of its own.
    ///
    /// A later call for it starts with nothing counted. Calls that are under way end as they would, but their results count for
    /// nothing: there is never a moment at which one key has two states. A breaker without keys keeps its only one.
    pub fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let Some(directory) = &self.core.directory else { return false };
        // CORRECTNESS: `env` before the lock: it may ask a subscriber, which is user code.
        let (env, mut writing) = (self.core.env(), directory.write());
        let removed = writing.remove(key, &self.core.ctx(&[], &env));
        self.core.release(writing);
        removed
    }

    /// Removes the keys that are idle, and says how many.
    ///
    /// The breaker does so by itself when new keys are added; a host whose keys have all been seen may want to call this
    /// now and then. See [`BreakerBuilder::idle`](crate::BreakerBuilder::idle) for what idle means.
    #[expect(clippy::must_use_candidate, reason = "its effect is the point")]
    pub fn expire_idle(&self) -> usize {
        let Some(directory) = &self.core.directory else { return 0 };
        // CORRECTNESS: `env` before the lock, as in `remove`.
        let (env, mut writing) = (self.core.env(), directory.write());
        let removed = writing.expire(env.now(), &self.core.ctx(&[], &env));
        self.core.release(writing);
        removed
    }

    fn change_all(&self, for_new: Mode, work: impl Fn(&mut Machine<'_>) -> Option<Transition>) {
        let (mut events, env) = (Vec::new(), self.core.env());
        let mut change = |place: Place| {
            if let Ok(Some(event)) = self.change_silently(place, &env, &work) {
                events.push((place.index, event));
            }
        };
        change(Place::SINGLE);
        if let Some(directory) = &self.core.directory {
            // CORRECTNESS: the mode of later keys and those of the keys that there are change under one lock, so that no key is
            // added in the old mode in between.
            let mut writing = directory.write();
            writing.writer.mode = for_new;
            directory.for_each(|_, place| change(place));
        }
        // Not before the directory is released: an observer may use a handle.
        for (index, event) in events {
            self.core.emit_event(index, Some(event));
        }
    }
}

impl<K> Clone for BreakerHandle<K> {
    fn clone(&self) -> Self {
        Self { core: Arc::clone(&self.core) }
    }
}

impl<K> fmt::Debug for BreakerHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerHandle").field("core", &self.core).finish_non_exhaustive()
    }
}
