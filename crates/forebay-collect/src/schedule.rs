//! The times of the reports. Pure: no clock, no timer.

use forebay_core::{
    ConfigError,
    chance::{SplitMix64, entropy},
    time::saturating_mul,
};
use std::{ops::Range, time::Duration};

/// Periodic instants, of which the first is spread.
///
/// Programs that start together would report together for ever; so the first delay is drawn from `[0.5, 1.5)` times the interval
/// (as in KIP-714 for the first push after a subscription), and all others are the interval. Times count from any origin: only
/// the distance between two calls matters.
///
/// ```
/// use forebay_collect::Schedule;
/// use std::time::Duration;
///
/// let interval = Duration::from_secs(60);
/// let mut schedule = Schedule::new(interval).unwrap().seed(7);
/// let start = Duration::ZERO;
/// let first = schedule.start(start);
/// assert!((Duration::from_secs(30)..Duration::from_secs(90)).contains(&first));
/// assert_eq!(schedule.after(first), first + interval);
/// // Intervals that were missed are left out.
/// let late = first + 4 * interval + Duration::from_secs(1);
/// assert_eq!(schedule.after(late), first + 5 * interval);
/// ```
#[derive(Debug)]
pub struct Schedule {
    interval: Duration,
    spread: Range<f64>,
    rng: SplitMix64,
    next: Duration,
}

// === impl Schedule ===

impl Schedule {
    /// The default range of the first delay, as shares of the interval.
    pub const SPREAD: Range<f64> = 0.5..1.5;

    /// The longest interval: a year.
    pub const MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    /// A schedule with this interval, whose first time is after 0.5 to 1.5 of it.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if `interval` is 0, or longer than [`MAX`](Self::MAX).
    pub fn new(interval: Duration) -> Result<Self, ConfigError> {
        check(interval)?;
        Ok(Self { interval, spread: Self::SPREAD, rng: SplitMix64::new(entropy()), next: Duration::ZERO })
    }

    /// Sets the seed of the random delay; by default it is random.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.rng = SplitMix64::new(seed);
        self
    }

    /// Sets the range of the first delay, as shares of the interval; `1.0..1.0` for no spread.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if it is no range of finite shares from 0 to 10, with its start first.
    pub fn spread(mut self, spread: Range<f64>) -> Result<Self, ConfigError> {
        if !(0.0 <= spread.start && spread.start <= spread.end && spread.end <= 10.0) {
            return Err(ConfigError::new("spread", format_args!("{spread:?}"), "shares from 0.0 to 10.0, start first"));
        }
        self.spread = spread;
        Ok(self)
    }

    /// The interval.
    #[must_use]
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Starts at `now`, and returns the first time: a spread interval from now.
    pub fn start(&mut self, now: Duration) -> Duration {
        let share = self.spread.start + (self.spread.end - self.spread.start) * self.rng.unit();
        self.next = now.saturating_add(saturating_mul(self.interval, share));
        self.next
    }

    /// Restarts with another interval.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if `interval` is 0, or longer than [`MAX`](Self::MAX); the schedule then stays as it was.
    pub fn restart(&mut self, interval: Duration, now: Duration) -> Result<Duration, ConfigError> {
        check(interval)?;
        self.interval = interval;
        Ok(self.start(now))
    }

    /// Returns the next time after `now`.
    ///
    /// Times that have passed are left out.
    pub fn after(&mut self, now: Duration) -> Duration {
        self.next = self.next.saturating_add(self.interval);
        if let Some(late) = now.checked_sub(self.next) {
            // The grid stays the same, so that programs which stalled together do not continue together.
            let missed = late.as_nanos() / self.interval.as_nanos() + 1;
            let skipped = self.interval.as_nanos().saturating_mul(missed);
            self.next = self.next.saturating_add(Duration::from_nanos(u64::try_from(skipped).unwrap_or(u64::MAX)));
        }
        self.next
    }
}

fn check(interval: Duration) -> Result<(), ConfigError> {
    if interval.is_zero() || interval > Schedule::MAX {
        return Err(ConfigError::new("interval", format_args!("{interval:?}"), "above 0 s, and at most 365 days"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn k08_the_first_delay_is_half_to_one_and_a_half_intervals() {
        let interval = Duration::from_secs(10);
        let mut schedule = Schedule::new(interval).unwrap().seed(7);
        let draws: Vec<_> = (0..10_000).map(|_| schedule.start(Duration::ZERO)).collect();
        assert!(draws.iter().all(|draw| (interval / 2..interval * 3 / 2).contains(draw)));
        // It uses all of the range, evenly: a tenth of the draws in each tenth of it.
        for tenth in 0..10 {
            let from = interval / 2 + interval / 10 * tenth;
            let here = draws.iter().filter(|draw| (from..from + interval / 10).contains(*draw)).count();
            assert!((900..1100).contains(&here), "{here} in the tenth from {from:?}");
        }
    }

    #[test]
    fn k08_two_without_a_seed_are_apart() {
        let first = || Schedule::new(Duration::from_secs(3600)).unwrap().start(Duration::ZERO);
        assert_ne!(first(), first());
    }

    #[test]
    fn c04_a_bad_interval_changes_nothing() {
        let mut schedule = Schedule::new(Duration::from_secs(60)).unwrap();
        let next = schedule.start(Duration::ZERO);
        for bad in [Duration::ZERO, Schedule::MAX + Duration::from_nanos(1)] {
            assert_eq!(schedule.restart(bad, Duration::ZERO).unwrap_err().knob(), "interval");
            assert!(Schedule::new(bad).is_err());
        }
        assert_eq!(schedule.after(next), next + Duration::from_secs(60));
        for bad in [-0.1..1.0, 1.0..0.5, 0.0..11.0, f64::NAN..1.0] {
            assert!(Schedule::new(Duration::from_secs(1)).unwrap().spread(bad).is_err());
        }
    }

    proptest! {
        #[test]
        fn the_next_time_is_the_first_of_the_grid_that_has_not_passed(
            interval in 1_u64..100, lates in prop::collection::vec(0_u64..1000, 1..50)
        ) {
            let interval = Duration::from_millis(interval);
            let mut schedule = Schedule::new(interval).unwrap().seed(3);
            let first = schedule.start(Duration::ZERO);
            let mut due = first;
            for late in lates {
                let now = due + Duration::from_millis(late);
                let next = schedule.after(now);
                prop_assert!(next > now && next <= now + interval);
                prop_assert_eq!(next.abs_diff(first).as_nanos() % interval.as_nanos(), 0);
                due = next;
            }
        }
    }
}
