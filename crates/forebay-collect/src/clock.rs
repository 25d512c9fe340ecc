//! The reads of the wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, by the wall clock; 0, which means unknown, before that.
#[expect(clippy::disallowed_methods, reason = "a point has the time at which it was taken")]
pub(crate) fn unix_nanos() -> u64 {
    nanos_of(SystemTime::now())
}

/// Nanoseconds since 1970.
pub(crate) fn nanos_of(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
