//! All that the services, the futures and the handles of one breaker share.

use crate::{
    BreakerEvent,
    directory::{Directory, Place},
    env::{CallEnv, Clock, micros},
    gauge::Gauge,
    knobs::Knobs,
    label::KeyLabel,
    policy::Policy,
    recent::Id,
    slot::{Slot, SlotCtx},
    window::{Counters, Layout, Line},
};
use forebay_core::{Observe, chance, support::CachePadded};
use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// The shared state of a breaker with keys of type `K`.
pub(crate) struct Core<K> {
    pub(crate) policy: Policy,
    pub(crate) layout: Layout,
    /// The slot of a breaker without keys, or the overflow bucket of one with keys.
    pub(crate) single: CachePadded<Single>,
    /// `None` for a breaker without keys.
    pub(crate) directory: Option<Directory<K>>,
    pub(crate) observer: Option<Observer>,
    pub(crate) name: KeyLabel,
    pub(crate) label: fn(&K) -> KeyLabel,
    /// The key of a breaker without keys.
    pub(crate) only_key: Option<K>,
    pub(crate) clock: Clock,
    pub(crate) id: Id,
    pub(crate) counts: CachePadded<Counts>,
}

pub(crate) type Observer = Arc<dyn Observe<BreakerEvent> + Send + Sync>;

/// A slot with its windows over a time.
#[derive(Debug)]
pub(crate) struct Single {
    pub(crate) slot: Slot,
    pub(crate) lines: Box<[Line]>,
}

/// What is written now and then, apart from what every call reads.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) gauge: Gauge,
    /// The state of the generator of chance.
    pub(crate) draws: AtomicU64,
    /// Calls that the overflow bucket took.
    pub(crate) overflowed: AtomicU64,
}

// === impl Core ===

impl<K> Core<K> {
    #[inline(always)]
    pub(crate) fn slot(&self, index: u32) -> Option<(&Slot, &[Line])> {
        if index == Place::SINGLE.index {
            return Some((&self.single.slot, &self.single.lines));
        }
        self.directory.as_ref()?.slot(index)
    }

    pub(crate) fn ctx<'a>(&'a self, lines: &'a [Line], env: &'a CallEnv<'a>) -> SlotCtx<'a, CallEnv<'a>> {
        let counters = Counters { lines, layout: self.layout };
        SlotCtx { policy: &self.policy, gauge: &self.counts.gauge, counters, env, observed: env.observed }
    }

    /// Made before any lock is taken: whether events are wanted is for a subscriber of `tracing` to say, which is code of the
    /// user.
    pub(crate) fn env(&self) -> CallEnv<'_> {
        CallEnv::new(self.clock, &self.counts.draws, self.is_observed())
    }
}

impl<K: Hash + Eq> Core<K> {
    pub(crate) fn new(
        policy: Policy,
        knobs: Knobs,
        label: fn(&K) -> KeyLabel,
        only_key: Option<K>,
        observer: Option<Observer>,
    ) -> Self {
        let layout = Layout::new(policy.cells, knobs.stripes(policy.cells));
        let lines = layout.lines();
        let single = Single { slot: Slot::vacant(), lines: (0..lines).map(|_| Line::new()).collect() };
        let seed = knobs.seed.unwrap_or_else(chance::entropy);
        let directory = || Directory::new(knobs.max_keys, lines, micros(knobs.idle), knobs.mode);
        let core = Self {
            policy,
            layout,
            single: CachePadded::new(single),
            directory: knobs.keyed.then(directory),
            observer,
            name: knobs.name,
            label,
            only_key,
            clock: Clock::start(),
            id: Id::next(),
            counts: CachePadded::new(Counts { draws: AtomicU64::new(seed), ..Counts::default() }),
        };
        // Before the core is shared, so that no call finds the single slot vacant.
        core.single.slot.occupy(0, knobs.mode, None, &core.ctx(&core.single.lines, &core.env()));
        core.counts.gauge.keys.store(u32::from(!knobs.keyed), Ordering::Relaxed);
        core
    }

    /// Where the state of `key` is, if it has one of its own.
    pub(crate) fn place<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<Place>
    where
        K: Borrow<Q>,
    {
        match &self.directory {
            Some(directory) => directory.find(key),
            None => Some(Place::SINGLE),
        }
    }
}

impl<K> fmt::Debug for Core<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core").field("policy", &self.policy).field("name", &self.name).finish_non_exhaustive()
    }
}
