use crate::Order;
use forebay_core::ConfigError;
use std::time::Duration;

/// How a backlog is replayed.
#[derive(Clone, Debug, PartialEq)]
#[must_use = "a policy does nothing until a `Replay` follows it"]
pub struct ReplayPolicy {
    pub(super) order: Order,
    pub(super) max_records_per_second: u32,
    pub(super) probe_records: usize,
    pub(super) batch_records: usize,
    pub(super) batch_bytes: usize,
    pub(super) max_in_flight: usize,
    pub(super) ramp: Duration,
    pub(super) min_backoff: Duration,
    pub(super) max_backoff: Duration,
    pub(super) trickle: f64,
    pub(super) yield_for: Duration,
    pub(super) idle: Duration,
}

// === impl ReplayPolicy ===

impl ReplayPolicy {
    /// For a spool that everything is written to before it is sent: no bound on the rate, no ramp, four leases at once.
    pub fn write_ahead() -> Self {
        Self { max_records_per_second: u32::MAX, ramp: Duration::ZERO, max_in_flight: 4, ..Self::default() }
    }

    /// From which end records are leased; the oldest by default.
    ///
    /// With [`Order::NewestFirst`] fresh records overtake the backlog, which goes on beside them: see [`trickle`](Self::trickle).
    pub fn order(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The full rate; 10,000 records a second by default.
    pub fn max_records_per_second(self, max_records_per_second: u32) -> Self {
        Self { max_records_per_second, ..self }
    }

    /// How many records a probe has; 1 by default.
    pub fn probe_records(self, probe_records: usize) -> Self {
        Self { probe_records, ..self }
    }

    /// How many records, and bytes of them, a lease has at most; 512 and a mebibyte by default.
    pub fn batch(self, records: usize, bytes: usize) -> Self {
        Self { batch_records: records, batch_bytes: bytes, ..self }
    }

    /// How many leases may be out at once; 2 by default.
    pub fn max_in_flight(self, max_in_flight: usize) -> Self {
        Self { max_in_flight, ..self }
    }

    /// How long the rate grows after a probe was delivered; 10 seconds by default.
    pub fn ramp(self, ramp: Duration) -> Self {
        Self { ramp, ..self }
    }

    /// How long to wait after a failure, and after many; 1 second and a minute by default.
    pub fn backoff(self, min: Duration, max: Duration) -> Self {
        Self { min_backoff: min, max_backoff: max, ..self }
    }

    /// With [`Order::NewestFirst`]: for each lease of the newest records, how many leases of the oldest; 0.25 by default.
    pub fn trickle(self, trickle: f64) -> Self {
        Self { trickle, ..self }
    }

    /// While fresh items wait outside of the spool: how long the replay pauses after each lease; 500 milliseconds by default.
    pub fn yield_for(self, yield_for: Duration) -> Self {
        Self { yield_for, ..self }
    }

    /// How long to wait while there is nothing to lease; 250 milliseconds by default.
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    /// Checks every value.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a value that makes no sense.
    pub fn check(self) -> Result<Self, ConfigError> {
        if self.max_records_per_second == 0 {
            return Err(ConfigError::new("max_records_per_second", 0, "1 or more"));
        }
        for (knob, value) in [
            ("probe_records", self.probe_records),
            ("batch", self.batch_records.min(self.batch_bytes)),
            ("max_in_flight", self.max_in_flight),
        ] {
            if value == 0 {
                return Err(ConfigError::new(knob, 0, "1 or more"));
            }
        }
        if self.min_backoff.is_zero() || self.min_backoff > self.max_backoff {
            let value = format!("{:?} to {:?}", self.min_backoff, self.max_backoff);
            return Err(ConfigError::new("backoff", value, "more than nothing, and no more than the maximum"));
        }
        if !(self.trickle > 0.0 && self.trickle <= 1.0) {
            return Err(ConfigError::new("trickle", self.trickle, "above 0.0, up to 1.0"));
        }
        if self.idle.is_zero() {
            return Err(ConfigError::new("idle", "0 s", "more than nothing"));
        }
        Ok(self)
    }
}

impl Default for ReplayPolicy {
    fn default() -> Self {
        Self {
            order: Order::Oldest,
            max_records_per_second: 10_000,
            probe_records: 1,
            batch_records: 512,
            batch_bytes: 1 << 20,
            max_in_flight: 2,
            ramp: Duration::from_secs(10),
            min_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            trickle: 0.25,
            yield_for: Duration::from_millis(500),
            idle: Duration::from_millis(250),
        }
    }
}
