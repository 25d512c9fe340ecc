use super::{
    ReportAnswer, Reporter, ReporterWorker,
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
/// | [`filter`](Self::filter) | everything is wanted | |
/// | [`labels`](Self::labels), [`precedence`](Self::precedence) | none; those added win | |
/// | [`max_series`](Self::max_series) | 2,000 per metric | |
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
    cap: CardinalityCap,
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
            cap: CardinalityCap::default(),
            clock: crate::clock::unix_nanos,
        }
    }

    /// Adds a source. Each is gathered for itself: one that panics costs its own series of that report.
    pub fn source(mut self, source: impl Source + 'static) -> Self {
        self.sources.push(Box::new(source));
        self
    }

    /// Sets how often there is a report; default 60 seconds.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets after which share of the interval the first report comes; default 0.5 to 1.5, drawn at random.
    pub fn spread(mut self, spread: Range<f64>) -> Self {
        self.spread = spread;
        self
    }

    /// Draws from this seed instead of one of its own.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets how long the service may take for one report; default 30 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets which metrics are wanted; a [`LiveFilter`] can be swapped while it runs. Everything by default.
    pub fn filter(mut self, filter: impl Into<LiveFilter>) -> Self {
        self.filter = filter.into();
        self
    }

    /// Sets labels that every series gets, such as the node's name. None by default; [`Reporter::set_labels`] swaps them.
    pub fn labels(mut self, labels: impl Into<Labels>) -> Self {
        self.labels = labels.into();
        self
    }

    /// Sets who wins a label that a series has already; by default the ones added here.
    pub fn precedence(mut self, precedence: Precedence) -> Self {
        self.precedence = precedence;
        self
    }

    /// Sets how many series a metric may have, see [`CardinalityCap`]; default 2,000.
    pub fn max_series(mut self, per_metric: NonZeroUsize) -> Self {
        self.cap = CardinalityCap::new(per_metric);
        self
    }

    /// Sets where the time of a report comes from, in nanoseconds since 1970; the system's clock by default.
    pub fn clock(mut self, unix_nanos: fn() -> u64) -> Self {
        self.clock = unix_nanos;
        self
    }

    /// The handle, and the worker that gathers and calls `service` for as long as its [`run`](ReporterWorker::run) is
    /// polled.
    ///
    /// The service gets one report at a time, and the next one only when it has answered: a report whose time has come
    /// meanwhile is left out, for the next one says the same. A failed report is not sent again; what adds up is in the
    /// next one, and so is a gauge, which is still what it is. Retries belong into the service.
    ///
    /// # Errors
    /// [`ConfigError`] if a knob is out of its range.
    pub fn build<S>(self, service: S) -> Result<(Reporter, ReporterWorker<S>), ConfigError>
    where
        S: Service<Vec<Series>>,
        S::Response: ReportAnswer,
    {
        let Self { sources, interval, spread, seed, timeout, filter, labels, precedence, cap, clock } = self;
        let mut schedule = Schedule::new(interval)?.spread(spread)?;
        if let Some(seed) = seed {
            schedule = schedule.seed(seed);
        }
        if timeout.is_zero() || timeout > Schedule::MAX {
            return Err(ConfigError::new("timeout", format_args!("{timeout:?}"), "above 0 s, and at most 365 days"));
        }
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
