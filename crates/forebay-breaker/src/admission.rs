//! Decides on a call where no fast path does.

use crate::{
    BreakerEvent, CircuitOpen, Mode,
    admitted::Admitted,
    core::Core,
    decision::Decision,
    directory::{Directory, Place},
    env::CallEnv,
    label::KeyLabel,
    observation::Grade,
    refusal::Refusal,
    slot::{Env, Moved},
    state::Event,
};
use std::{
    borrow::Borrow,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::Ordering,
};

// === impl Core ===

impl<K> Core<K> {
    /// Decides on a call of a breaker without keys.
    #[cold]
    pub(crate) fn admit(&self) -> Result<Admitted, Box<CircuitOpen>> {
        self.admit_at_single(|| self.name.clone())
    }

    fn admit_at_single(&self, label: impl FnOnce() -> KeyLabel) -> Result<Admitted, Box<CircuitOpen>> {
        let (env, Place { index, tenancy }) = (self.env(), Place::SINGLE);
        match self.single.slot.admit(tenancy, &self.ctx(&self.single.lines, &env)) {
            Ok(decided) => self.conclude(index, decided, label, &env),
            // No key ever leaves the single slot.
            Err(Moved) => Ok(Admitted::BYPASS),
        }
    }

    fn conclude(
        &self,
        index: u32,
        (decision, event): (Decision, Option<Box<Event>>),
        label: impl FnOnce() -> KeyLabel,
        env: &CallEnv<'_>,
    ) -> Result<Admitted, Box<CircuitOpen>> {
        if event.is_some()
            && let Err(payload) = catch_unwind(AssertUnwindSafe(|| self.emit_event(index, event)))
        {
            // CANCEL: an observer that panics ends the call before it has begun. The permit of a probe is given back here.
            if let Decision::Admit(ticket) = decision {
                self.settle(&Admitted::new(index, ticket, 0), Grade::Ignored, None, None);
            }
            resume_unwind(payload);
        }
        match decision {
            Decision::Admit(ticket) => {
                let started = if self.policy.stopwatch { env.now() } else { 0 };
                Ok(Admitted::new(index, ticket, started))
            }
            Decision::Refuse(refusal) if refusal.mode() == Mode::ObserveOnly => {
                self.emit_rejected(refusal, label);
                Ok(Admitted::BYPASS)
            }
            Decision::Refuse(refusal) => Err(self.reject(refusal, label)),
            // The state machine under the lock leaves no decision open.
            Decision::Undecided => Ok(Admitted::BYPASS),
        }
    }

    /// The error of a call that is refused.
    #[inline]
    pub(crate) fn reject(&self, refusal: Refusal, label: impl FnOnce() -> KeyLabel) -> Box<CircuitOpen> {
        if self.observer.is_some() {
            return self.reject_observed(refusal, label());
        }
        // Made in its place: it is seven registers wide. `rivals --area breaker`, forced open, 20.6 ns in place, 24.9 ns moved
        // (2026-11-30).
        Box::write(Box::<CircuitOpen>::new_uninit(), CircuitOpen::new(label(), refusal))
    }

    #[cold]
    #[inline(never)]
    fn reject_observed(&self, refusal: Refusal, label: KeyLabel) -> Box<CircuitOpen> {
        self.emit_rejected(refusal, || label.clone());
        Box::new(CircuitOpen::new(label, refusal))
    }

    /// The error of a call that is refused by a breaker without keys.
    #[inline(never)]
    pub(crate) fn reject_unkeyed(&self, refusal: Refusal) -> Box<CircuitOpen> {
        self.reject(refusal, || self.name.clone())
    }
}

impl<K: Hash + Eq> Core<K> {
    /// Decides on a call for `key`, which was found at `place`.
    #[cold]
    pub(crate) fn admit_for<Q>(
        &self,
        mut place: Option<Place>,
        key: &Q,
        label: fn(&Q) -> KeyLabel,
    ) -> Result<Admitted, Box<CircuitOpen>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let Some(directory) = &self.directory else { return self.admit() };
        let env = self.env();
        loop {
            let Some(Place { index, tenancy }) = place.or_else(|| self.add(directory, key, &env)) else {
                self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
                self.emit(|| BreakerEvent::Overflow { key: label(key) });
                return self.admit_at_single(|| label(key));
            };
            let Some((slot, lines)) = directory.slot(index) else { return Ok(Admitted::BYPASS) };
            directory.touch(slot);
            if let Ok(decided) = slot.admit(tenancy, &self.ctx(lines, &env)) {
                return self.conclude(index, decided, || label(key), &env);
            }
            // The key was removed after it was found. The thread that removes it holds the lock until the map no longer holds the key.
            drop(directory.write());
            place = directory.find(key);
        }
    }

    /// Finds a place for a key that was not found; `None` where there is no room.
    pub(crate) fn add<Q>(&self, directory: &Directory<K>, key: &Q, env: &CallEnv<'_>) -> Option<Place>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        let (ctx, keys) = (self.ctx(&[], env), self.counts.gauge.keys.load(Ordering::Relaxed));
        let mut writing = directory.try_write(keys)?;
        if writing.writer.is_round_due(env.now()) {
            writing.expire(env.now(), &ctx);
        }
        let has_room = writing.has_room();
        self.release(writing);
        if !has_room {
            return directory.find(key);
        }
        // The key is copied and named while no lock is held, for both run code of the user. A copy that is not needed is
        // dropped after the lock is released.
        let mut copy = Some(key.to_owned());
        let label = copy.as_ref().filter(|_| env.observed).map(self.label);
        let mut writing = directory.write();
        match writing.find(key) {
            None if writing.has_room() => writing.add(copy.take()?, label, &ctx),
            found => found,
        }
    }
}
