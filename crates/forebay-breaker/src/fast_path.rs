//! What a call of a healthy breaker costs: one word before it, one word after it.
//!
//! Inlined on purpose: left to the compiler, a program that uses one breaker type in more than one place paid 16 ns for a closed
//! call where it pays 5.

use crate::{
    Mode,
    admitted::Admitted,
    core::Core,
    decision::Decision,
    directory::Place,
    refusal::Refusal,
    word::{Pattern, Word},
};
use std::{borrow::Borrow, hash::Hash};

// === impl Core ===

impl<K> Core<K> {
    /// Whether the word of the single slot alone lets a call through.
    #[inline(always)]
    pub(crate) fn is_closed(&self) -> bool {
        self.single.slot.word().is(Pattern::CLOSED)
    }

    /// Lets a call of a breaker without keys through, if the word alone says so.
    #[inline(always)]
    pub(crate) fn try_fast_path(&self) -> Option<Admitted> {
        // CORRECTNESS: one load decides. A circuit that opens between it and the call is one that opened just after the call.
        let word = self.single.slot.word();
        word.is(Pattern::CLOSED).then(|| self.admit_by(word, Place::SINGLE.index))
    }

    /// Whether a call on the single slot would be refused now, whatever else happens until then.
    #[inline(always)]
    pub(crate) fn refusal(&self) -> Option<Refusal> {
        let word = self.single.slot.word();
        if word.is(Pattern::OPEN) {
            let wait = word.until().saturating_sub(self.clock.now());
            return (wait > 0).then(|| Refusal::new(word, wait));
        }
        self.refusal_by(word)
    }

    #[cold]
    #[inline(never)]
    fn refusal_by(&self, word: Word) -> Option<Refusal> {
        match word.decide(|| self.clock.now(), &self.policy) {
            Decision::Refuse(refusal) if refusal.mode() != Mode::ObserveOnly => Some(refusal),
            Decision::Refuse(_) | Decision::Admit(_) | Decision::Undecided => None,
        }
    }

    /// A call that the word alone lets through.
    #[inline(always)]
    fn admit_by(&self, word: Word, index: u32) -> Admitted {
        // Only where the word is not empty may the policy ask for a stopwatch.
        let started = if word.is(Pattern::EMPTY) || !self.policy.stopwatch { 0 } else { self.started() };
        Admitted::ordinary(word, index, started)
    }

    #[inline(never)]
    fn started(&self) -> u64 {
        self.clock.now()
    }
}

impl<K: Hash + Eq> Core<K> {
    /// Lets a call for `key` through, if the word alone says so; else says where to ask, if that is known.
    #[inline(always)]
    pub(crate) fn try_fast_path_for<Q>(&self, key: &Q) -> Result<Admitted, Option<Place>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let place = self.directory.as_ref().and_then(|directory| directory.find(key));
        if let (Some(place), Some(directory)) = (place, &self.directory)
            && let Some((slot, _)) = directory.slot(place.index)
        {
            let word = slot.word();
            // CORRECTNESS: the tenancy after the word, as in `Slot::admit`.
            if word.is(Pattern::CLOSED) && slot.tenancy() == place.tenancy {
                directory.touch(slot);
                return Ok(self.admit_by(word, place.index));
            }
        }
        Err(place)
    }
}
