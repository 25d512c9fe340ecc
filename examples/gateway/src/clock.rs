use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970; zero before.
#[must_use]
pub(super) fn unix_nanos() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "the edge of the gateway: when a request was received")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
