use crate::{
    KeyStatus, Mode, Overflow, Snapshot, State, Status,
    core::{Core, SINGLE},
    directory::{Directory, Place},
    slot::Moved,
    state::{Change, Machine, Told},
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
        self.core.busy.gauge.keys.load(Ordering::Relaxed) as usize
    }

    /// Whether no key was seen yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys are open or half-open, the overflow bucket included.
    #[must_use]
    pub fn open(&self) -> usize {
        self.core.busy.gauge.open() as usize
    }

    /// All that is known of the overflow bucket; `None` for a breaker without keys.
    #[must_use]
    pub fn overflow(&self) -> Option<Overflow> {
        self.core.directory.as_ref()?;
        let status = self.status_at(SINGLE, 0).ok()?;
        Some(Overflow { status, calls: self.core.busy.overflowed.load(Ordering::Relaxed) })
    }

    /// Changes the mode of the overflow bucket; `false` for a breaker without keys.
    ///
    /// With [`Mode::ForcedClosed`], keys without room are let through unwatched instead of sharing one circuit.
    #[expect(clippy::must_use_candidate, reason = "its effect is the point")]
    pub fn set_overflow_mode(&self, mode: Mode) -> bool {
        self.core.directory.is_some() && self.change_at(SINGLE, 0, |machine| machine.set_mode(mode)).is_ok()
    }

    fn status_at(&self, index: u32, tenancy: u32) -> Result<Status, Moved> {
        let (slot, lines) = self.core.slot(index).ok_or(Moved)?;
        let moment = self.core.moment();
        slot.view(tenancy, &self.core.around(lines, &moment), self.core.clock.now()).map(Status::new)
    }

    fn change_at(
        &self,
        index: u32,
        tenancy: u32,
        work: impl FnOnce(&mut Machine<'_>) -> Option<Change>,
    ) -> Result<(), Moved> {
        let told = self.change_quietly(index, tenancy, work)?;
        self.core.tell(index, told);
        Ok(())
    }

    fn change_quietly(
        &self,
        index: u32,
        tenancy: u32,
        work: impl FnOnce(&mut Machine<'_>) -> Option<Change>,
    ) -> Result<Option<Box<Told>>, Moved> {
        let (slot, lines) = self.core.slot(index).ok_or(Moved)?;
        let moment = self.core.moment();
        let around = self.core.around(lines, &moment);
        slot.locked_for(tenancy, &around, |machine| {
            let change = work(machine);
            around.tell(machine, change)
        })
    }
}

impl<K: Hash + Eq> BreakerHandle<K> {
    /// What the next call for `key` would find.
    ///
    /// It is the truth at this moment: a breaker whose open time is over is [`State::HalfOpen`], although no call has
    /// come yet to find out. A key without a state of its own is what the next call would make it: a new key, or, if
    /// there is no room, part of the overflow bucket.
    #[must_use]
    pub fn state<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> State
    where
        K: Borrow<Q>,
    {
        if let Some(status) = self.status(key) {
            return status.state;
        }
        let Some(directory) = &self.core.directory else { return State::Closed };
        let writer = directory.write();
        if directory.has_room(&writer) {
            return writer.mode.shows(State::Closed);
        }
        drop(writer);
        self.status_at(SINGLE, 0).map_or(State::Closed, |status| status.state)
    }

    /// All that is known of `key`; `None` if it has no state of its own.
    #[must_use]
    pub fn status<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Status>
    where
        K: Borrow<Q>,
    {
        let place = match &self.core.directory {
            Some(directory) => directory.find(key)?,
            None => Place { index: SINGLE, tenancy: 0 },
        };
        // A key that leaves at this very moment has no state of its own any more.
        self.status_at(place.index, place.tenancy).ok()
    }

    /// All that is known of all keys, the overflow bucket included.
    ///
    /// Each key is shown as it was at one moment; nothing waits for the snapshot, and keys that come or go meanwhile
    /// may be missing.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<K>
    where
        K: Clone,
    {
        let mut keys = Vec::with_capacity(self.len());
        let mut add = |key: &K, label, Place { index, tenancy }| {
            if let Ok(status) = self.status_at(index, tenancy) {
                keys.push(KeyStatus { key: key.clone(), label, status });
            }
        };
        match (&self.core.directory, &self.core.only_key) {
            (Some(directory), _) => directory.for_each(|key, place| add(key, (self.core.label)(key), place)),
            (None, Some(key)) => add(key, self.core.name.clone(), Place { index: SINGLE, tenancy: 0 }),
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
            let place = match &self.core.directory {
                Some(directory) => directory.find(key).or_else(|| self.core.add(directory, key, &self.core.moment())),
                None => Some(Place { index: SINGLE, tenancy: 0 }),
            };
            let Some(Place { index, tenancy }) = place else { return false };
            match self.change_at(index, tenancy, |machine| machine.set_mode(mode)) {
                Ok(()) => return true,
                Err(Moved) => self.await_writer(),
            }
        }
    }

    /// Changes the mode of every key, of the overflow bucket, and of all keys to come.
    pub fn set_mode_of_all(&self, mode: Mode) {
        self.change_all(Some(mode), |machine| machine.set_mode(mode));
    }

    /// Makes `key` closed in normal mode, with nothing counted; `false` if it has no state of its own.
    pub fn reset<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let place = match &self.core.directory {
            Some(directory) => directory.find(key),
            None => Some(Place { index: SINGLE, tenancy: 0 }),
        };
        place.is_some_and(|Place { index, tenancy }| {
            self.change_at(index, tenancy, |machine| Some(machine.reset(Mode::Normal))).is_ok()
        })
    }

    /// Makes every key and the overflow bucket closed in normal mode, and all keys to come normal.
    pub fn reset_all(&self) {
        self.change_all(Some(Mode::Normal), |machine| Some(machine.reset(Mode::Normal)));
    }

    /// Removes `key` and all that is known of it; `false` if it has no state of its own.
    ///
    /// A later call for it starts afresh. Calls that are under way end as they would, but their results count for
    /// nothing: there is never a moment at which one key has two states. A breaker without keys keeps its only one.
    pub fn remove<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let Some(directory) = &self.core.directory else { return false };
        let moment = self.core.moment();
        let mut writer = directory.write();
        let removed = directory.remove(&mut writer, key, &self.core.around(&[], &moment));
        self.core.release(writer);
        removed
    }

    /// Removes the keys that are idle, and says how many.
    ///
    /// The breaker does so by itself when new keys come; a host whose keys have all been seen may want to call this
    /// now and then. See [`BreakerBuilder::idle`](crate::BreakerBuilder::idle) for what idle means.
    #[expect(clippy::must_use_candidate, reason = "its effect is the point")]
    pub fn expire_idle(&self) -> usize {
        let Some(directory) = &self.core.directory else { return 0 };
        let moment = self.core.moment();
        let mut writer = directory.write();
        let removed = directory.expire(&mut writer, self.core.clock.now(), &self.core.around(&[], &moment));
        self.core.release(writer);
        removed
    }

    fn change_all(&self, for_new: Option<Mode>, work: impl Fn(&mut Machine<'_>) -> Option<Change>) {
        let mut told = Vec::new();
        {
            let mut writer = self.core.directory.as_ref().map(Directory::write);
            if let (Some(writer), Some(mode)) = (&mut writer, for_new) {
                writer.mode = mode;
            }
            let mut change = |Place { index, tenancy }| {
                if let Ok(Some(change)) = self.change_quietly(index, tenancy, &work) {
                    told.push((index, change));
                }
            };
            change(Place { index: SINGLE, tenancy: 0 });
            if let Some(directory) = &self.core.directory {
                directory.for_each(|_, place| change(place));
            }
        }
        // Not before the directory is released: an observer may use a handle.
        for (index, told) in told {
            self.core.tell(index, Some(told));
        }
    }

    /// Whoever removes a key holds the directory until the key is gone.
    fn await_writer(&self) {
        if let Some(directory) = &self.core.directory {
            drop(directory.write());
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
