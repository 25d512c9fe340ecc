use forebay_core::{ConfigError, adaptive::Adaptive};
use std::time::Duration;

/// When a batch closes, and how many are in flight.
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`max_items`](Self::max_items) | 512 | 1 to 2^32 - 1 |
/// | [`max_bytes`](Self::max_bytes) | 4 MiB | 1 and more |
/// | [`max_delay`](Self::max_delay) | 5 s; zero where each caller has a reply of its own | zero and more |
/// | [`max_in_flight`](Self::max_in_flight) | 1; [`Adaptive`] in an exporter | 1 and more, or [`Adaptive`] |
/// | [`close_on_high`](Self::close_on_high) | off | |
///
/// 512 and 5 s are those of OpenTelemetry's [batch processor].
///
/// [batch processor]: https://opentelemetry.io/docs/specs/otel/trace/sdk/#batching-processor
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batching {
    pub(crate) max_items: usize,
    pub(crate) max_bytes: usize,
    /// `None`: the default of the builder.
    pub(crate) max_delay: Option<Duration>,
    /// `None`: the default of the owner, one for a batcher.
    pub(crate) max_in_flight: Option<MaxInFlight>,
    pub(crate) close_on_high: bool,
}

/// How many batches are with the inner service at a time: a number, or a limit that tunes itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MaxInFlight {
    /// So many.
    Fixed(usize),
    /// As many as the server takes, between a floor and a ceiling.
    Adaptive(Adaptive),
}

// === impl Batching ===

impl Batching {
    /// The defaults of the table above.
    #[must_use]
    pub const fn new() -> Self {
        Self { max_items: 512, max_bytes: 4 << 20, max_delay: None, max_in_flight: None, close_on_high: false }
    }

    /// The most items of one batch. It closes when it holds so many.
    #[must_use]
    pub const fn max_items(mut self, items: usize) -> Self {
        self.max_items = items;
        self
    }

    /// The most bytes of one batch, as `Weigh` counts them. It closes before an item that would go above.
    ///
    /// An item that alone is heavier makes a batch of its own.
    #[must_use]
    pub const fn max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// How long a batch stays open, from its first item on. Zero: until a batch may be sent.
    ///
    /// Where callers wait for their replies, zero suits most servers: while fewer than [`max_in_flight`](Self::max_in_flight)
    /// batches are with the inner service, an item waits for no other; while as many are, the items gather, and leave together
    /// when one of those comes back. So batches are as large as the load is high, and at low load no time is added.
    ///
    /// The default is 5 s. With [`respond_per_item`](crate::BatchBuilder::respond_per_item) and
    /// [`respond_per_key`](crate::BatchBuilder::respond_per_key) it is zero, since such a reply has a caller that waits for it.
    ///
    /// A delay is measured from when the worker first sees the batch, which is one wake-up after the item was handed over: that
    /// reads no clock.
    #[must_use]
    pub const fn max_delay(mut self, delay: Duration) -> Self {
        self.max_delay = Some(delay);
        self
    }

    /// How many batches are with the inner service at a time.
    ///
    /// 1 keeps the order of arrival, within a lane and a partition: a batch that is [parked](crate::BatchBuilder::park_backoff)
    /// holds what is behind it until it is taken, expired or given up. With 2 and more the others overtake it, so that a server
    /// that fails some requests is kept busy with the rest.
    ///
    /// [`Adaptive`] finds the number: it grows while more in flight brings more throughput, and shrinks with the first response
    /// that comes back retryable (a 429, a 503, a timeout). Each call of the inner service is one sample: what is sent again by
    /// [`park_backoff`](crate::BatchBuilder::park_backoff) is another one, while a retry inside of the service would pass for a slow
    /// server. An exporter samples its single attempts.
    #[must_use]
    pub fn max_in_flight(mut self, batches: impl Into<MaxInFlight>) -> Self {
        self.max_in_flight = Some(batches.into());
        self
    }

    /// The same, where no number was set: for what has a batcher, and a default of its own.
    #[doc(hidden)]
    #[must_use]
    pub fn max_in_flight_by_default(mut self, batches: impl Into<MaxInFlight>) -> Self {
        self.max_in_flight.get_or_insert(batches.into());
        self
    }

    /// How many batches are in flight at most.
    pub(crate) fn in_flight(&self) -> MaxInFlight {
        self.max_in_flight.unwrap_or(MaxInFlight::Fixed(1))
    }

    /// Whether one batch at a time is with the inner service, so that batches keep the order of arrival.
    #[must_use]
    pub fn keeps_order(&self) -> bool {
        self.in_flight() == MaxInFlight::Fixed(1)
    }

    /// Closes the batch on each item of high priority.
    #[must_use]
    pub const fn close_on_high(mut self, close: bool) -> Self {
        self.close_on_high = close;
        self
    }

    /// Checks every knob.
    ///
    /// # Errors
    ///
    /// The first knob whose value is outside of the table above.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let Self { max_items, max_bytes, .. } = *self;
        if max_items == 0 || u32::try_from(max_items).is_err() {
            return Err(ConfigError::new("max_items", max_items, "1 to 2^32 - 1"));
        }
        if max_bytes == 0 {
            return Err(ConfigError::new("max_bytes", max_bytes, "1 and more"));
        }
        // An `Adaptive` was checked when it was built.
        if self.in_flight() == MaxInFlight::Fixed(0) {
            return Err(ConfigError::new("max_in_flight", 0, "1 and more"));
        }
        Ok(())
    }
}

impl Default for Batching {
    fn default() -> Self {
        Self::new()
    }
}

// === impl MaxInFlight ===

impl From<usize> for MaxInFlight {
    fn from(batches: usize) -> Self {
        Self::Fixed(batches)
    }
}

impl From<Adaptive> for MaxInFlight {
    fn from(adaptive: Adaptive) -> Self {
        Self::Adaptive(adaptive)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_knob_is_refused_by_name() {
        let knob = |batching: Batching| batching.validate().unwrap_err().knob();
        assert_eq!(knob(Batching::new().max_items(0)), "max_items");
        assert_eq!(knob(Batching::new().max_items(usize::MAX)), "max_items");
        assert_eq!(knob(Batching::new().max_bytes(0)), "max_bytes");
        assert_eq!(knob(Batching::new().max_in_flight(0)), "max_in_flight");
        assert!(Batching::new().validate().is_ok());
        assert!(Batching::new().max_delay(Duration::ZERO).validate().is_ok());
        assert!(!Batching::new().max_in_flight(Adaptive::default()).keeps_order());
        let adaptive = |batching: Batching| batching.max_in_flight_by_default(Adaptive::default());
        assert!(!adaptive(Batching::new()).keeps_order());
        assert!(adaptive(Batching::new().max_in_flight(1)).keeps_order(), "what was set stays");
        assert!(Batching::new().keeps_order() && !Batching::new().max_in_flight(2).keeps_order());
    }
}
