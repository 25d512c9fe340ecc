//! The state machine of one key. Pure: no clock, no lock, no randomness; time and draws are arguments.
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
    decision::{Decision, Pass, Ticket},
    label::KeyLabel,
    observation::{Grade, Observation},
    policy::{Policy, TimeWindow, WHOLE, Window},
    ring::Ring,
    rule::Rule,
    snapshot::{Status, WindowStatus},
    word::{SOON, Word},
};
use std::time::Duration;

/// One key: the word that every call reads, and the rest, which stands behind a lock.
#[derive(Debug)]
pub(crate) struct Machine<'a> {
    /// The packed state; the holder of the lock publishes it afterwards.
    pub(crate) word: Word,
    /// What does not fit into the word.
    pub(crate) detail: &'a mut Option<Box<Detail>>,
    /// What decides.
    pub(crate) policy: &'a Policy,
}

/// What does not fit into the word; a healthy key of a simple policy has none of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Detail {
    /// How often it opened since it was last closed for good.
    openings: u32,
    /// The probes under way whose leases stand.
    probes: Vec<Lease>,
    /// The number of the latest probe.
    last_probe: u32,
    /// Probes that have succeeded since it became half-open.
    successes: u32,
    /// When the ramp began, in microseconds.
    ramp_since: u64,
    /// What the ramp has allowed and no call has used yet, in parts per million of a call.
    ramp_credit: u32,
    /// The windows over a number of calls; made when the first result counts.
    rings: Box<[Ring]>,
    /// The text of the key, kept where events are wanted.
    label: Option<KeyLabel>,
}

/// The right of one call to be a probe.
#[derive(Clone, Copy, Debug)]
struct Lease {
    /// The number of the probe.
    probe: u32,
    /// When another call may go in its place, in microseconds.
    until: u64,
}

/// What has changed of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    State {
        from: State,
        to: State,
        reason: Reason,
    },
    /// So many probes outlived their leases.
    ProbesLost(u32),
    /// The key would have opened, but too many others are open.
    HeldBack(Reason),
}

/// A transition with the rest of what an observer receives, taken while no other thread can change the key.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// What has changed.
    pub(crate) transition: Transition,
    /// The text of the key, where it has one of its own.
    pub(crate) label: Option<KeyLabel>,
    /// The mode after the change.
    pub(crate) mode: Mode,
    /// The generation after the change.
    pub(crate) generation: u32,
}

/// What the caller of [`Machine::settle`] knows and the machine does not.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SettleCtx {
    pub(crate) now: u64,
    /// Uniform over all values; consumed when the circuit opens.
    pub(crate) draw: u64,
    /// A rule over a time that this result has tripped.
    pub(crate) tripped: Option<Reason>,
}

// === impl Machine ===

impl Machine<'_> {
    /// Decides on one call; never [`Decision::Undecided`].
    pub(crate) fn admit(&mut self, now: u64) -> (Decision, Option<Transition>) {
        let decision = self.word.decide(|| now, self.policy);
        if decision != Decision::Undecided {
            return (decision, None);
        }
        let transition = match self.word.state() {
            State::Ramping => return self.admit_ramping(now),
            State::Open => Some(self.half_open()),
            State::HalfOpen | State::Closed => self.expire_leases(now),
        };
        (self.admit_probe(now), transition)
    }

    /// ## Open => HalfOpen
    fn half_open(&mut self) -> Transition {
        let detail = self.detail.get_or_insert_default();
        detail.successes = 0;
        detail.probes.clear();
        self.turn(State::HalfOpen, 0, Reason::OpenTimeOver)
    }

    /// ## HalfOpen => HalfOpen
    fn admit_probe(&mut self, now: u64) -> Decision {
        let detail = self.detail.get_or_insert_default();
        if detail.probes.len() < self.policy.probes as usize {
            // Never 0: that says that a call is no probe.
            detail.last_probe = detail.last_probe.wrapping_add(1).max(1);
            let probe = detail.last_probe;
            detail.probes.push(Lease { probe, until: now.saturating_add(self.policy.lease) });
            self.word = self.word.with_payload(detail.all_out_until(self.policy));
            return self.word.admit(Pass::Probe(probe));
        }
        self.word.refuse(detail.first_lease_end().saturating_sub(now).clamp(1, SOON))
    }

    /// Leases that have ended make room for other probes, and their results will be late.
    fn expire_leases(&mut self, now: u64) -> Option<Transition> {
        let detail = self.detail.get_or_insert_default();
        let before = detail.probes.len();
        detail.probes.retain(|lease| lease.until > now);
        let lost = u32::try_from(before - detail.probes.len()).unwrap_or(u32::MAX);
        self.word = self.word.with_payload(detail.all_out_until(self.policy));
        (lost > 0).then_some(Transition::ProbesLost(lost))
    }

    /// ## Ramping => (Ramping | Closed)
    fn admit_ramping(&mut self, now: u64) -> (Decision, Option<Transition>) {
        let transition = self.end_ramp(now);
        if let (State::Ramping, Some(plan), Some(detail)) = (self.word.state(), &self.policy.ramp, &mut self.detail) {
            let since = now.saturating_sub(detail.ramp_since);
            // Each call brings its share of a right to pass; a whole one is spent. So the share is exact, without chance.
            detail.ramp_credit += plan.share(since);
            if detail.ramp_credit < WHOLE {
                return (self.word.refuse(plan.over.saturating_sub(since).clamp(1, SOON)), transition);
            }
            detail.ramp_credit -= WHOLE;
        }
        (self.word.admit(Pass::Ordinary), transition)
    }

    fn end_ramp(&mut self, now: u64) -> Option<Transition> {
        let over = self.ramp_left(now)? == 0;
        over.then(|| {
            // The generation stays: a result of a call that was admitted while ramping counts in the closed state, too.
            self.word = self.word.turned(State::Closed);
            self.forget();
            Transition::State { from: State::Ramping, to: State::Closed, reason: Reason::RampOver }
        })
    }

    fn ramp_left(&self, now: u64) -> Option<u64> {
        if self.word.state() != State::Ramping {
            return None;
        }
        let (Some(plan), Some(detail)) = (&self.policy.ramp, &*self.detail) else { return Some(0) };
        Some(plan.over.saturating_sub(now.saturating_sub(detail.ramp_since)))
    }

    /// Takes in the result of a call that was admitted with `ticket`. `may_open` takes the right to be open.
    pub(crate) fn settle(
        &mut self,
        ticket: Ticket,
        observed: &Observation,
        ctx: SettleCtx,
        may_open: impl FnOnce() -> bool,
    ) -> Option<Transition> {
        // CORRECTNESS: a result of another generation says nothing about this state; it moves nothing.
        if ticket.word.generation() != self.word.generation() {
            return None;
        }
        match ticket.pass {
            Pass::Probe(probe) => self.settle_probe(probe, observed, ctx),
            Pass::Ordinary if self.word.counts() => self.settle_ordinary(observed, ctx, may_open),
            Pass::Ordinary | Pass::Bypass => None,
        }
    }

    /// ## HalfOpen => (HalfOpen | Open | Ramping | Closed)
    fn settle_probe(&mut self, probe: u32, observed: &Observation, ctx: SettleCtx) -> Option<Transition> {
        let detail = self.detail.as_mut()?;
        // CORRECTNESS: a probe whose lease another one has taken is as late as a result of another generation.
        let held = detail.probes.iter().position(|lease| lease.probe == probe)?;
        detail.probes.swap_remove(held);
        self.word = self.word.with_payload(detail.all_out_until(self.policy));
        let reason = match observed.grade {
            Grade::Ignored => return None,
            Grade::Failure => Reason::ProbeFailed,
            Grade::Success if !self.policy.is_slow(observed) => {
                detail.successes += 1;
                return (detail.successes >= self.policy.close_after).then(|| self.close(ctx.now));
            }
            Grade::Success | Grade::Slow => Reason::ProbeSlow,
        };
        Some(self.open(reason, observed, ctx))
    }

    /// ## (Closed | Ramping) => (itself | Open)
    fn settle_ordinary(
        &mut self,
        observed: &Observation,
        ctx: SettleCtx,
        may_open: impl FnOnce() -> bool,
    ) -> Option<Transition> {
        let mut tripped = ctx.tripped;
        if let Some(streak) = observed.streak_after(self.word.streak(), self.policy) {
            self.word = self.word.with_streak(streak);
            if streak >= self.policy.streak {
                tripped = Some(Reason::Consecutive { failures: streak.into() });
            }
        }
        if self.policy.rings > 0 {
            tripped = tripped.or(self.count(observed));
        }
        let reason = tripped?;
        Some(if may_open() { self.open(reason, observed, ctx) } else { Transition::HeldBack(reason) })
    }

    /// Records the result in every window over a number of calls.
    fn count(&mut self, observed: &Observation) -> Option<Reason> {
        let policy = self.policy;
        let detail = self.detail.get_or_insert_default();
        if detail.rings.is_empty() {
            detail.rings = policy.rings().map(|(_, calls)| Ring::new(calls)).collect();
        }
        let mut tripped = None;
        for (ring, (rule, _)) in detail.rings.iter_mut().zip(policy.rings()) {
            if rule.counts(observed) {
                let bad = rule.is_bad(observed);
                ring.push(bad);
                if bad && tripped.is_none() {
                    tripped = rule.tripped(ring.tally());
                }
            }
        }
        let settled = detail.rings.iter().all(Ring::is_settled);
        self.word = self.word.with_unsettled(!settled);
        tripped
    }

    /// ## any => Open, with a fresh timer
    fn open(&mut self, reason: Reason, observed: &Observation, ctx: SettleCtx) -> Transition {
        let detail = self.detail.get_or_insert_default();
        detail.openings = detail.openings.saturating_add(1);
        detail.probes.clear();
        let wait = self.policy.open.draw(detail.openings, observed.hint, ctx.draw);
        let until = ctx.now.saturating_add(wait).div_ceil(1000).min(Word::LATEST);
        self.turn(State::Open, until, reason)
    }

    /// ## HalfOpen => (Ramping | Closed)
    fn close(&mut self, now: u64) -> Transition {
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

    fn turn(&mut self, to: State, payload: u64, reason: Reason) -> Transition {
        let from = self.word.state();
        self.word = self.word.next(to, payload);
        Transition::State { from, to, reason }
    }

    /// Closed for good: what is kept beyond the word must be needed by the policy.
    fn forget(&mut self) {
        let Some(detail) = &mut *self.detail else { return };
        detail.openings = 0;
        if detail.rings.is_empty() && detail.label.is_none() {
            *self.detail = None;
        }
    }

    /// Changes the mode. Forcing, and its end, start with nothing counted; merely observing keeps the state.
    pub(crate) fn set_mode(&mut self, mode: Mode) -> Option<Transition> {
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
        Some(Transition::State { from: shown, to: mode.shows(self.word.state()), reason: Reason::Forced })
    }

    /// Closed, in this mode, with nothing counted and nothing remembered.
    pub(crate) fn reset(&mut self, mode: Mode) -> Transition {
        let from = self.word.mode().shows(self.word.state());
        self.restart();
        self.word = self.word.with_mode(mode);
        Transition::State { from, to: mode.shows(State::Closed), reason: Reason::Reset }
    }

    fn restart(&mut self) {
        self.word = self.word.next(State::Closed, Word::fresh(self.policy));
        self.forget();
        if let Some(detail) = &mut *self.detail {
            detail.clear();
        }
    }

    /// Leaves nothing of the key behind but a newer generation.
    pub(crate) fn vacate(&mut self) -> Option<Transition> {
        let from = self.word.mode().shows(self.word.state());
        *self.detail = None;
        self.restart();
        (from != State::Closed).then_some(Transition::State { from, to: State::Closed, reason: Reason::Removed })
    }

    /// Gives a vacated place to another key.
    pub(crate) fn occupy(&mut self, mode: Mode, label: Option<KeyLabel>) {
        self.word = self.word.next(State::Closed, Word::fresh(self.policy)).with_mode(mode);
        *self.detail = label.map(|label| Box::new(Detail { label: Some(label), ..Detail::default() }));
    }

    pub(crate) fn label(&self) -> Option<&KeyLabel> {
        self.detail.as_ref()?.label.as_ref()
    }

    /// The event of a transition that was just made.
    pub(crate) fn event(&self, transition: Transition) -> Event {
        let (mode, generation) = (self.word.mode(), self.word.generation());
        Event { transition, label: self.label().cloned(), mode, generation }
    }

    /// Nothing that is known of the key at `now` would be missed, if new keys start in mode `usual`.
    pub(crate) fn is_idle(&self, now: u64, idle: u64, usual: Mode) -> bool {
        self.word.mode() == usual && (self.word.state() != State::Open || self.word.until().saturating_add(idle) <= now)
    }

    /// The truth at `now`: what a call would find, not what the last one left. `tally` counts a window over a time.
    pub(crate) fn view(&self, now: u64, tally: impl Fn(&TimeWindow) -> WindowStatus) -> Status {
        let (mode, detail) = (self.word.mode(), self.detail.as_deref());
        let state = match self.word.state() {
            State::Open if self.word.until() <= now => State::HalfOpen,
            State::Ramping if self.ramp_left(now) == Some(0) => State::Closed,
            state => state,
        };
        let probing = detail.filter(|_| self.word.state() == State::HalfOpen);
        let live = |detail: &Detail| detail.probes.iter().filter(|lease| lease.until > now).count();
        let mut rings = detail.iter().flat_map(|detail| &detail.rings);
        let window = |rule: &Rule| match &rule.window {
            Window::Time(window) => tally(window),
            Window::Calls(_) => rings.next().map(Ring::tally).unwrap_or_default(),
        };
        Status {
            state: mode.shows(state),
            mode,
            generation: self.word.generation(),
            consecutive_failures: if self.word.counts() { self.word.streak().into() } else { 0 },
            windows: self.policy.rules.iter().map(window).collect(),
            probes: probing.map_or(0, |detail| u32::try_from(live(detail)).unwrap_or(u32::MAX)),
            successes: probing.map_or(0, |detail| detail.successes),
            openings: detail.map_or(0, |detail| detail.openings),
            retry_in: match self.word.decide(|| now, self.policy) {
                Decision::Refuse(refusal) => Some(Duration::from_micros(refusal.micros())),
                Decision::Admit(_) | Decision::Undecided => None,
            },
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
