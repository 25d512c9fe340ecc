use crate::{Batching, MaxInFlight, parking::ParkRule};
use forebay_core::{ConfigError, adaptive::SharedLimiter};
use forebay_intake::{ByteBudget, Limits, Overflow};
use std::time::Duration;

/// The settings of a batcher that are plain values. The table of [`BatchBuilder`](crate::BatchBuilder) says what is allowed.
#[derive(Clone, Debug)]
pub(crate) struct Knobs {
    pub(crate) limits: Limits,
    /// What the batcher draws from beside others.
    pub(crate) byte_budget: Option<ByteBudget>,
    pub(crate) overflow: Overflow,
    pub(crate) batching: Batching,
    /// What holds where `batching` does not say it.
    pub(crate) defaults: Defaults,
    /// How many batches of different partitions may be open; of no effect without a key.
    pub(crate) max_open_partitions: usize,
    /// How old a batch may get before it is dropped.
    pub(crate) max_age: Option<Duration>,
    /// How long the inner service may keep one batch waiting for its readiness.
    pub(crate) ready_timeout: Duration,
    /// How many requests may be spent on a batch that is refused for what is in it; below 2 it is never split.
    pub(crate) split_budget: u32,
    pub(crate) park: ParkRule,
    /// Whether an item is sent although its caller has dropped the future.
    pub(crate) run_cancelled: bool,
    /// The limiter of a layer below, which samples the attempts.
    pub(crate) sampled_below: Option<SharedLimiter>,
}

/// What holds where a [`Batching`] does not say it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// How long a batch stays open.
    pub(crate) delay: Duration,
    /// How many batches are with the inner service at a time.
    pub(crate) in_flight: MaxInFlight,
}

// === impl Knobs ===

impl Knobs {
    /// That of OpenTelemetry's batch processor.
    pub(crate) const DELAY: Duration = Duration::from_secs(5);

    pub(crate) const fn new() -> Self {
        Self {
            limits: Limits::new(),
            byte_budget: None,
            overflow: Overflow::Refuse,
            batching: Batching::new(),
            defaults: Defaults { delay: Self::DELAY, in_flight: MaxInFlight::Fixed(1) },
            max_open_partitions: 128,
            max_age: None,
            ready_timeout: Duration::from_secs(30),
            split_budget: 0,
            park: ParkRule { backoff: None, max_bytes: usize::MAX, max_hint: Duration::from_secs(60) },
            run_cancelled: false,
            sampled_below: None,
        }
    }

    /// Checks every knob; `retains` says whether the batch retains its items while they are sent.
    pub(crate) fn validate(&self, retains: bool) -> Result<(), ConfigError> {
        self.limits.validate()?;
        self.batching.validate()?;
        if let Overflow::ShedByDelay { .. } = self.overflow {
            let allowed = "Refuse, DropOldest or Wait: items that leave together have no wait of their own";
            return Err(ConfigError::new("overflow", "ShedByDelay", allowed));
        }
        if self.max_open_partitions == 0 {
            return Err(ConfigError::new("max_open_partitions", 0, "1 and more"));
        }
        if self.max_age.is_some_and(|age| age.is_zero()) {
            return Err(ConfigError::new("max_age", "0s", "above zero"));
        }
        if self.ready_timeout.is_zero() {
            return Err(ConfigError::new("ready_timeout", "0s", "above zero"));
        }
        if self.park.backoff.is_some() && !retains {
            let allowed = "with `retain_items`: a batch that has no items any more cannot wait";
            return Err(ConfigError::new("park_backoff", "on", allowed));
        }
        if self.split_budget > 0 && !retains {
            let allowed = "0, or with `retain_items`: a batch that has no items any more cannot be split";
            return Err(ConfigError::new("split_budget", self.split_budget, allowed));
        }
        Ok(())
    }
}
