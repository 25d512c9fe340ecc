use forebay_core::time::saturating_add;
use std::time::{Duration, Instant};

/// How a server that fails everything is approached again. Pure state; one per partition that is held.
///
/// While it is away nothing is sent. Then one batch is sent as a probe; when that is taken, two may be in flight, then four,
/// until there are as many as allowed. A failure of what was sent before the probe says nothing new, and after the probe one
/// failure says little: the server is away again when it asks its clients to wait, or when everything fails.
#[derive(Debug)]
pub(crate) struct Recovery<B> {
    /// The waits that are left, each longer than the one before.
    backoff: B,
    /// Whether anything may be sent, and how much.
    phase: Phase,
    /// Counts the probes; what was sent earlier belongs to an earlier one.
    pub(crate) generation: u64,
    /// How many were sent in this generation and have not come back.
    in_flight: usize,
    /// When the wait of the backoff itself ends, without the hint of a server.
    own_wait_ends: Instant,
    /// How many have failed in a row since the probe.
    in_a_row: usize,
}

/// Why a partition is held, and for how long at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// How long the server asked its clients to wait; capped already.
    pub(crate) hint: Option<Duration>,
    /// When the batch ends that failed: from then on the hint holds nothing.
    pub(crate) ends: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is sent before this instant.
    Away { until: Instant },
    /// So many may be in flight.
    Ramp { window: usize },
}

/// What became of something that was sent while recovering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The server is still approached with care.
    Recovering,
    /// The batch that has failed waits for itself, and holds up no other.
    Alone,
    /// As many may be in flight as without a failure: the recovery is over.
    Recovered,
    /// The backoff has ended: there is no other attempt.
    GivenUp,
}

// === impl Recovery ===

impl<B: Iterator<Item = Duration>> Recovery<B> {
    /// The server fails everything, or has asked its clients to wait.
    ///
    /// `None` if the backoff allows no attempt at all. `generation` is later than that of any batch that was sent before.
    pub(crate) fn begin(mut backoff: B, now: Instant, hold: Hold, generation: u64) -> Option<Self> {
        let own_wait_ends = saturating_add(now, backoff.next()?);
        let phase = Phase::Away { until: hold.until(now, own_wait_ends) };
        Some(Self { backoff, phase, generation, in_flight: 0, own_wait_ends, in_a_row: 0 })
    }

    /// The batches whose responses had a hint wait no longer: it holds nothing any more, and the backoff alone is left.
    pub(crate) fn end_hint(&mut self) {
        if let Phase::Away { until } = &mut self.phase {
            *until = (*until).min(self.own_wait_ends);
        }
    }

    /// The recovery is over, though some still wait: the next failure begins with a fresh backoff.
    pub(crate) fn renew(&mut self, backoff: B) {
        self.backoff = backoff;
    }

    /// Whether a batch may be sent at `now`.
    pub(crate) fn may_send(&self, now: Instant) -> bool {
        match self.phase {
            Phase::Away { until } => now >= until && self.in_flight == 0,
            Phase::Ramp { window } => self.in_flight < window,
        }
    }

    /// Whether a probe was taken, and the server has not failed since.
    pub(crate) fn responds(&self) -> bool {
        matches!(self.phase, Phase::Ramp { .. })
    }

    /// Whether nothing is in flight, and nothing has to be waited for.
    pub(crate) fn is_at_rest(&self, now: Instant) -> bool {
        self.in_flight == 0 && self.may_send(now)
    }

    /// So many of this generation are in flight, whatever was counted before.
    pub(crate) fn recount(&mut self, in_flight: usize) {
        self.in_flight = in_flight;
    }

    /// When the wait ends, while it lasts.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Away { until } if self.in_flight == 0 => Some(until),
            Phase::Away { .. } | Phase::Ramp { .. } => None,
        }
    }

    /// A batch is sent; it belongs to the returned generation.
    pub(crate) fn sent(&mut self) -> u64 {
        self.in_flight += 1;
        self.generation
    }

    /// A batch of `generation` was not taken, and may be sent again; `all` failures in a row mean that everything fails.
    pub(crate) fn failed(&mut self, generation: u64, now: Instant, hold: Hold, all: usize) -> Step {
        let is_late = generation != self.generation;
        match &mut self.phase {
            // It was sent before the failure was known. A longer hint still counts.
            Phase::Away { until } if is_late => {
                if hold.hint.is_some() {
                    *until = hold.until(now, *until);
                }
                return Step::Recovering;
            }
            Phase::Ramp { .. } if is_late => return Step::Alone,
            // ## Ramp => Ramp
            Phase::Ramp { .. } if hold.hint.is_none() && self.in_a_row + 1 < all => {
                self.in_a_row += 1;
                self.in_flight = self.in_flight.saturating_sub(1);
                return Step::Alone;
            }
            Phase::Away { .. } | Phase::Ramp { .. } => {}
        }
        // ## (Away | Ramp) => (Away | given up)
        let Some(wait) = self.backoff.next() else {
            return Step::GivenUp;
        };
        self.generation += 1;
        self.in_flight = 0;
        self.in_a_row = 0;
        self.own_wait_ends = saturating_add(now, wait);
        self.phase = Phase::Away { until: hold.until(now, self.own_wait_ends) };
        Step::Recovering
    }

    /// A batch of `generation` was taken, or refused for good: the server responds.
    pub(crate) fn responded(&mut self, generation: u64, most: usize) -> Step {
        if generation != self.generation {
            return Step::Recovering;
        }
        self.in_flight = self.in_flight.saturating_sub(1);
        self.in_a_row = 0;
        let window = match self.phase {
            Phase::Away { .. } => 2,
            Phase::Ramp { window } => window.saturating_mul(2),
        };
        self.phase = Phase::Ramp { window };
        if window >= most { Step::Recovered } else { Step::Recovering }
    }
}

// === impl Hold ===

impl Hold {
    /// No longer than the backoff says.
    pub(crate) const NONE: Self = Self { hint: None, ends: None };

    /// Until when nothing is sent, at least until `other`: the hint is not undercut while its batch lives.
    pub(crate) fn until(&self, now: Instant, other: Instant) -> Instant {
        let Some(hint) = self.hint else { return other };
        let until = saturating_add(now, hint);
        other.max(self.ends.map_or(until, |ends| until.min(ends)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn hint(wait: Duration) -> Hold {
        Hold { hint: Some(wait), ends: None }
    }

    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn one_probe_then_a_ramp() {
        let now = start();
        let mut recovery = Recovery::begin([S, 2 * S].into_iter(), now, Hold::NONE, 1).unwrap();
        assert!(!recovery.may_send(now));
        assert_eq!(recovery.due(), Some(now + S));
        let now = now + S;
        assert!(recovery.may_send(now));
        let probe = recovery.sent();
        assert!(!recovery.may_send(now), "one probe at a time");
        assert_eq!(recovery.responded(probe, 8), Step::Recovering);
        let pair = [recovery.sent(), recovery.sent()];
        assert!(!recovery.may_send(now));
        assert_eq!(recovery.responded(pair[0], 8), Step::Recovering);
        assert_eq!(recovery.responded(pair[1], 8), Step::Recovered);
    }

    #[test]
    fn a_probe_that_fails_waits_longer_and_late_results_move_nothing() {
        let now = start();
        let mut recovery = Recovery::begin([S, 2 * S, 4 * S].into_iter(), now, Hold::NONE, 1).unwrap();
        assert_eq!(recovery.responded(0, 1), Step::Recovering, "sent before the failure");
        assert!(!recovery.may_send(now));
        let first = recovery.sent();
        assert_eq!(recovery.failed(first, now + S, Hold::NONE, 1), Step::Recovering);
        assert_eq!(recovery.due(), Some(now + 3 * S));
        assert_eq!(recovery.failed(first, now + S, Hold::NONE, 1), Step::Recovering);
        assert_eq!(recovery.due(), Some(now + 3 * S), "the same failure twice");
        assert_eq!(recovery.failed(0, now + S, hint(9 * S), 1), Step::Recovering);
        assert_eq!(recovery.due(), Some(now + 10 * S), "but a hint is a hint");
        let second = recovery.sent();
        assert_eq!(recovery.failed(second, now, Hold::NONE, 1), Step::Recovering);
        let third = recovery.sent();
        assert_eq!(recovery.failed(third, now, Hold::NONE, 1), Step::GivenUp);
    }

    #[test]
    fn a_hint_is_never_undercut_and_an_absurd_one_is_never() {
        let now = start();
        let recovery = Recovery::begin([S].into_iter(), now, hint(30 * S), 1).unwrap();
        assert_eq!(recovery.due(), Some(now + 30 * S));
        let recovery = Recovery::begin([S].into_iter(), now, hint(Duration::MAX), 1).unwrap();
        assert!(!recovery.may_send(now + 3600 * S));
        assert!(Recovery::begin(std::iter::empty(), now, Hold::NONE, 1).is_none());
    }

    #[test]
    fn f01_a_hold_ends_with_the_batch_that_caused_it() {
        let now = start();
        let ends = Some(now + 20 * S);
        let mut recovery = Recovery::begin([S, 2 * S].into_iter(), now, Hold { hint: Some(60 * S), ends }, 1).unwrap();
        assert_eq!(recovery.due(), ends);
        assert!(!recovery.may_send(now + 19 * S) && recovery.may_send(now + 20 * S));
        assert_eq!(
            recovery.failed(0, now + 5 * S, Hold { hint: Some(60 * S), ends: Some(now + 30 * S) }, 1),
            Step::Recovering
        );
        assert_eq!(recovery.due(), Some(now + 30 * S), "the hint of a later batch lasts longer");
        recovery.end_hint();
        assert_eq!(recovery.due(), Some(now + S), "the backoff itself still counts");
        assert!(recovery.may_send(now + 5 * S), "none of them waits any longer");
        let probe = recovery.sent();
        assert!(!recovery.may_send(now + 5 * S), "one probe at a time");
        assert_eq!(recovery.failed(probe, now + 6 * S, Hold::NONE, 1), Step::Recovering);
        assert_eq!(recovery.due(), Some(now + 8 * S));
    }
}
