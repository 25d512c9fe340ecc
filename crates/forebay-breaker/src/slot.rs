//! The state machine of one key, shared by many threads.
//!
//! Every thread reads the word. While closed, failures in a row are counted by exchanging it; everything else happens under the
//! lock, whose holder marks the word as held, so that the two ways never cross.

use crate::{
    Mode, Reason,
    decision::{Decision, Pass, Ticket},
    gauge::Gauge,
    label::KeyLabel,
    observation::{Grade, Observation},
    policy::{Policy, TimeWindow, Window},
    snapshot::Status,
    state::{Detail, Event, Machine, SettleCtx, Transition},
    window::Counters,
    word::{Shortcut, Word},
};
use forebay_core::support::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU32, AtomicU64, Ordering},
};

/// One key's state: 32 bytes while it is healthy and its windows are not over a number of calls.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The packed state, which every call reads.
    word: AtomicU64,
    /// Counts the keys that have had this place, one after the other.
    tenancy: AtomicU32,
    /// The round of the sweep in which the key was last used.
    pub(crate) used: AtomicU32,
    /// What does not fit into the word.
    detail: Mutex<Option<Box<Detail>>>,
}

/// What a slot needs of the breaker that it belongs to.
#[derive(Debug)]
pub(crate) struct SlotCtx<'a, E> {
    pub(crate) policy: &'a Policy,
    pub(crate) gauge: &'a Gauge,
    /// The slot's windows over a time.
    pub(crate) counters: Counters<'a>,
    pub(crate) env: &'a E,
    /// Whether an observer or a subscriber wants events.
    pub(crate) observed: bool,
}

/// Time, chance and place, which the pure state does not have. Each is asked only where it matters.
pub(crate) trait Env {
    /// Microseconds since the breaker was built; the same however often it is asked for one call.
    fn now(&self) -> u64;

    /// Uniform over all values.
    fn draw(&self) -> u64;

    /// Which stripe of counters this thread uses; any number.
    fn stripe(&self) -> usize;
}

/// The place belongs to another key by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved;

// === impl Slot ===

impl Slot {
    pub(crate) fn vacant() -> Self {
        Self { word: AtomicU64::new(0), tenancy: AtomicU32::new(0), used: AtomicU32::new(0), detail: Mutex::new(None) }
    }

    /// Acquire, paired with the release in [`locked`](Self::locked): a call that reads a word finds everything that led to it.
    #[inline(always)]
    pub(crate) fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    #[inline(always)]
    pub(crate) fn tenancy(&self) -> u32 {
        self.tenancy.load(Ordering::Acquire)
    }

    /// Decides on a call where no fast path did.
    pub(crate) fn admit<E: Env>(
        &self,
        tenancy: u32,
        ctx: &SlotCtx<'_, E>,
    ) -> Result<(Decision, Option<Box<Event>>), Moved> {
        let decision = self.word().decide(|| ctx.env.now(), ctx.policy);
        // CORRECTNESS: the tenancy is read after the word. A next tenant changes the tenancy before the word, so a word of
        // the next tenant is never taken for that of this one.
        if self.tenancy() != tenancy {
            return Err(Moved);
        }
        if decision != Decision::Undecided {
            return Ok((decision, None));
        }
        let now = ctx.env.now();
        self.locked_for(tenancy, ctx, |machine| {
            let (decision, transition) = machine.admit(now);
            (decision, ctx.event(machine, transition))
        })
    }

    /// Takes in the result of a call.
    pub(crate) fn settle<E: Env>(
        &self,
        ticket: Ticket,
        observed: &Observation,
        ctx: &SlotCtx<'_, E>,
    ) -> Option<Box<Event>> {
        let word = self.word();
        // A first look without the lock; the machine looks again.
        if word.generation() != ticket.word.generation() || ticket.pass == Pass::Bypass {
            return None;
        }
        let mut tripped = None;
        if ticket.pass == Pass::Ordinary {
            if observed.grade == Grade::Ignored || !word.counts() {
                return None;
            }
            tripped = ctx.record(observed, word);
            if tripped.is_none() && self.take_shortcut(ticket, word, observed, ctx.policy) {
                return None;
            }
        }
        let settle = SettleCtx { now: ctx.env.now(), draw: ctx.env.draw(), tripped };
        self.locked(ctx, |machine| {
            let transition = machine.settle(ticket, observed, settle, || ctx.gauge.take(ctx.policy));
            ctx.event(machine, transition)
        })
    }

    /// Counts failures in a row without the lock; `false` where that is not all there is to do.
    fn take_shortcut(&self, ticket: Ticket, mut word: Word, observed: &Observation, policy: &Policy) -> bool {
        loop {
            let next = match word.shortcut(observed, policy) {
                Shortcut::Nothing => return true,
                Shortcut::Ask => return false,
                Shortcut::Swap(next) => next,
            };
            // CORRECTNESS: a compare-and-swap, so that a word that is held, or has moved on, since it was read is left alone.
            match self.word.compare_exchange_weak(word.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(changed) => word = Word(changed),
            }
            if word.generation() != ticket.word.generation() {
                return true;
            }
        }
    }

    /// Runs `work` on the whole state, which no other thread changes meanwhile.
    pub(crate) fn locked<E, T>(&self, ctx: &SlotCtx<'_, E>, work: impl FnOnce(&mut Machine<'_>) -> T) -> T {
        let mut detail = self.lock();
        // CORRECTNESS: a thread that counts failures without the lock exchanges the very word that it has read. The mark
        // makes that exchange fail until the word is published again below.
        let word = Word(self.word.fetch_or(Word::HELD, Ordering::AcqRel) & !Word::HELD);
        let mut machine = Machine { word, detail: &mut detail, policy: ctx.policy };
        let out = work(&mut machine);
        let after = machine.word;
        // CORRECTNESS: the gauge goes down before the word shows it, so it is never above the truth for long.
        if !word.counts() && after.counts() {
            ctx.gauge.give_back();
        }
        self.word.store(after.0, Ordering::Release);
        drop(detail);
        out
    }

    /// As [`locked`](Self::locked), unless the place belongs to another key by now.
    pub(crate) fn locked_for<E, T>(
        &self,
        tenancy: u32,
        ctx: &SlotCtx<'_, E>,
        work: impl FnOnce(&mut Machine<'_>) -> T,
    ) -> Result<T, Moved> {
        self.locked(ctx, |machine| if self.tenancy() == tenancy { Ok(work(machine)) } else { Err(Moved) })
    }

    /// What a call would find at `now`; nothing is changed.
    pub(crate) fn view<E>(&self, tenancy: u32, ctx: &SlotCtx<'_, E>, now: u64) -> Result<Status, Moved> {
        let mut detail = self.lock();
        if self.tenancy() != tenancy {
            return Err(Moved);
        }
        let word = Word(self.word().0 & !Word::HELD);
        let tally = |window: &TimeWindow| ctx.counters.tally(window, word.generation(), now);
        Ok(Machine { word, detail: &mut detail, policy: ctx.policy }.view(now, tally))
    }

    /// Whether nothing that is known of the key at `now` would be missed, if new keys start in mode `usual`.
    pub(crate) fn is_idle<E>(&self, now: u64, idle: u64, usual: Mode, ctx: &SlotCtx<'_, E>) -> bool {
        self.locked(ctx, |machine| machine.is_idle(now, idle, usual))
    }

    /// Gives the place to a key.
    pub(crate) fn occupy<E>(&self, round: u32, mode: Mode, label: Option<KeyLabel>, ctx: &SlotCtx<'_, E>) -> u32 {
        self.used.store(round, Ordering::Relaxed);
        self.locked(ctx, |machine| machine.occupy(mode, label));
        self.tenancy()
    }

    /// Takes the place from its key. Results of calls that are under way for it are late from now on.
    pub(crate) fn vacate<E>(&self, ctx: &SlotCtx<'_, E>) -> Option<Box<Event>> {
        self.locked(ctx, |machine| {
            // CORRECTNESS: the tenancy changes before the word, so that a thread that reads a later word finds a later
            // tenancy.
            self.tenancy.store(self.tenancy().wrapping_add(1), Ordering::Release);
            let label = machine.label().cloned();
            let transition = machine.vacate();
            ctx.event(machine, transition).map(|event| Box::new(Event { label, ..*event }))
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Detail>>> {
        // No user code runs under the lock, and nothing else panics there but a broken allocator. What that leaves behind is
        // a state of the machine.
        self.detail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl SlotCtx ===

impl<E> SlotCtx<'_, E> {
    /// The event of a transition that `machine` has just made, if one is wanted.
    pub(crate) fn event(&self, machine: &Machine<'_>, transition: Option<Transition>) -> Option<Box<Event>> {
        transition.filter(|_| self.observed).map(|transition| Box::new(machine.event(transition)))
    }
}

impl<E: Env> SlotCtx<'_, E> {
    /// Records the result in every window over a time, and asks the rules to which it is bad.
    #[inline]
    fn record(&self, observed: &Observation, word: Word) -> Option<Reason> {
        if self.policy.cells == 0 {
            return None;
        }
        let (now, stripe) = (self.env.now(), self.counters.stripe(self.env.stripe()));
        let mut tripped = None;
        for rule in self.policy.rules.iter().filter(|rule| rule.counts(observed)) {
            let Window::Time(window) = &rule.window else { continue };
            let bad = rule.is_bad(observed);
            self.counters.record(window, stripe, word.generation(), now, bad);
            if bad && tripped.is_none() {
                tripped = rule.tripped(self.counters.tally(window, word.generation(), now));
            }
        }
        tripped
    }
}
