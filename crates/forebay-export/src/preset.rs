use crate::ExporterBuilder;
use forebay_batch::Batching;
use forebay_breaker::Trip;
use forebay_core::http::Classifier;
use forebay_intake::{Limits, Overflow};
use forebay_retry::{Backoff, Jitter};
use std::time::Duration;

/// The numbers of a system that this exporter can replace.
///
/// A preset sets limits, batching, retry, circuit breaker and parking, and nothing else. A later call overrides it.
///
/// | | `DatabricksNode` | `DatabricksCsharp` | `Collector` | `ConsulHcp` |
/// | --- | --- | --- | --- | --- |
/// | queue | 500 items, oldest normal out | 500 items, oldest normal out | 65,536 items, refuse | 65,536 items, refuse |
/// | batch | 100 items, 5 s | 100 items, 5 s | 8,192 items, 200 ms | 8,192 items, 60 s |
/// | in flight | 1 | 1 | 10 | 1 |
/// | attempt | 10 s | 10 s | 5 s | 15 s |
/// | retries | 3; 100 ms doubling to 1 s, 100 ms jitter | 3; 100 ms | none in place | none |
/// | sent again | 429, 500, 502, 503, 504 | what is not 400, 401, 403, 404 | 429, 502, 503, 504 | nothing |
/// | breaker | 5 in a row, 60 s, 2 successes | all of 5 and more in 30 s, 60 s, 1 success | as by default | as by default |
/// | parks while the server cannot be reached | no | no | 5 s growing by 1.5 to 30 s, for 5 min | no |
/// | reports lost items | at debug | at debug | as a warning | as a warning |
///
/// `DatabricksNode` and `DatabricksCsharp` are the telemetry of the Databricks SQL drivers for Node.js and for ADBC in C#;
/// `Collector` is the exporter helper of the OpenTelemetry Collector; `ConsulHcp` is Consul's metrics for HCP. Jitter and
/// `Retry-After`, which some of them lack, stay. Those with one batch in flight keep the order of arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// The Databricks SQL driver for Node.js.
    DatabricksNode,
    /// The Databricks ADBC driver in C#.
    DatabricksCsharp,
    /// The exporter helper of the OpenTelemetry Collector.
    Collector,
    /// Consul's exporter for HCP.
    ConsulHcp,
}

const SECOND: Duration = Duration::from_secs(1);
const TENTH: Duration = Duration::from_millis(100);

// === impl ExporterBuilder ===

impl<T, E, C, W, P> ExporterBuilder<T, E, C, W, P> {
    /// Sets the numbers of another system; see [`Preset`].
    pub fn preset(self, preset: Preset) -> Self {
        match preset {
            Preset::DatabricksNode => self
                .driver()
                .retryable(Classifier::driver())
                .retry(|retry| {
                    let backoff = Backoff::exponential(TENTH).cap(SECOND).jitter(Jitter::Additive(TENTH));
                    retry.max_retries(3).backoff(backoff)
                })
                .breaker(|breaker| breaker.trip(Trip::consecutive(5)).open_for(Duration::from_secs(60)).close_after(2)),
            Preset::DatabricksCsharp => self
                .driver()
                .retryable(Classifier::lenient())
                .retry(|retry| retry.max_retries(3).backoff(Backoff::constant(TENTH).jitter(Jitter::Equal)))
                .breaker(|breaker| {
                    let trip = Trip::ratio(1.0).over(Duration::from_secs(30)).min_calls(5);
                    breaker.trip(trip).open_for(Duration::from_secs(60)).close_after(1)
                }),
            Preset::Collector => self
                .limits(Limits::new())
                .overflow(Overflow::Refuse)
                .batching(Batching::new().max_items(8_192).max_delay(Duration::from_millis(200)).max_in_flight(10))
                .attempt_timeout(Duration::from_secs(5))
                .retryable(Classifier::otlp())
                .retry(|retry| retry.max_retries(0))
                .park_backoff(
                    Backoff::exponential(Duration::from_secs(5))
                        .factor(1.5)
                        .cap(Duration::from_secs(30))
                        .jitter(Jitter::Proportional(0.5)),
                )
                .max_age(Duration::from_secs(300)),
            Preset::ConsulHcp => self
                .limits(Limits::new())
                .overflow(Overflow::Refuse)
                .batching(Batching::new().max_items(8_192).max_delay(Duration::from_secs(60)).max_in_flight(1))
                .attempt_timeout(Duration::from_secs(15))
                .retry(|retry| retry.max_retries(0))
                .max_age(Duration::ZERO),
        }
    }

    /// The numbers that both drivers share.
    fn driver(self) -> Self {
        self.quiet()
            .limits(Limits::new().items(500).soft_limit(1.0))
            .overflow(Overflow::DropOldest)
            .batching(Batching::new().max_items(100).max_delay(Duration::from_secs(5)).max_in_flight(1))
            .attempt_timeout(Duration::from_secs(10))
            .max_age(Duration::ZERO)
    }
}
