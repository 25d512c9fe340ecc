use super::{driver::ClientTask, event::ClientEvent, handle::Kip714Client, shared::Shared};
use crate::{
    codec::Codec,
    labels::ClientLabels,
    payload::{Assembler, Rank, SeriesCache},
    session::Session,
    source::{Gather, Source},
    wire::{TelemetryRequest, TelemetryResponse},
};
use forebay_breaker::BreakerLayer;
use forebay_core::{Advice, BoxError, Boxed, ConfigError, Observe, Outcome, Seen, Verdict, chance::entropy};
use forebay_otlp::{Metric, unix_nanos};
use forebay_retry::{Backoff, RetryLayer};
use std::{
    fmt,
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tower::timeout::TimeoutLayer;
use tower_layer::Layer;
use tower_service::Service;

/// Makes a [`Kip714Client`].
///
/// | knob | default |
/// | --- | --- |
/// | [`source`](Self::source), [`metrics`](Self::metrics), `gather` (feature `collect`) | none: payloads are empty |
/// | [`labels`](Self::labels) | none |
/// | [`importance`](Self::importance) | the KIP's standard metrics before all others |
/// | [`max_series`](Self::max_series) | 10,000 |
/// | [`codecs`](Self::codecs) | all that are built |
/// | [`request_timeout`](Self::request_timeout) | 30 s, per attempt |
/// | [`retries`](Self::retries) | 2, of requests that were not sent only, within the family's default budget |
/// | [`breaker_open_for`](Self::breaker_open_for) | 30 s, after 5 failures in a row |
/// | [`enabled`](Self::enabled) | `true` |
/// | [`seed`](Self::seed) | drawn by the operating system |
/// | [`observe`](Self::observe) | none |
#[must_use]
pub struct ClientBuilder {
    sources: Vec<Box<dyn Source>>,
    labels: ClientLabels,
    rank: Option<Rank>,
    max_series: NonZeroUsize,
    codecs: Vec<Codec>,
    request_timeout: Duration,
    retries: u32,
    open_for: Duration,
    enabled: bool,
    seed: Option<u64>,
    observer: Observer,
}

pub(super) type Observer = Option<Arc<dyn Observe<ClientEvent> + Send + Sync>>;

// === impl ClientBuilder ===

impl ClientBuilder {
    pub(super) fn new() -> Self {
        Self {
            sources: Vec::new(),
            labels: ClientLabels::new(),
            rank: None,
            max_series: NonZeroUsize::MIN.saturating_add(9_999),
            codecs: Codec::ALL.to_vec(),
            request_timeout: Duration::from_secs(30),
            retries: 2,
            open_for: Duration::from_secs(30),
            enabled: true,
            seed: None,
            observer: None,
        }
    }

    /// Adds a source of metrics. Where two have the same series, the first one's counts.
    pub fn source(mut self, source: impl Source) -> Self {
        self.sources.push(Box::new(source));
        self
    }

    /// Adds a closure that appends metrics: the short form of a [`Source`].
    pub fn metrics(self, gather: impl Fn(&mut Vec<Metric>) + Send + Sync + 'static) -> Self {
        self.source(Gather(gather))
    }

    /// Adds a source of `forebay-collect`, the same that its reporter takes: a closure `FnMut(&mut Gathering<'_>)`, a
    /// `Recorder` behind the `metrics` facade, the OpenTelemetry SDK. Series that are not wanted are not built.
    #[cfg(feature = "collect")]
    #[cfg_attr(docsrs, doc(cfg(feature = "collect")))]
    pub fn gather(self, source: impl forebay_collect::Source + 'static) -> Self {
        self.source(crate::source::Collected(std::sync::Mutex::new(source)))
    }

    /// The labels of all metrics.
    pub fn labels(mut self, labels: ClientLabels) -> Self {
        self.labels = labels;
        self
    }

    /// Ranks metrics by name, 0 the most important: what a broker does not take for its size is left out from the other
    /// end.
    pub fn importance(mut self, rank: impl Fn(&str) -> u32 + Send + Sync + 'static) -> Self {
        self.rank = Some(Arc::new(rank));
        self
    }

    /// How many series the client knows at most; more are not sent, and counted as dropped.
    pub fn max_series(mut self, series: NonZeroUsize) -> Self {
        self.max_series = series;
        self
    }

    /// Which compression types may be used; the order is the broker's. With none of them payloads go as they are.
    pub fn codecs(mut self, codecs: impl IntoIterator<Item = Codec>) -> Self {
        self.codecs = codecs.into_iter().collect();
        self
    }

    /// How long a broker may take for a response.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How often a request that was not sent (no connection came about, say) is tried again, before it counts as failed
    /// and the interval is waited for. What a broker may have seen is never sent again.
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// How long brokers are left alone after five failed requests in a row.
    pub fn breaker_open_for(mut self, time: Duration) -> Self {
        self.open_for = time;
        self
    }

    /// Kafka's `enable.metrics.push`. A client that is not enabled has no task and sends nothing.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    /// Makes the jitter of pushes reproducible.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sees what the client does: a closure `Fn(&ClientEvent)`, or any [`Observe`].
    pub fn observe(mut self, observer: impl Observe<ClientEvent> + Send + Sync + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// A client that runs on the runtime of the caller, over any transport.
    ///
    /// Around the transport come, from the inside: a timeout per attempt, a retry of what was not sent, and a breaker.
    /// The transport says by the [`Verdict`] in its errors what was sent; an error without one may have been. It must
    /// not swallow errors, and it fails with [`TelemetryUnsupported`](crate::TelemetryUnsupported) for a broker that knows
    /// no telemetry.
    ///
    /// # Errors
    ///
    /// When a knob has a value that is not allowed, or when there is no tokio runtime.
    pub fn build<S>(self, transport: S) -> Result<Kip714Client, ConfigError>
    where
        S: Service<TelemetryRequest, Response = TelemetryResponse> + Clone + Send + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send,
    {
        if self.request_timeout.is_zero() {
            return Err(ConfigError::new("request_timeout", "0", "more than nothing"));
        }
        let shared = Arc::new(Shared::new());
        let assembler = Assembler::new(self.sources, self.rank, &self.labels)?;
        let breaker = BreakerLayer::builder().name("kip714").open_for(self.open_for).close_after(1).build::<Boxed>()?;
        if !self.enabled {
            shared.update(|status| status.ended = true);
            return Ok(Kip714Client::new(shared));
        }
        let retry = RetryLayer::builder(not_sent)
            .max_retries(self.retries)
            .max_elapsed(self.request_timeout)
            .backoff(Backoff::exponential(Duration::from_millis(200)).cap(Duration::from_secs(2)))
            .build()?;
        let service = breaker.layer(retry.layer(TimeoutLayer::new(self.request_timeout).layer(transport)));

        let runtime = crate::runtime::current()?;
        let seed = self.seed.unwrap_or_else(entropy);
        let cache = SeriesCache::new(wall_clock(), self.max_series.get());
        let task = ClientTask::new(
            service,
            Session::new(seed).with_codecs(&self.codecs),
            assembler,
            cache,
            Arc::clone(&shared),
            self.observer,
        );
        runtime.spawn(task.run());
        Ok(Kip714Client::new(shared))
    }
}

/// Only what certainly was not sent may be sent again: a broker that gets a push twice throttles it, and its receiver
/// counts it twice.
fn not_sent(result: &Result<TelemetryResponse, BoxError>) -> Outcome {
    let Err(error) = result else { return Outcome::Success };
    match Verdict::of(&**error) {
        Some(verdict) if verdict.seen() == Seen::No && verdict.advice() != Advice::Never => {
            Outcome::of_advice(verdict.advice())
        }
        Some(_) | None => Outcome::Terminal,
    }
}

/// Nanoseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "the edge: what the machine itself does takes time as an argument")]
pub(crate) fn wall_clock() -> u64 {
    unix_nanos(SystemTime::now())
}

impl fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("sources", &self.sources.len())
            .field("labels", &self.labels)
            .field("max_series", &self.max_series)
            .field("enabled", &self.enabled)
            .finish_non_exhaustive()
    }
}
