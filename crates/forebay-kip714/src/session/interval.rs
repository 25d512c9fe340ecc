use std::time::Duration;

/// The time between two pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval(Duration);

// === impl Interval ===

impl Interval {
    /// Where a broker says none that makes sense: five minutes, as in the KIP.
    pub(super) const DEFAULT: Duration = Duration::from_secs(300);
    /// The shortest that a broker can be configured to; what is shorter is a mistake that must not flood anybody.
    const MIN: Duration = Duration::from_millis(100);

    /// As a broker says it.
    pub(super) fn of_millis(millis: i32) -> Self {
        match u64::try_from(millis) {
            Ok(0) | Err(_) => Self(Self::DEFAULT),
            Ok(millis) => Self(Duration::from_millis(millis).max(Self::MIN)),
        }
    }

    /// From one push to the next.
    pub(super) fn plain(self) -> Duration {
        self.0
    }

    /// From a subscription to its first push: half the interval to one and a half, by `unit` in `0.0..1.0`.
    pub(super) fn jittered(self, unit: f64) -> Duration {
        self.0.mul_f64(0.5 + unit)
    }
}

/// For how long a broker wants to hear nothing, never longer than its longest interval.
pub(super) fn throttle(millis: i32) -> Duration {
    const MAX: Duration = Duration::from_secs(3_600);
    Duration::from_millis(u64::try_from(millis).unwrap_or_default()).min(MAX)
}
