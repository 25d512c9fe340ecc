//! Time arithmetic that never overflows, whether a user or a peer supplied the duration.

use std::time::{Duration, Instant};

/// The longest wait that is told apart from "never": 30 years.
///
/// Far enough to be never for a process, near enough that an instant that far away can be added to again without an overflow.
pub const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The instant that lies `wait` after `at`; one that lies further away than [`FAR`] is [`FAR`] away.
///
/// `Instant + Duration` panics where the sum cannot be represented. Every duration that a user or a peer supplied is added by
/// this function instead.
///
/// ```
/// use forebay_core::time::{FAR, saturating_add};
/// use std::time::{Duration, Instant};
///
/// let now = Instant::now();
/// assert_eq!(saturating_add(now, Duration::from_secs(5)), now + Duration::from_secs(5));
/// assert_eq!(saturating_add(now, Duration::MAX), now + FAR);
/// ```
#[inline]
#[must_use]
pub fn saturating_add(at: Instant, wait: Duration) -> Instant {
    // An instant to which 30 years cannot be added is centuries away itself: it is never in any case.
    at.checked_add(wait.min(FAR)).unwrap_or(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn f02_any_duration_can_be_added_many_times() {
        let start = Instant::now();
        let mut at = start;
        for wait in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            assert_eq!(saturating_add(start, wait), start + wait.min(FAR));
        }
        for _ in 0..1000 {
            let later = saturating_add(at, Duration::MAX);
            assert!(later > at);
            at = later;
        }
    }
}
