use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds since 1970, as every time of OTLP is given.
///
/// A time before 1970 is 0, which means unknown; one after the year 2554 is the largest there is.
#[must_use]
pub fn unix_nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn times_out_of_range_are_clamped() {
        assert_eq!(unix_nanos(UNIX_EPOCH + Duration::new(1, 5)), 1_000_000_005);
        assert_eq!(unix_nanos(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(unix_nanos(UNIX_EPOCH + Duration::from_secs(20_000_000_000)), u64::MAX);
    }
}
