//! Whether one more attempt may be made, and until when: decisions without a clock.

use crate::{Deadline, Why};
use std::time::Duration;
use tokio::time::Instant;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) max_retries: u32,
    pub(crate) max_elapsed: Option<Duration>,
    pub(crate) max_retry_after: Duration,
}

/// From when on no attempt of a request begins, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) at: Instant,
    pub(crate) why: Why,
}

// === impl Limits ===

impl Limits {
    /// Whether an attempt may be followed by another, once `attempts` have been made.
    pub(crate) const fn allows_after(&self, attempts: u32) -> bool {
        attempts <= self.max_retries
    }

    /// Whether there may be a retry after `attempts` attempts, of which the last was answered with `hint`.
    pub(crate) fn check(&self, attempts: u32, replayable: bool, hint: Option<Duration>) -> Result<(), Why> {
        if !self.allows_after(attempts) {
            return Err(Why::Attempts);
        }
        if !replayable {
            return Err(Why::BodyNotReplayable);
        }
        match hint {
            Some(hint) if hint > self.max_retry_after => Err(Why::RetryAfter(hint)),
            _ => Ok(()),
        }
    }

    /// The end of a request that was begun at `started`: the earlier of its deadline and `max_elapsed`.
    pub(crate) fn end(&self, started: Instant, deadline: Option<Deadline>) -> Option<End> {
        let deadline = deadline.map(|deadline| End { at: deadline.instant(), why: Why::Deadline });
        // An end that the clock cannot count is none.
        let elapsed = self.max_elapsed.and_then(|most| started.checked_add(most));
        let elapsed = elapsed.map(|at| End { at, why: Why::Elapsed });
        deadline.into_iter().chain(elapsed).min_by_key(|end| end.at)
    }
}

// === impl End ===

impl End {
    /// Whether an attempt that begins after `wait` begins before the end.
    pub(crate) fn check(end: Option<Self>, now: Instant, wait: Duration) -> Result<(), Why> {
        match end {
            Some(end) if end.at.saturating_duration_since(now) <= wait => Err(end.why),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn limits(max_elapsed: Option<Duration>) -> Limits {
        Limits { max_retries: 3, max_elapsed, max_retry_after: secs(60) }
    }

    #[test]
    fn r01_r02_attempts_are_retries_and_one() {
        let limits = limits(None);
        assert_eq!(limits.check(3, true, None), Ok(()));
        assert_eq!(limits.check(4, true, None), Err(Why::Attempts));
        let none = Limits { max_retries: 0, ..limits };
        assert_eq!(none.check(1, true, None), Err(Why::Attempts));
        let most = Limits { max_retries: u32::MAX, ..limits };
        assert_eq!(most.check(u32::MAX, true, None), Ok(()));
    }

    #[test]
    fn r12_an_absurd_hint_ends_the_retry() {
        assert_eq!(limits(None).check(1, true, Some(secs(60))), Ok(()));
        assert_eq!(limits(None).check(1, true, Some(secs(61))), Err(Why::RetryAfter(secs(61))));
        assert_eq!(limits(None).check(1, true, Some(Duration::MAX)), Err(Why::RetryAfter(Duration::MAX)));
    }

    #[test]
    fn r08_the_earlier_end_counts_and_is_not_reached() {
        let now = Instant::now();
        let end =
            |elapsed, deadline| limits(elapsed).end(now, deadline).map(|End { at, why }| (at.duration_since(now), why));
        let deadline = |secs| Some(Deadline::at(now + Duration::from_secs(secs)));
        assert_eq!(end(None, None), None);
        assert_eq!(end(Some(secs(5)), None), Some((secs(5), Why::Elapsed)));
        assert_eq!(end(Some(secs(5)), deadline(3)), Some((secs(3), Why::Deadline)));
        assert_eq!(end(Some(secs(5)), deadline(9)), Some((secs(5), Why::Elapsed)));
        assert_eq!(end(Some(Duration::MAX), None), None, "beyond the clock");

        let three = limits(Some(secs(3))).end(now, None);
        assert_eq!(End::check(three, now, secs(2)), Ok(()));
        assert_eq!(End::check(three, now, secs(3)), Err(Why::Elapsed));
        assert_eq!(End::check(three, now + secs(9), Duration::ZERO), Err(Why::Elapsed));
        assert_eq!(End::check(None, now, Duration::MAX), Ok(()));
    }
}
