use forebay_core::time::saturating_mul;
use std::time::Duration;

/// The longest time for which one response keeps the client from its brokers: the longest push interval that a broker can be
/// configured to (`interval.ms` goes from 100 ms to an hour).
///
/// A broker that says more is mistaken, and a client that believed it would be silent for up to 25 days.
const LONGEST: Duration = Duration::from_secs(3_600);

/// The time between two pushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interval(Duration);

// === impl Interval ===

impl Interval {
    /// Where a broker says none that makes sense: five minutes, as in the KIP.
    pub(super) const DEFAULT: Duration = Duration::from_secs(300);
    /// The shortest that a broker can be configured to; what is shorter is a mistake that must not flood the broker.
    const MIN: Duration = Duration::from_millis(100);

    /// As a broker says it.
    pub(super) fn of_millis(millis: i32) -> Self {
        match u64::try_from(millis) {
            Ok(0) | Err(_) => Self(Self::DEFAULT),
            Ok(millis) => Self(Duration::from_millis(millis).clamp(Self::MIN, LONGEST)),
        }
    }

    /// From one push to the next.
    pub(super) fn plain(self) -> Duration {
        self.0
    }

    /// From a subscription to its first push: half the interval to one and a half, by `unit` in `0.0..1.0`.
    pub(super) fn jittered(self, unit: f64) -> Duration {
        saturating_mul(self.0, 0.5 + unit)
    }
}

/// For how long a broker wants no request: a client has to obey `throttle_time_ms` (KIP-219), up to the longest interval.
pub(super) fn throttle(millis: i32) -> Duration {
    Duration::from_millis(u64::try_from(millis).unwrap_or_default()).min(LONGEST)
}

/// How long the way to the brokers is closed, as the transport says it, up to the longest interval.
pub(super) fn closed(retry_in: Option<Duration>) -> Duration {
    retry_in.unwrap_or_default().min(LONGEST)
}
