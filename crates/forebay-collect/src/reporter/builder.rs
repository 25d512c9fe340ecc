use super::{
    IntoReportEnd, Reporter, ReporterWorker,
    handle::Shared,
    worker::{Clock, Pipeline},
};
use crate::{
    cap::CardinalityCap,
    filter::LiveFilter,
    schedule::Schedule,
    series::{Labels, Precedence, Series},
    source::Source,
};
use arc_swap::ArcSwap;
use forebay_core::ConfigError;
use std::{fmt, num::NonZeroUsize, ops::Range, sync::Arc, time::Duration};
use tokio::sync::{mpsc, watch};
use tower_service::Service;

/// Builds a [`Reporter`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`interval`](Self::interval) | 60 seconds | above 0, at most 365 days |
/// | [`spread`](Self::spread) | the first time after 0.5 to 1.5 intervals | 0.0 to 10.0 |
/// | [`timeout`](Self::timeout) | 30 seconds | above 0 |
/// | [`filter`](Self::filter) | every metric is wanted | |
/// | [`labels`](Self::labels), [`precedence`](Self::precedence) | none; the added labels win | |
/// | [`max_series`](Self::max_series) | 2,000 per metric | 1 and more |
#[must_use = "a builder does nothing until `build`"]
pub struct ReporterBuilder {
    sources: Vec<Box<dyn Source>>,
    interval: Duration,
    spread: Range<f64>,
    seed: Option<u64>,
    timeout: Duration,
    filter: LiveFilter,
    labels: Labels,
    precedence: Precedence,
    max_series: usize,
    clock: Clock,
}

// === impl ReporterBuilder ===

impl ReporterBuilder {
    pub(super) fn new() -> Self {
        Self {
            sources: Vec::new(),
            interval: Duration::from_secs(60),
            spread: Schedule::SPREAD,
            seed: None,
            timeout: Duration::from_secs(30),
            filter: LiveFilter::default(),
            labels: Labels::new(),
            precedence: Precedence::default(),
            max_series: CardinalityCap::PER_METRIC.get(),
            clock: crate::clock::unix_nanos,
        }
    }

    /// Adds a source. A source that panics costs only its own series of that report.
    pub fn source(mut self, source: impl Source + 'static) -> Self {
        self.sources.push(Box::new(source));
        self
    }

    /// Sets the interval between reports; default 60 seconds.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the delay of the first report, as shares of the interval; default 0.5 to 1.5, drawn at random.
    pub fn spread(mut self, spread: Range<f64>) -> Self {
        self.spread = spread;
        self
    }

    /// Sets the seed of the random delay; by default it is random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets how long the service may take for one report; default 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets which metrics are wanted, by default all; a [`LiveFilter`] can be swapped while the reporter runs.
    pub fn filter(mut self, filter: impl Into<LiveFilter>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Sets the labels of every series, such as the node's name. None by default; [`Reporter::set_labels`] swaps them.
    pub fn labels(mut self, labels: impl Into<Labels>) -> Self {
        self.labels = labels.into();
        self
    }

    /// Sets which label wins if a series has one of the same name; by default the added one.
    pub fn precedence(mut self, precedence: Precedence) -> Self {
        self.precedence = precedence;
        self
    }

    /// Sets how many series a metric may have, see [`CardinalityCap`]; default 2,000.
    pub fn max_series(mut self, per_metric: usize) -> Self {
        self.max_series = per_metric;
        self
    }

    /// Sets the clock of the reports, in nanoseconds since 1970; the system's clock by default.
    pub fn clock(mut self, unix_nanos: fn() -> u64) -> Self {
        self.clock = unix_nanos;
        self
    }

    /// Builds the handle, and the worker that gathers and calls `service` while its [`run`](ReporterWorker::run) is polled.
    ///
    /// The service receives one report at a time: a report that is due before the response is left out, because the next one
    /// has the same values. A failed report is not sent again; its sums are part of the next one, and so are the current values
    /// of its gauges. Retries belong in the service.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if a knob is out of its range.
    pub fn build<S>(self, service: S) -> Result<(Reporter, ReporterWorker<S>), ConfigError>
    where
        S: Service<Vec<Series>>,
        S::Response: IntoReportEnd,
    {
        let Self { sources, interval, spread, seed, timeout, filter, labels, precedence, max_series, clock } = self;
        let mut schedule = Schedule::new(interval)?.spread(spread)?;
        if let Some(seed) = seed {
            schedule = schedule.seed(seed);
        }
        if timeout.is_zero() || timeout > Schedule::MAX {
            return Err(ConfigError::new("timeout", format_args!("{timeout:?}"), "above 0 s, and at most 365 days"));
        }
        let Some(max_series) = NonZeroUsize::new(max_series) else {
            return Err(ConfigError::new("max_series", 0, "1 and more"));
        };
        let cap = CardinalityCap::new(max_series);
        let shared = Arc::new(Shared::new(filter, ArcSwap::from_pointee(labels)));
        let (commands, inbox) = mpsc::channel(16);
        let (stop, stopped) = watch::channel(false);
        let pipeline = Pipeline { sources, shared: Arc::clone(&shared), precedence, cap, clock };
        let worker = ReporterWorker { service, schedule, timeout, pipeline, inbox, stopped };
        Ok((Reporter::new(shared, commands, stop), worker))
    }
}

impl fmt::Debug for ReporterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReporterBuilder")
            .field("sources", &self.sources.len())
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
