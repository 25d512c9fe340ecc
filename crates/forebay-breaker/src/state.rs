//! The state machine of one key. Pure: no clock, no lock, no randomness; time and draws come in as arguments.
//!
//! ```text
//!             a rule trips                   open time over
//!   ┌────────┐ ─────────────────► ┌──────┐ ─────────────────► ┌──────────┐
//!   │ Closed │                    │ Open │                    │ HalfOpen │
//!   └────────┘ ◄──┐               └──────┘ ◄───────────────── └──────────┘
//!       ▲         │                   ▲      one probe failed       │
//!       │ ramp over                   │ a rule trips                │ enough probes succeeded
//!       │      ┌─────────┐            │                             │
//!       └───── │ Ramping │ ───────────┘                             │
//!              └─────────┘ ◄────────────────────────────────────────┘
//! ```
//!
//! Each arrow but "ramp over" starts a new generation. A result counts only in the generation that admitted it.

use crate::{
    Mode, Reason, State,
    label::KeyLabel,
    policy::{Policy, Tally, WHOLE},
    ring::Ring,
    word::{Peek, SOON, Word},
};

/// One key: the word that everybody reads, and the rest, which stands behind a lock.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    pub(crate) word: Word,
    pub(crate) detail: &'a mut Option<Box<Detail>>,
    pub(crate) policy: &'a Policy,
}

/// What does not fit into the word; a healthy key of a simple policy has none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detail {
    /// How often it opened since it was last closed for good.
    openings: u32,
    probes: Vec<Lease>,
    last_probe: u32,
    successes: u32,
    ramp_since: u64,
    /// What the ramp has allowed and nobody has used yet, in parts per million of a call.
    ramp_credit: u32,
    rings: Box<[Ring]>,
    label: Option<KeyLabel>,
}

/// The right of one call to be a probe.
#[derive(Clone, Copy, Debug)]
struct Lease {
    probe: u32,
    until: u64,
}

/// What an admitted call brings back with its result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket {
    /// The word that admitted it.
    pub(crate) word: Word,
    pub(crate) pass: Pass,
}

/// As what a call was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    Ordinary,
    Probe(u32),
    /// Its result counts for nothing.
    Bypass,
}

/// The result of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) mark: Mark,
    /// How many microseconds it took, where the policy asks.
    pub(crate) took: Option<u64>,
    /// How many microseconds the far side asked to be left alone.
    pub(crate) hint: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Success,
    Failure,
    /// It was given up: slow, and neither a success nor a failure.
    Slow,
    Ignored,
}

/// What to do with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Admit(Ticket),
    /// Not for this many microseconds.
    Refuse(u64),
}

/// What an observer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    State {
        from: State,
        to: State,
        reason: Reason,
    },
    /// So many probes outlived their leases.
    ProbesLost(u32),
    /// It would have opened, but too many others are open.
    HeldBack(Reason),
}

/// A change, and all that an observer wants to know of it, taken while nobody else could change more.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) change: Change,
    pub(crate) label: Option<KeyLabel>,
    pub(crate) mode: Mode,
    pub(crate) generation: u32,
}

/// What a caller of [`Machine::settle`] knows and the machine does not.
pub(crate) struct Surroundings<'a> {
    pub(crate) now: u64,
    /// Uniform over all values; consumed when it opens.
    pub(crate) draw: u64,
    /// A rule over a time that tripped on this result.
    pub(crate) tripped: Option<Reason>,
    /// Takes the right to be open.
    pub(crate) may_open: &'a mut dyn FnMut() -> bool,
}

/// A view for a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) state: State,
    pub(crate) mode: Mode,
    pub(crate) generation: u32,
    pub(crate) streak: u32,
    pub(crate) probes: u32,
    pub(crate) successes: u32,
    pub(crate) openings: u32,
    pub(crate) wait: Option<u64>,
    /// The windows over a number of calls, in the order of their rules.
    pub(crate) rings: Vec<Tally>,
    /// All windows, in the order of the rules.
    pub(crate) windows: Vec<Tally>,
}

// === impl Machine ===

impl Machine<'_> {
    /// Decides on one call.
    pub(crate) fn admit(&mut self, now: u64) -> (Verdict, Option<Change>) {
        match self.word.peek(|| now, self.policy) {
            Peek::Admit => (self.ticket(Pass::Ordinary), None),
            Peek::Bypass => (self.ticket(Pass::Bypass), None),
            Peek::Refuse(wait) => (Verdict::Refuse(wait), None),
            Peek::Ask if self.word.state() == State::Ramping => self.admit_ramping(now),
            Peek::Ask => {
                let change = match self.word.state() {
                    State::Open => Some(self.half_open()),
                    _ => self.expire_leases(now),
                };
                (self.admit_probe(now), change)
            }
        }
    }

    /// ## Open => HalfOpen
    fn half_open(&mut self) -> Change {
        let detail = self.detail.get_or_insert_default();
        detail.successes = 0;
        detail.probes.clear();
        self.turn(State::HalfOpen, 0, Reason::OpenTimeOver)
    }

    /// ## HalfOpen => HalfOpen
    fn admit_probe(&mut self, now: u64) -> Verdict {
        let detail = self.detail.get_or_insert_default();
        if detail.probes.len() < self.policy.probes as usize {
            detail.last_probe = detail.last_probe.wrapping_add(1);
            let probe = detail.last_probe;
            detail.probes.push(Lease { probe, until: now.saturating_add(self.policy.lease) });
            self.word = self.word.with_payload(detail.all_out_until(self.policy));
            return self.ticket(Pass::Probe(probe));
        }
        let wait = detail.first_lease_end().saturating_sub(now).clamp(1, SOON);
        Verdict::Refuse(wait)
    }

    /// Leases that have ended make room for other probes, and their results will be late.
    fn expire_leases(&mut self, now: u64) -> Option<Change> {
        let detail = self.detail.get_or_insert_default();
        let before = detail.probes.len();
        detail.probes.retain(|lease| lease.until > now);
        let lost = u32::try_from(before - detail.probes.len()).unwrap_or(u32::MAX);
        self.word = self.word.with_payload(detail.all_out_until(self.policy));
        (lost > 0).then_some(Change::ProbesLost(lost))
    }

    /// ## Ramping => (Ramping | Closed)
    fn admit_ramping(&mut self, now: u64) -> (Verdict, Option<Change>) {
        let change = self.end_ramp(now);
        if self.word.state() == State::Closed {
            return (self.ticket(Pass::Ordinary), change);
        }
        let (Some(plan), Some(detail)) = (&self.policy.ramp, &mut self.detail) else {
            return (self.ticket(Pass::Ordinary), change);
        };
        let since = now.saturating_sub(detail.ramp_since);
        // Each call brings its share of a right to pass; a whole one is spent. So the share is exact, without chance.
        detail.ramp_credit += plan.share(since);
        if detail.ramp_credit >= WHOLE {
            detail.ramp_credit -= WHOLE;
            return (self.ticket(Pass::Ordinary), change);
        }
        let wait = plan.over.saturating_sub(since).clamp(1, SOON);
        (Verdict::Refuse(wait), change)
    }

    fn end_ramp(&mut self, now: u64) -> Option<Change> {
        let over = self.ramp_left(now)? == 0;
        over.then(|| {
            // The generation stays: what was admitted while ramping is news of the closed state, too.
            self.word = self.word.turned(State::Closed);
            self.forget();
            Change::State { from: State::Ramping, to: State::Closed, reason: Reason::RampOver }
        })
    }

    fn ramp_left(&self, now: u64) -> Option<u64> {
        if self.word.state() != State::Ramping {
            return None;
        }
        let (Some(plan), Some(detail)) = (&self.policy.ramp, &*self.detail) else { return Some(0) };
        Some(plan.over.saturating_sub(now.saturating_sub(detail.ramp_since)))
    }

    fn ticket(&self, pass: Pass) -> Verdict {
        Verdict::Admit(Ticket { word: self.word, pass })
    }

    /// Takes in the result of a call that was admitted with `ticket`.
    pub(crate) fn settle(&mut self, ticket: Ticket, done: &Done, around: &mut Surroundings<'_>) -> Option<Change> {
        // CORRECTNESS: a result of another generation is news of a state that is gone; it moves nothing.
        if ticket.word.generation() != self.word.generation() {
            return None;
        }
        match ticket.pass {
            Pass::Bypass => None,
            Pass::Probe(probe) => self.settle_probe(probe, done, around),
            Pass::Ordinary if self.word.counts() => self.settle_ordinary(done, around),
            Pass::Ordinary => None,
        }
    }

    /// ## HalfOpen => (HalfOpen | Open | Ramping | Closed)
    fn settle_probe(&mut self, probe: u32, done: &Done, around: &Surroundings<'_>) -> Option<Change> {
        let detail = self.detail.as_mut()?;
        // CORRECTNESS: a probe whose lease went to another one is as late as a result of another generation.
        let held = detail.probes.iter().position(|lease| lease.probe == probe)?;
        detail.probes.swap_remove(held);
        self.word = self.word.with_payload(detail.all_out_until(self.policy));
        match done.mark {
            Mark::Ignored => return None,
            Mark::Failure => return Some(self.open(Reason::ProbeFailed, done, around)),
            Mark::Slow => return Some(self.open(Reason::ProbeSlow, done, around)),
            Mark::Success if self.policy.is_slow(done) => return Some(self.open(Reason::ProbeSlow, done, around)),
            Mark::Success => detail.successes += 1,
        }
        (detail.successes >= self.policy.close_after).then(|| self.close(around.now))
    }

    /// ## (Closed | Ramping) => (itself | Open)
    fn settle_ordinary(&mut self, done: &Done, around: &mut Surroundings<'_>) -> Option<Change> {
        let mut tripped = around.tripped;
        if let Some(streak) = done.streak_after(self.word.streak(), self.policy) {
            self.word = self.word.with_streak(streak);
            if streak >= self.policy.streak {
                tripped = Some(Reason::Consecutive { failures: streak.into() });
            }
        }
        if self.policy.rings > 0 {
            tripped = tripped.or(self.count(done));
        }
        let reason = tripped?;
        if !(around.may_open)() {
            return Some(Change::HeldBack(reason));
        }
        Some(self.open(reason, done, around))
    }

    /// Records the result in every window over a number of calls.
    fn count(&mut self, done: &Done) -> Option<Reason> {
        let policy = self.policy;
        let detail = self.detail.get_or_insert_default();
        if detail.rings.is_empty() {
            detail.rings = policy.rings().map(|(_, calls)| Ring::new(calls)).collect();
        }
        let mut tripped = None;
        for (ring, (rule, _)) in detail.rings.iter_mut().zip(policy.rings()) {
            if rule.counts(done) {
                let bad = rule.is_bad(done);
                ring.push(bad);
                if bad && tripped.is_none() && rule.trips(ring.tally()) {
                    tripped = Some(Reason::of(rule, ring.tally()));
                }
            }
        }
        let settled = detail.rings.iter().all(Ring::is_settled);
        self.word = self.word.with_unsettled(!settled);
        tripped
    }

    /// ## any => Open, with a fresh timer
    fn open(&mut self, reason: Reason, done: &Done, around: &Surroundings<'_>) -> Change {
        let detail = self.detail.get_or_insert_default();
        detail.openings = detail.openings.saturating_add(1);
        detail.probes.clear();
        let wait = self.policy.open.draw(detail.openings, done.hint, around.draw);
        let until = around.now.saturating_add(wait).div_ceil(1000).min(Word::LATEST);
        self.turn(State::Open, until, reason)
    }

    /// ## HalfOpen => (Ramping | Closed)
    fn close(&mut self, now: u64) -> Change {
        let state = if self.policy.ramp.is_some() { State::Ramping } else { State::Closed };
        let change = self.turn(state, Word::fresh(self.policy), Reason::ProbesSucceeded);
        if state == State::Closed {
            self.forget();
        }
        if let Some(detail) = &mut *self.detail {
            detail.clear();
            detail.ramp_since = now;
            // The first call goes through, whatever its share.
            detail.ramp_credit = WHOLE;
        }
        change
    }

    fn turn(&mut self, to: State, payload: u64, reason: Reason) -> Change {
        let from = self.word.state();
        self.word = self.word.next(to, payload);
        Change::State { from, to, reason }
    }

    /// Closed for good: what is kept beyond the word must be needed by the policy.
    fn forget(&mut self) {
        let Some(detail) = &mut *self.detail else { return };
        detail.openings = 0;
        if detail.rings.is_empty() && detail.label.is_none() {
            *self.detail = None;
        }
    }

    /// Changes the mode. Forcing, and ending it, starts afresh; merely observing keeps the state.
    pub(crate) fn set_mode(&mut self, mode: Mode) -> Option<Change> {
        let before = self.word.mode();
        if mode == before {
            return None;
        }
        let shown = before.shows(self.word.state());
        let forces = |mode| matches!(mode, Mode::ForcedOpen | Mode::ForcedClosed);
        if forces(mode) || forces(before) {
            self.restart();
        }
        self.word = self.word.with_mode(mode);
        Some(Change::State { from: shown, to: mode.shows(self.word.state()), reason: Reason::Forced })
    }

    /// Closed, in this mode, with nothing counted and nothing remembered.
    pub(crate) fn reset(&mut self, mode: Mode) -> Change {
        let from = self.word.mode().shows(self.word.state());
        self.restart();
        self.word = self.word.with_mode(mode);
        Change::State { from, to: mode.shows(State::Closed), reason: Reason::Reset }
    }

    fn restart(&mut self) {
        self.word = self.word.next(State::Closed, Word::fresh(self.policy));
        self.forget();
        if let Some(detail) = &mut *self.detail {
            detail.clear();
        }
    }

    /// Leaves nothing of the key behind but a newer generation.
    pub(crate) fn vacate(&mut self) -> Option<Change> {
        let from = self.word.mode().shows(self.word.state());
        *self.detail = None;
        self.restart();
        (from != State::Closed).then_some(Change::State { from, to: State::Closed, reason: Reason::Removed })
    }

    /// Gives a vacated place to another key.
    pub(crate) fn occupy(&mut self, mode: Mode, label: Option<KeyLabel>) {
        self.word = self.word.next(State::Closed, Word::fresh(self.policy)).with_mode(mode);
        *self.detail = label.map(|label| Box::new(Detail { label: Some(label), ..Detail::default() }));
    }

    pub(crate) fn label(&self) -> Option<&KeyLabel> {
        self.detail.as_ref()?.label.as_ref()
    }

    /// The change that was just made, as an observer is told.
    pub(crate) fn tell(&self, change: Change) -> Told {
        let (mode, generation) = (self.word.mode(), self.word.generation());
        Told { change, label: self.label().cloned(), mode, generation }
    }

    /// Nothing that is known of the key at `now` would be missed, if new keys start in mode `usual`.
    pub(crate) fn is_idle(&self, now: u64, idle: u64, usual: Mode) -> bool {
        self.word.mode() == usual && (self.word.state() != State::Open || self.word.until().saturating_add(idle) <= now)
    }

    /// The truth at `now`: what a call would find, not what the last one left.
    pub(crate) fn view(&self, now: u64) -> View {
        let mode = self.word.mode();
        let detail = self.detail.as_deref();
        let state = match self.word.state() {
            State::Open if self.word.until() <= now => State::HalfOpen,
            State::Ramping if self.ramp_left(now) == Some(0) => State::Closed,
            state => state,
        };
        let probing = self.word.state() == State::HalfOpen;
        let live = |detail: &Detail| detail.probes.iter().filter(|lease| lease.until > now).count();
        View {
            state: mode.shows(state),
            mode,
            generation: self.word.generation(),
            streak: if self.word.counts() { self.word.streak().into() } else { 0 },
            probes: detail.filter(|_| probing).map_or(0, |detail| u32::try_from(live(detail)).unwrap_or(u32::MAX)),
            successes: detail.filter(|_| probing).map_or(0, |detail| detail.successes),
            openings: detail.map_or(0, |detail| detail.openings),
            wait: match self.word.peek(|| now, self.policy) {
                Peek::Refuse(wait) => Some(wait),
                Peek::Admit | Peek::Bypass | Peek::Ask => None,
            },
            rings: detail.map_or_else(Vec::new, |detail| detail.rings.iter().map(Ring::tally).collect()),
            windows: Vec::new(),
        }
    }
}

// === impl Detail ===

impl Detail {
    /// Nothing counted; the label and the room for the windows stay.
    fn clear(&mut self) {
        self.probes.clear();
        self.successes = 0;
        self.rings.iter_mut().for_each(Ring::clear);
    }

    fn first_lease_end(&self) -> u64 {
        self.probes.iter().map(|lease| lease.until).min().unwrap_or(0)
    }

    /// What the word says about the probes: 0 while one more may go.
    fn all_out_until(&self, policy: &Policy) -> u64 {
        if self.probes.len() < policy.probes as usize {
            return 0;
        }
        self.first_lease_end().div_ceil(1000).clamp(1, Word::LATEST)
    }
}

// === impl Done ===

impl Done {
    /// Failures in a row after this result; `None` where it does not matter.
    pub(crate) fn streak_after(&self, streak: u16, policy: &Policy) -> Option<u16> {
        if policy.streak == 0 {
            return None;
        }
        match self.mark {
            Mark::Success => Some(0),
            Mark::Failure => Some(streak.saturating_add(1).min(policy.streak)),
            Mark::Slow | Mark::Ignored => None,
        }
    }
}

// === impl Reason ===

impl Reason {
    pub(crate) fn of(rule: &crate::policy::Rule, tally: Tally) -> Self {
        match rule.bad {
            crate::policy::Bad::Failed => Self::FailureRatio { failures: tally.bad, calls: tally.calls },
            crate::policy::Bad::SlowerThan(_) => Self::SlowRatio { slow: tally.bad, calls: tally.calls },
        }
    }
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("now", &self.now).finish_non_exhaustive()
    }
}
