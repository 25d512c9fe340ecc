//! The breaker as one writes it without regard to speed: every result is kept, and every decision counts all of them again.

use crate::{
    Mode, Reason, State,
    observation::{Grade, Observation},
    policy::{Policy, Window},
    rule::{Bad, Rule},
    state::Transition,
};

#[derive(Clone, Debug)]
pub(super) struct Plain {
    policy: Policy,
    pub(super) mode: Mode,
    state: Plainly,
    /// Goes up with each new state but a ramp that ends.
    generation: u32,
    openings: u32,
    /// How many probes have been given a name.
    named: u32,
    /// All that counted in this generation: when it ended, and how.
    history: Vec<(u64, Observation)>,
}

#[derive(Clone, Debug)]
enum Plainly {
    Closed,
    Open { until: u64 },
    HalfOpen { probes: Vec<(u32, u64)>, successes: u32 },
    Ramping { since: u64, credit: u64 },
}

/// As what a call goes: in which generation, and as which probe if it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    Ordinary(u32),
    Probe(u32, u32),
    Bypass,
    Refused(u64),
}

impl Plain {
    pub(super) fn new(policy: Policy) -> Self {
        let (mode, state) = (Mode::Normal, Plainly::Closed);
        Self { policy, mode, state, generation: 0, openings: 0, named: 0, history: Vec::new() }
    }

    pub(super) fn state(&self) -> State {
        match self.state {
            Plainly::Closed => State::Closed,
            Plainly::Open { .. } => State::Open,
            Plainly::HalfOpen { .. } => State::HalfOpen,
            Plainly::Ramping { .. } => State::Ramping,
        }
    }

    /// What one sees from outside at `now`.
    pub(super) fn shown(&self, now: u64) -> State {
        match (&self.mode, &self.state) {
            (Mode::ForcedOpen, _) => State::Open,
            (Mode::ForcedClosed, _) => State::Closed,
            (_, Plainly::Open { until }) if *until <= now => State::HalfOpen,
            (_, Plainly::Ramping { since, .. }) if now - since >= self.ramp() => State::Closed,
            _ => self.state(),
        }
    }

    pub(super) fn streak(&self) -> u32 {
        if self.policy.streak == 0 || !matches!(self.state, Plainly::Closed | Plainly::Ramping { .. }) {
            return 0;
        }
        let relevant = self.history.iter().rev().filter(|(_, observed)| observed.grade != Grade::Slow);
        let streak = relevant.take_while(|(_, observed)| observed.grade == Grade::Failure).count();
        u32::try_from(streak).unwrap().min(self.policy.streak.into())
    }

    pub(super) fn tally(&self, rule: &Rule, now: u64) -> (u64, u64) {
        let counts = |observed: &Observation| observed.grade != Grade::Slow || rule.bad != Bad::Failed;
        let mut seen: Vec<_> = self.history.iter().filter(|(_, observed)| counts(observed)).collect();
        match rule.window {
            Window::Calls(calls) => seen = seen.split_off(seen.len().saturating_sub(calls as usize)),
            Window::Time(window) => {
                seen.retain(|(at, _)| at / window.width + u64::from(window.buckets) > now / window.width);
            }
        }
        (seen.len() as u64, seen.iter().filter(|(_, observed)| bad(rule, observed)).count() as u64)
    }

    fn ramp(&self) -> u64 {
        self.policy.ramp.map_or(0, |ramp| ramp.over)
    }

    fn turn(&mut self, state: Plainly, reason: Reason) -> Transition {
        let from = self.state();
        self.state = state;
        self.generation += 1;
        self.history.clear();
        Transition::State { from, to: self.state(), reason }
    }

    pub(super) fn admit(&mut self, now: u64) -> (Goes, Option<Transition>) {
        let (goes, transition) = match self.mode {
            Mode::ForcedClosed => (Goes::Bypass, None),
            Mode::ForcedOpen => (Goes::Refused(self.policy.open.base), None),
            Mode::Normal | Mode::ObserveOnly => self.decide(now),
        };
        match goes {
            Goes::Refused(_) if self.mode == Mode::ObserveOnly => (Goes::Bypass, transition),
            goes => (goes, transition),
        }
    }

    fn decide(&mut self, now: u64) -> (Goes, Option<Transition>) {
        let mut transition = None;
        match self.state {
            Plainly::Open { until } if now < until => return (Goes::Refused(until - now), None),
            Plainly::Open { .. } => {
                let half_open = Plainly::HalfOpen { probes: Vec::new(), successes: 0 };
                transition = Some(self.turn(half_open, Reason::OpenTimeOver));
            }
            Plainly::Ramping { since, .. } if now - since >= self.ramp() => {
                self.state = Plainly::Closed;
                self.openings = 0;
                let (from, to) = (State::Ramping, State::Closed);
                transition = Some(Transition::State { from, to, reason: Reason::RampOver });
            }
            _ => {}
        }
        let (most, lease) = (self.policy.probes as usize, self.policy.lease);
        let ramp = self.policy.ramp;
        let goes = match &mut self.state {
            Plainly::Closed => Goes::Ordinary(self.generation),
            Plainly::Open { .. } => unreachable!(),
            Plainly::Ramping { since, credit } => {
                let ramp = ramp.unwrap();
                *credit += u64::from(ramp.from) + u64::from(1_000_000 - ramp.from) * (now - *since) / ramp.over;
                if *credit >= 1_000_000 {
                    *credit -= 1_000_000;
                    Goes::Ordinary(self.generation)
                } else {
                    Goes::Refused((*since + ramp.over - now).min(1_000_000))
                }
            }
            Plainly::HalfOpen { probes, .. } => {
                let before = probes.len();
                probes.retain(|&(_, until)| until > now);
                let lost = u32::try_from(before - probes.len()).unwrap();
                if lost > 0 {
                    transition = Some(Transition::ProbesLost(lost));
                }
                if probes.len() < most {
                    self.named += 1;
                    let name = self.named;
                    probes.push((name, now + lease));
                    Goes::Probe(self.generation, name)
                } else {
                    Goes::Refused(probes.iter().map(|probe| probe.1 - now).min().unwrap().min(1_000_000))
                }
            }
        };
        (goes, transition)
    }

    pub(super) fn settle(&mut self, goes: Goes, observed: Observation, now: u64) -> Option<Transition> {
        match goes {
            Goes::Ordinary(generation) if generation == self.generation => self.settle_ordinary(observed, now),
            Goes::Probe(generation, name) if generation == self.generation => self.settle_probe(name, observed, now),
            _ => None,
        }
    }

    fn settle_ordinary(&mut self, observed: Observation, now: u64) -> Option<Transition> {
        if !matches!(self.state, Plainly::Closed | Plainly::Ramping { .. }) || observed.grade == Grade::Ignored {
            return None;
        }
        self.history.push((now, observed));
        let mut reasons = Vec::new();
        for rule in &self.policy.rules {
            let (calls, bads) = self.tally(rule, now);
            let counts = observed.grade != Grade::Slow || rule.bad != Bad::Failed;
            if counts
                && bad(rule, &observed)
                && calls >= rule.min_calls.into()
                && bads * 1_000_000 >= calls * u64::from(rule.ratio)
            {
                let timed = matches!(rule.window, Window::Time(_));
                let reason = match rule.bad {
                    Bad::Failed => Reason::FailureRatio { failures: bads, calls },
                    Bad::SlowerThan(_) => Reason::SlowRatio { slow: bads, calls },
                };
                reasons.push((if timed { 1 } else { 2 }, reason));
            }
        }
        let streak = self.streak();
        if observed.grade == Grade::Failure && self.policy.streak > 0 && streak >= self.policy.streak.into() {
            reasons.push((0, Reason::Consecutive { failures: streak }));
        }
        // Of several, a row of failures is named first, then windows over a time, then those over a number of calls.
        reasons.sort_by_key(|&(rank, _)| rank);
        let &(_, reason) = reasons.first()?;
        Some(self.open(reason, observed, now))
    }

    fn settle_probe(&mut self, name: u32, observed: Observation, now: u64) -> Option<Transition> {
        let slow = observed.grade == Grade::Slow
            || self.policy.rules.iter().any(|rule| rule.bad != Bad::Failed && bad(rule, &observed));
        let Plainly::HalfOpen { probes, successes } = &mut self.state else { return None };
        let held = probes.iter().position(|probe| probe.0 == name)?;
        probes.remove(held);
        match observed.grade {
            Grade::Ignored => None,
            Grade::Failure => Some(self.open(Reason::ProbeFailed, observed, now)),
            _ if slow => Some(self.open(Reason::ProbeSlow, observed, now)),
            _ => {
                *successes += 1;
                (*successes >= self.policy.close_after).then(|| self.close(now))
            }
        }
    }

    fn open(&mut self, reason: Reason, observed: Observation, now: u64) -> Transition {
        self.openings += 1;
        let mut wait = self.policy.open.base;
        for _ in 1..self.openings {
            wait = (wait * if self.policy.open.growth > 1.0 { 2 } else { 1 }).min(self.policy.open.cap);
        }
        let wait = wait.max(observed.hint.unwrap_or(0)).min(self.policy.open.cap);
        self.turn(Plainly::Open { until: now + wait }, reason)
    }

    fn close(&mut self, now: u64) -> Transition {
        if self.policy.ramp.is_some() {
            return self.turn(Plainly::Ramping { since: now, credit: 1_000_000 }, Reason::ProbesSucceeded);
        }
        self.openings = 0;
        self.turn(Plainly::Closed, Reason::ProbesSucceeded)
    }

    pub(super) fn set_mode(&mut self, mode: Mode) -> bool {
        if mode == self.mode {
            return false;
        }
        let forces = |mode| matches!(mode, Mode::ForcedOpen | Mode::ForcedClosed);
        if forces(mode) || forces(self.mode) {
            self.reset();
        }
        self.mode = mode;
        true
    }

    pub(super) fn reset(&mut self) {
        self.openings = 0;
        self.turn(Plainly::Closed, Reason::Reset);
    }

    pub(super) fn openings(&self) -> u32 {
        self.openings
    }

    pub(super) fn successes(&self) -> u32 {
        if let Plainly::HalfOpen { successes, .. } = self.state { successes } else { 0 }
    }

    pub(super) fn probes(&self, now: u64) -> u32 {
        let Plainly::HalfOpen { probes, .. } = &self.state else { return 0 };
        u32::try_from(probes.iter().filter(|probe| probe.1 > now).count()).unwrap()
    }
}

fn bad(rule: &Rule, observed: &Observation) -> bool {
    match rule.bad {
        Bad::Failed => observed.grade == Grade::Failure,
        Bad::SlowerThan(limit) => observed.grade == Grade::Slow || observed.took.is_some_and(|took| took >= limit),
    }
}
