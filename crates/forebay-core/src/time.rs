//! Time arithmetic that never overflows, whether a user or a peer supplied the duration.

use std::time::{Duration, Instant};

/// The longest wait that differs from "never": 30 years.
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

/// `wait` times `factor`; a product that cannot be represented is the nearest duration that can be.
///
/// `Duration::mul_f64` panics where the product is negative, not a number, or too large. A negative product, and one that is
/// not a number, is [`Duration::ZERO`] here; one that is too large is [`Duration::MAX`].
///
/// ```
/// use forebay_core::time::saturating_mul;
/// use std::time::Duration;
///
/// assert_eq!(saturating_mul(Duration::from_secs(2), 1.5), Duration::from_secs(3));
/// assert_eq!(saturating_mul(Duration::MAX, 1.5), Duration::MAX);
/// assert_eq!(saturating_mul(Duration::from_secs(2), -1.0), Duration::ZERO);
/// ```
#[inline]
#[must_use]
pub fn saturating_mul(wait: Duration, factor: f64) -> Duration {
    let seconds = wait.as_secs_f64() * factor;
    let beyond = if seconds > 0.0 { Duration::MAX } else { Duration::ZERO };
    Duration::try_from_secs_f64(seconds).unwrap_or(beyond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn f02_any_duration_can_be_added_many_times_and_multiplied() {
        let start = Instant::now();
        let mut at = start;
        for wait in [Duration::ZERO, Duration::from_nanos(1), Duration::MAX] {
            assert_eq!(saturating_add(start, wait), start + wait.min(FAR));
        }
        let factors = [f64::NEG_INFINITY, -1.0, -0.0, 0.0, 1e-300, 0.5, 1.0, 1e300, f64::MAX, f64::INFINITY, f64::NAN];
        for wait in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(1), Duration::MAX] {
            for factor in factors {
                let product = saturating_mul(wait, factor);
                assert!(product.is_zero() || factor > 0.0, "{wait:?} * {factor} = {product:?}");
            }
        }
        assert_eq!(saturating_mul(Duration::from_secs(1), f64::INFINITY), Duration::MAX);
        assert_eq!(saturating_mul(Duration::from_millis(10), 0.5), Duration::from_millis(5));
        for _ in 0..1000 {
            let later = saturating_add(at, Duration::MAX);
            assert!(later > at);
            at = later;
        }
    }
}
