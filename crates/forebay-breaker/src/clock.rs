use std::time::Duration;
use tokio::time::Instant;

/// Microseconds since the breaker was built, by tokio's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

// === impl Clock ===

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    #[inline]
    pub(crate) fn now(self) -> u64 {
        self.micros_at(Instant::now())
    }

    #[inline]
    pub(crate) fn micros_at(self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.0);
        // Wraps after 580,000 years of uptime.
        elapsed.as_secs().wrapping_mul(1_000_000).wrapping_add(elapsed.subsec_micros().into())
    }

    /// The instant after so many microseconds; `None` if it cannot be told.
    pub(crate) fn at(self, micros: u64) -> Option<Instant> {
        self.0.checked_add(Duration::from_micros(micros))
    }
}

/// Whole microseconds; 580,000 years are as good as for ever.
#[inline]
pub(crate) fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()))
}
