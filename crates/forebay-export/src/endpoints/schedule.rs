use forebay_core::time::saturating_add;
use std::time::{Duration, Instant};

/// When a name is looked up again. Pure state: time and chance come in.
///
/// A result is used for its time to live, within bounds, and looked up again a little before its end, at a moment that is drawn: a
/// fleet that started together does not ask together. A lookup that fails is repeated soon, and then less and less often.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// A name is not looked up more often than that.
    shortest: Duration,
    /// Nor less often.
    longest: Duration,
    /// The lookups that have failed in a row.
    failures: u32,
}

/// Of its time, a result is used for at least this many thousandths.
const USED_FOR: u64 = 800;

// === impl Schedule ===

impl Schedule {
    pub(crate) const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest, failures: 0 }
    }

    /// The next lookup after one that has succeeded at `now`, with a time to live if the lookup knows one; `chance` is below 1000.
    pub(crate) fn succeeded(&mut self, now: Instant, valid_for: Option<Duration>, chance: u64) -> Instant {
        self.failures = 0;
        let valid_for = valid_for.unwrap_or(self.longest).clamp(self.shortest, self.longest);
        saturating_add(now, share_of(valid_for, chance).max(self.shortest.min(valid_for)))
    }

    /// The next lookup after one that has failed at `now`.
    pub(crate) fn failed(&mut self, now: Instant, chance: u64) -> Instant {
        let doublings = self.failures.min(16);
        self.failures = self.failures.saturating_add(1);
        let wait = self.shortest.saturating_mul(1 << doublings).min(self.longest);
        saturating_add(now, share_of(wait, chance))
    }
}

/// Between four fifths and all of a time.
fn share_of(time: Duration, chance: u64) -> Duration {
    let share = USED_FOR + chance.min(999) * (1000 - USED_FOR) / 1000;
    let nanos = time.as_nanos().saturating_mul(u128::from(share)) / 1000;
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    #[expect(clippy::disallowed_methods, reason = "any instant will do: no time passes")]
    fn start() -> Instant {
        Instant::now()
    }

    proptest! {
        #[test]
        fn a_lookup_comes_within_its_time_to_live_and_its_bounds(
            valid_for in prop::option::of(0_u64..200_000),
            chance in 0_u64..1000,
            failures in 0_u32..40,
        ) {
            let (now, mut schedule) = (start(), Schedule::new(5 * S, 300 * S));
            for _ in 0..failures {
                let wait = schedule.failed(now, chance) - now;
                prop_assert!(wait >= 4 * S && wait <= 300 * S);
            }
            let valid_for = valid_for.map(Duration::from_millis);
            let wait = schedule.succeeded(now, valid_for, chance) - now;
            prop_assert!(wait >= 5 * S && wait <= 300 * S);
            if let Some(valid_for) = valid_for {
                prop_assert!(wait <= valid_for.max(5 * S));
            }
            prop_assert!(schedule.failed(now, chance) - now <= 5 * S, "a success ends the backoff");
        }
    }
}
