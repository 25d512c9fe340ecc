use std::time::{Duration, Instant};

/// How a far side that has failed is approached again. Pure state; one per partition that is in trouble.
///
/// While it is away nothing is sent. Then one batch goes as a probe; when that is taken, two may be under way, then four,
/// until there are as many as allowed. A failure of what was sent before the probe says nothing new.
#[derive(Debug)]
pub(crate) struct Recovery<B> {
    /// The waits still to come, each longer than the one before.
    backoff: B,
    phase: Phase,
    /// Counts the probes; what was sent earlier belongs to an earlier one.
    pub(crate) generation: u64,
    /// Sent in this generation and not answered.
    under_way: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is sent before this instant.
    Away { until: Instant },
    /// So many may be under way.
    Ramp { window: usize },
}

/// What became of something that was sent while recovering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Go on.
    Recovering,
    /// As many may be under way as ever: the trouble is over.
    Recovered,
    /// The backoff has ended; there are no more attempts.
    GivenUp,
}

// === impl Recovery ===

impl<B: Iterator<Item = Duration>> Recovery<B> {
    /// The far side has failed for the first time, and asked not to be called for `hint`.
    ///
    /// `None` if the backoff allows no attempt at all.
    pub(crate) fn begin(mut backoff: B, now: Instant, hint: Option<Duration>) -> Option<Self> {
        let wait = wait(&mut backoff, hint)?;
        let phase = Phase::Away { until: later(now, wait) };
        Some(Self { backoff, phase, generation: 1, under_way: 0 })
    }

    /// The trouble is over, though some still wait: the next one begins with a fresh backoff.
    pub(crate) fn renew(&mut self, backoff: B) {
        self.backoff = backoff;
    }

    /// Whether a batch may be sent at `now`.
    pub(crate) fn may_send(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Away { until } => now >= until && self.under_way == 0,
            Phase::Ramp { window } => self.under_way < window,
        }
    }

    /// Whether nothing is under way, and nothing has to be waited for.
    pub(crate) fn is_at_rest(&self, now: Instant) -> bool {
        self.under_way == 0 && self.may_send(now)
    }

    /// When the wait ends, while it lasts.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Away { until } if self.under_way == 0 => Some(until),
            Phase::Away { .. } | Phase::Ramp { .. } => None,
        }
    }

    /// One is sent; it belongs to the returned generation.
    pub(crate) fn sent(&mut self) -> u64 {
        self.under_way += 1;
        self.generation
    }

    /// One of `generation` was not taken, and may be sent again.
    pub(crate) fn failed(&mut self, generation: u64, now: Instant, hint: Option<Duration>) -> Step {
        if generation != self.generation {
            // It was sent before the trouble was known. A longer hint still counts.
            if let (Phase::Away { until }, Some(hint)) = (&mut self.phase, hint) {
                *until = (*until).max(later(now, hint));
            }
            return Step::Recovering;
        }
        let Some(wait) = wait(&mut self.backoff, hint) else {
            return Step::GivenUp;
        };
        self.generation += 1;
        self.under_way = 0;
        self.phase = Phase::Away { until: later(now, wait) };
        Step::Recovering
    }

    /// One of `generation` was taken, or refused for good: the far side is there.
    pub(crate) fn answered(&mut self, generation: u64, most: usize) -> Step {
        if generation != self.generation {
            return Step::Recovering;
        }
        self.under_way = self.under_way.saturating_sub(1);
        let window = match self.phase {
            Phase::Away { .. } => 2,
            Phase::Ramp { window } => window.saturating_mul(2),
        };
        self.phase = Phase::Ramp { window };
        if window >= most { Step::Recovered } else { Step::Recovering }
    }
}

fn wait(backoff: &mut impl Iterator<Item = Duration>, hint: Option<Duration>) -> Option<Duration> {
    let wait = backoff.next()?;
    Some(hint.map_or(wait, |hint| hint.max(wait)))
}

/// Far enough in the future to be never, where `wait` is absurd.
fn later(now: Instant, wait: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365);
    now + wait.min(NEVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn one_probe_then_a_ramp() {
        let now = start();
        let mut recovery = Recovery::begin([S, 2 * S].into_iter(), now, None).unwrap();
        assert!(!recovery.may_send(now));
        assert_eq!(recovery.due(), Some(now + S));
        let now = now + S;
        assert!(recovery.may_send(now));
        let probe = recovery.sent();
        assert!(!recovery.may_send(now), "one probe at a time");
        assert_eq!(recovery.answered(probe, 8), Step::Recovering);
        let pair = [recovery.sent(), recovery.sent()];
        assert!(!recovery.may_send(now));
        assert_eq!(recovery.answered(pair[0], 8), Step::Recovering);
        assert_eq!(recovery.answered(pair[1], 8), Step::Recovered);
    }

    #[test]
    fn a_probe_that_fails_waits_longer_and_late_results_move_nothing() {
        let now = start();
        let mut recovery = Recovery::begin([S, 2 * S, 4 * S].into_iter(), now, None).unwrap();
        assert_eq!(recovery.answered(0, 1), Step::Recovering, "sent before the trouble");
        assert!(!recovery.may_send(now));
        let first = recovery.sent();
        assert_eq!(recovery.failed(first, now + S, None), Step::Recovering);
        assert_eq!(recovery.due(), Some(now + 3 * S));
        assert_eq!(recovery.failed(first, now + S, None), Step::Recovering);
        assert_eq!(recovery.due(), Some(now + 3 * S), "the same news twice");
        assert_eq!(recovery.failed(0, now + S, Some(9 * S)), Step::Recovering);
        assert_eq!(recovery.due(), Some(now + 10 * S), "but a hint is a hint");
        let second = recovery.sent();
        assert_eq!(recovery.failed(second, now, None), Step::Recovering);
        let third = recovery.sent();
        assert_eq!(recovery.failed(third, now, None), Step::GivenUp);
    }

    #[test]
    fn a_hint_is_never_undercut_and_an_absurd_one_is_never() {
        let now = start();
        let recovery = Recovery::begin([S].into_iter(), now, Some(30 * S)).unwrap();
        assert_eq!(recovery.due(), Some(now + 30 * S));
        let recovery = Recovery::begin([S].into_iter(), now, Some(Duration::MAX)).unwrap();
        assert!(!recovery.may_send(now + 3600 * S));
        assert!(Recovery::begin(std::iter::empty(), now, None).is_none());
    }
}
