//! The decisions on one request: whether there is another attempt, and when. Pure: time comes in as an argument, and there is
//! no clock, lock or runtime.

use crate::{Deadline, StopReason, backoff::Delays};
use forebay_core::Seen;
use std::time::Duration;
use tokio::time::Instant;

/// What bounds the attempts of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// How often a request is sent again.
    pub(crate) max_retries: u32,
    /// How long after the beginning the last attempt may begin.
    pub(crate) max_elapsed: Option<Duration>,
    /// The longest wait that a server can ask for; a longer one counts as this.
    pub(crate) max_hint: Duration,
}

/// One request, from its first wait to its last attempt.
///
/// It drives the response future and [`RetryLayer::run`](crate::RetryLayer::run): both send, report how an attempt failed,
/// and do what [`Next`] says.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// How many attempts were begun.
    begun: u32,
    /// When the first attempt began to wait; `max_elapsed` counts from here.
    started: Instant,
    /// The delays of this request alone, so that no two requests come back together.
    delays: Delays,
    /// When no attempt begins any more.
    end: Option<End>,
    /// Since when the throttle holds the next attempt back; `None` while it does not.
    held_since: Option<Instant>,
    /// The most that is known of all failed attempts.
    seen: Seen,
}

/// What is known of an attempt that failed in a way that may pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failure {
    /// How long the server asks its client to wait, uncapped.
    pub(crate) hint: Option<Duration>,
    /// Why the request itself must not be sent again, if it must not.
    pub(crate) obstacle: Option<StopReason>,
    /// Whether the server may have seen the attempt.
    pub(crate) seen: Seen,
    /// When the request is worth nothing any more.
    pub(crate) deadline: Option<Deadline>,
    /// What the throttle says now.
    pub(crate) held: Option<Held>,
    /// Whether the next attempt goes to another server, and waits for no backoff.
    pub(crate) elsewhere: bool,
}

/// What a throttle says of an attempt that it holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// How long the attempt must wait from now.
    pub(crate) wait: Duration,
    /// How long it may be held back in all.
    pub(crate) patience: Duration,
}

/// What happens after a failed attempt, or to an attempt that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The next attempt begins after this wait.
    Wait(Duration),
    /// There is no other attempt.
    GiveUp(StopReason),
}

/// When no attempt of a request begins any more, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) at: Instant,
    pub(crate) reason: StopReason,
}

// === impl Limits ===

impl Limits {
    /// Whether an attempt may be followed by another, once `attempts` have been begun.
    pub(crate) const fn allows_after(&self, attempts: u32) -> bool {
        attempts <= self.max_retries
    }

    /// The end of a request that was begun at `started`: the earlier of its deadline and `max_elapsed`.
    fn end(&self, started: Instant, deadline: Option<Deadline>) -> Option<End> {
        let deadline =
            deadline.map(|deadline| End { at: Instant::from_std(deadline.instant()), reason: StopReason::Deadline });
        // An end that the clock cannot count is none.
        let elapsed = self.max_elapsed.and_then(|most| started.checked_add(most));
        let elapsed = elapsed.map(|at| End { at, reason: StopReason::Elapsed });
        deadline.into_iter().chain(elapsed).min_by_key(|end| end.at)
    }
}

// === impl Attempts ===

impl Attempts {
    /// A request of which `begun` attempts were begun, the first at `started`.
    pub(crate) fn new(begun: u32, started: Instant, delays: Delays) -> Self {
        Self { begun, started, delays, end: None, held_since: None, seen: Seen::No }
    }

    /// How many attempts were begun.
    pub(crate) fn begun(&self) -> u32 {
        self.begun
    }

    /// When no attempt begins any more, as of the last failure.
    pub(crate) fn end(&self) -> Option<End> {
        self.end
    }

    /// The most that is known of all failed attempts: whether the server may have seen one.
    pub(crate) fn seen(&self) -> Seen {
        self.seen
    }

    /// The next attempt begins; returns its number.
    pub(crate) fn begin(&mut self) -> u32 {
        self.held_since = None;
        self.begun = self.begun.saturating_add(1);
        self.begun
    }

    /// An attempt failed in a way that may pass.
    ///
    /// `pay` takes a retry from the budget, or says that there is none. It is asked last, so that a retry that does not
    /// happen costs nothing.
    pub(crate) fn failed(
        &mut self,
        now: Instant,
        limits: &Limits,
        failure: &Failure,
        pay: impl FnOnce() -> bool,
    ) -> Next {
        self.learn(failure.seen);
        match self.plan(now, limits, failure) {
            Ok(wait) if pay() => Next::Wait(wait),
            Ok(_) => Next::GiveUp(StopReason::Budget),
            Err(reason) => Next::GiveUp(reason),
        }
    }

    /// The server may have seen one attempt more, or not.
    pub(crate) fn learn(&mut self, seen: Seen) {
        self.seen = match (self.seen, seen) {
            (Seen::Yes, _) | (_, Seen::Yes) => Seen::Yes,
            (Seen::Maybe, _) | (_, Seen::Maybe) => Seen::Maybe,
            (Seen::No, Seen::No) => Seen::No,
        };
    }

    /// How long the next attempt waits, before it is paid for.
    fn plan(&mut self, now: Instant, limits: &Limits, failure: &Failure) -> Result<Duration, StopReason> {
        if !limits.allows_after(self.begun) {
            return Err(StopReason::Attempts);
        }
        if let Some(reason) = failure.obstacle {
            return Err(reason);
        }
        self.limit(limits, failure.deadline);
        let hint = failure.hint.map(|hint| hint.min(limits.max_hint));
        let wait = if failure.elsewhere { Duration::ZERO } else { self.delays.next_after(hint) };
        let wait = match failure.held {
            Some(held) if held.wait > held.patience => return Err(StopReason::Throttled),
            Some(held) => wait.max(held.wait),
            None => wait,
        };
        End::check(self.end, now, wait).map(|()| wait)
    }

    /// Takes the deadline of a request into account that waits before its first attempt.
    pub(crate) fn limit(&mut self, limits: &Limits, deadline: Option<Deadline>) {
        self.end = limits.end(self.started, deadline);
    }

    /// The next attempt would begin, and the throttle holds it back.
    ///
    /// Its patience is counted over all holds of one attempt, however many hints they come from.
    pub(crate) fn held(&mut self, now: Instant, held: Held) -> Next {
        let since = *self.held_since.get_or_insert(now);
        if now.saturating_duration_since(since).saturating_add(held.wait) > held.patience {
            return Next::GiveUp(StopReason::Throttled);
        }
        match End::check(self.end, now, held.wait) {
            Ok(()) => Next::Wait(held.wait),
            Err(reason) => Next::GiveUp(reason),
        }
    }
}

// === impl End ===

impl End {
    /// Whether an attempt that begins after `wait` begins before the end.
    fn check(end: Option<Self>, now: Instant, wait: Duration) -> Result<(), StopReason> {
        match end {
            Some(end) if end.at.saturating_duration_since(now) <= wait => Err(end.reason),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Backoff, Jitter};
    use proptest::prelude::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn limits(max_elapsed: Option<Duration>) -> Limits {
        Limits { max_retries: 3, max_elapsed, max_hint: secs(60) }
    }

    /// Delays of 1 s, without chance.
    fn attempts(begun: u32, started: Instant) -> Attempts {
        Attempts::new(begun, started, Backoff::constant(secs(1)).jitter(Jitter::None).delays(0))
    }

    const FAILURE: Failure =
        Failure { hint: None, obstacle: None, seen: Seen::Maybe, deadline: None, held: None, elsewhere: false };

    fn failed(begun: u32, limits: Limits, failure: Failure) -> Next {
        let now = Instant::now();
        attempts(begun, now).failed(now, &limits, &failure, || true)
    }

    #[test]
    fn r01_r02_attempts_are_retries_and_one() {
        let limits = limits(None);
        assert_eq!(failed(3, limits, FAILURE), Next::Wait(secs(1)));
        assert_eq!(failed(4, limits, FAILURE), Next::GiveUp(StopReason::Attempts));
        let none = Limits { max_retries: 0, ..limits };
        assert_eq!(failed(1, none, FAILURE), Next::GiveUp(StopReason::Attempts));
        let most = Limits { max_retries: u32::MAX, ..limits };
        assert_eq!(failed(u32::MAX, most, FAILURE), Next::Wait(secs(1)));
    }

    #[test]
    fn f01_after_a_hint_above_the_cap_the_attempt_goes_at_the_cap() {
        let hint = |hint| failed(1, limits(None), Failure { hint: Some(hint), ..FAILURE });
        assert_eq!(hint(Duration::ZERO), Next::Wait(secs(1)));
        assert_eq!(hint(secs(60)), Next::Wait(secs(60)));
        assert_eq!(hint(secs(61)), Next::Wait(secs(60)));
        assert_eq!(hint(Duration::MAX), Next::Wait(secs(60)));
    }

    #[test]
    fn e01_an_attempt_at_another_server_waits_for_no_backoff_and_counts_like_any_other() {
        let elsewhere = Failure { elsewhere: true, ..FAILURE };
        assert_eq!(failed(1, limits(None), elsewhere), Next::Wait(Duration::ZERO));
        assert_eq!(failed(4, limits(None), elsewhere), Next::GiveUp(StopReason::Attempts));
        let refused = Failure { obstacle: Some(StopReason::NotIdempotent), ..elsewhere };
        assert_eq!(failed(1, limits(None), refused), Next::GiveUp(StopReason::NotIdempotent));
        let held = Failure { held: Some(Held { wait: secs(3), patience: secs(9) }), ..elsewhere };
        assert_eq!(failed(1, limits(None), held), Next::Wait(secs(3)), "a server that asked for a pause has it");
    }

    #[test]
    fn r08_the_earlier_end_counts_and_is_not_reached() {
        let now = Instant::now();
        let end = |elapsed, deadline| {
            limits(elapsed).end(now, deadline).map(|End { at, reason }| (at.duration_since(now), reason))
        };
        let deadline = |secs| Some(Deadline::at(now + Duration::from_secs(secs)));
        assert_eq!(end(None, None), None);
        assert_eq!(end(Some(secs(5)), None), Some((secs(5), StopReason::Elapsed)));
        assert_eq!(end(Some(secs(5)), deadline(3)), Some((secs(3), StopReason::Deadline)));
        assert_eq!(end(Some(secs(5)), deadline(9)), Some((secs(5), StopReason::Elapsed)));
        assert_eq!(end(Some(Duration::MAX), None), None, "beyond the clock");

        let three = limits(Some(secs(3))).end(now, None);
        assert_eq!(End::check(three, now, secs(2)), Ok(()));
        assert_eq!(End::check(three, now, secs(3)), Err(StopReason::Elapsed));
        assert_eq!(End::check(three, now + secs(9), Duration::ZERO), Err(StopReason::Elapsed));
        assert_eq!(End::check(None, now, Duration::MAX), Ok(()));
    }

    #[test]
    fn r16_only_an_attempt_that_would_be_made_is_paid_for() {
        let now = Instant::now();
        let refused = Failure { obstacle: Some(StopReason::NotIdempotent), ..FAILURE };
        let held = Failure { held: Some(Held { wait: secs(3), patience: secs(2) }), ..FAILURE };
        let late = Failure { deadline: Some(Deadline::at(now + ms(500))), ..FAILURE };
        for (begun, failure, reason) in [
            (4, FAILURE, StopReason::Attempts),
            (1, refused, StopReason::NotIdempotent),
            (1, held, StopReason::Throttled),
            (1, late, StopReason::Deadline),
        ] {
            let next = attempts(begun, now).failed(now, &limits(None), &failure, || panic!("paid for {reason:?}"));
            assert_eq!(next, Next::GiveUp(reason));
        }
        let next = attempts(1, now).failed(now, &limits(None), &FAILURE, || false);
        assert_eq!(next, Next::GiveUp(StopReason::Budget));
    }

    /// One thing that a shell reports to the machine.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// An attempt takes this long, in milliseconds, and fails.
        Fail { takes: u64, hint: Option<u64>, seen: Seen, held: Option<u64>, affordable: bool, safe: bool },
        /// The throttle holds the attempt that would begin now.
        Hold(u64),
    }

    fn seen() -> impl Strategy<Value = Seen> {
        prop_oneof![Just(Seen::No), Just(Seen::Maybe), Just(Seen::Yes)]
    }

    fn step() -> impl Strategy<Value = Step> {
        let hint = proptest::option::of(0..90_000_u64);
        let held = proptest::option::weighted(0.2, 0..40_000_u64);
        let often = || proptest::bool::weighted(0.9);
        let failure = (0..5_000_u64, hint, seen(), held, often(), often());
        prop_oneof![
            4 => failure.prop_map(|(takes, hint, seen, held, affordable, safe)| {
                Step::Fail { takes, hint, seen, held, affordable, safe }
            }),
            1 => (0..20_000_u64).prop_map(Step::Hold),
        ]
    }

    /// The plain model: it keeps the whole story in milliseconds, and decides from its beginning.
    struct Model {
        retries: usize,
        /// The earliest end, and why it is the end.
        end: Option<(u64, StopReason)>,
        patience: u64,
        /// The milliseconds at which holds of the attempt to come began.
        holds: Vec<u64>,
        /// What is known of each failed attempt.
        failures: Vec<Seen>,
    }

    impl Model {
        fn in_time(&self, now: u64, wait: u64) -> Result<u64, StopReason> {
            match self.end {
                Some((end, reason)) if now + wait >= end => Err(reason),
                _ => Ok(wait),
            }
        }

        /// The delays are all 1 s, and a hint adds nothing but itself.
        fn failed(&mut self, now: u64, step: Step) -> Result<u64, StopReason> {
            let Step::Fail { hint, seen, held, affordable, safe, .. } = step else { panic!("not a failure") };
            self.failures.push(seen);
            if self.failures.len() > self.retries {
                return Err(StopReason::Attempts);
            }
            if !safe {
                return Err(StopReason::NotIdempotent);
            }
            if held.is_some_and(|held| held > self.patience) {
                return Err(StopReason::Throttled);
            }
            let wait = [1000, hint.unwrap_or(0).min(60_000), held.unwrap_or(0)].into_iter().max().unwrap();
            let wait = self.in_time(now, wait)?;
            if affordable { Ok(wait) } else { Err(StopReason::Budget) }
        }

        fn held(&mut self, now: u64, wait: u64) -> Result<u64, StopReason> {
            self.holds.push(now);
            if now - self.holds[0] + wait > self.patience {
                return Err(StopReason::Throttled);
            }
            self.in_time(now, wait)
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_machine_decides_as_the_plain_model_does(
            steps in proptest::collection::vec(step(), 1..30),
            retries in 0..8_u32,
            elapsed in proptest::option::of(0..200_000_u64),
            deadline in proptest::option::of(0..200_000_u64),
            patience in 0..30_000_u64,
        ) {
            let started = Instant::now();
            let limits = Limits { max_retries: retries, max_elapsed: elapsed.map(ms), max_hint: secs(60) };
            let mut machine = attempts(0, started);
            let ends = [(deadline, StopReason::Deadline), (elapsed, StopReason::Elapsed)];
            let end = ends.into_iter().filter_map(|(end, reason)| end.map(|end| (end, reason))).min_by_key(|end| end.0);
            let retries = usize::try_from(retries).unwrap();
            let mut model = Model { retries, end, patience, holds: Vec::new(), failures: Vec::new() };
            let deadline = deadline.map(|deadline| Deadline::at(started + ms(deadline)));
            let mut now = 0;
            machine.limit(&limits, deadline);
            for step in steps {
                let (next, expected) = match step {
                    Step::Fail { takes, hint, seen, held, affordable, safe } => {
                        prop_assert_eq!(usize::try_from(machine.begin()).unwrap(), model.failures.len() + 1);
                        model.holds.clear();
                        now += takes;
                        let held = held.map(|held| Held { wait: ms(held), patience: ms(patience) });
                        let obstacle = (!safe).then_some(StopReason::NotIdempotent);
                        let failure = Failure { hint: hint.map(ms), obstacle, seen, deadline, held, elsewhere: false };
                        let next = machine.failed(started + ms(now), &limits, &failure, || affordable);
                        (next, model.failed(now, step))
                    }
                    Step::Hold(wait) => {
                        let held = Held { wait: ms(wait), patience: ms(patience) };
                        (machine.held(started + ms(now), held), model.held(now, wait))
                    }
                };
                let next = match next {
                    Next::Wait(wait) => Ok(u64::try_from(wait.as_millis()).unwrap()),
                    Next::GiveUp(reason) => Err(reason),
                };
                prop_assert_eq!(next, expected);
                let known = |seen| model.failures.contains(&seen);
                let most = if known(Seen::Yes) { Seen::Yes } else if known(Seen::Maybe) { Seen::Maybe } else { Seen::No };
                prop_assert_eq!(machine.seen(), most);
                let Ok(wait) = next else { break };
                now += wait;
            }
        }
    }
}
