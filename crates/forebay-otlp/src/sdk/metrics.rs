use super::{
    background::Background,
    builder::ProcessorBuilder,
    convert,
    encode::LateEncoder,
    merge::{Scoped, merge, points},
    origin::LateResource,
};
use crate::{
    metrics::{AsMetric, MetricWriter},
    origin::AsScope,
    settle::OtlpEvent,
    signal::Metrics,
};
use bytes::Bytes;
use forebay_core::{BoxError, ByFootprint, ConfigError, DropReason, Fate, Footprint, Observe, Totals, heap_block};
use forebay_export::{Exporter, ExporterBuilder};
use forebay_intake::PriorityOf;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use opentelemetry_sdk::{
    error::{OTelSdkError, OTelSdkResult},
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
};
use std::{
    collections::BTreeMap,
    fmt,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tower_service::Service;

/// Sends the metrics of the SDK, as the exporter of its `PeriodicReader`.
///
/// ```no_run
/// # use forebay_otlp::sdk::ForebayMetricExporter;
/// # use forebay_export::Exporter;
/// # use opentelemetry_sdk::metrics::SdkMeterProvider;
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let client = tower::service_fn(|_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
/// #     Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::new(bytes::Bytes::new())))
/// # });
/// let exporter = Exporter::builder().endpoint("http://localhost:4318/v1/metrics").client(client);
/// let provider = SdkMeterProvider::builder()
///     // before: .with_periodic_exporter(MetricExporter::builder().with_http().build()?)
///     .with_periodic_exporter(ForebayMetricExporter::builder(exporter).build()?)
///     .build();
/// # Ok(())
/// # }
/// ```
///
/// **Metrics that could not be sent are part of the next export.** The SDK forgets the metrics that it has handed over; this
/// exporter adds the increments of a delta series to those of the next export, and keeps the last value of a gauge or a
/// cumulative series until there is a newer one. So a server that could not be reached for an hour gets one point per series,
/// with everything that was counted. Metrics that it has refused for good (400, or a partial success) are not sent again.
///
/// One request is under way at a time by default, so that no point of a series overtakes an earlier one; set
/// [`batching`](ExporterBuilder::batching) for more.
///
/// It runs on a thread of its own, in which telemetry is suppressed.
pub struct ForebayMetricExporter {
    background: Background<SdkMetric>,
    resource: LateResource,
    /// The metrics that could not be sent. Tasks of earlier exports may still write it.
    unsent: Arc<Mutex<Vec<Scoped>>>,
    temporality: Temporality,
}

/// A metric of the SDK, with all its points.
#[derive(Clone, Debug)]
pub struct SdkMetric(Arc<Scoped>);

/// The result of an export.
struct ExportResult {
    /// How many metrics were handed to the exporter.
    offered: usize,
    /// How many metrics were not delivered, by reason.
    reasons: BTreeMap<DropReason, usize>,
    /// How many of them are kept.
    kept: usize,
}

/// The greatest number of points that are kept: as many as a queue has items by default. The SDK usually bounds its series. The
/// bytes that are kept are bounded by the limit of the queue.
const MOST_KEPT: usize = 65_536;

// === impl SdkMetric ===

/// All metrics of a scope share it, and it is counted with none of them.
impl Footprint for SdkMetric {
    fn heap(&self) -> usize {
        heap_block(size_of::<Scoped>() + 2 * size_of::<usize>()) + self.0.metric.heap()
    }
}

impl AsMetric for SdkMetric {
    fn metric<W: MetricWriter>(&self, w: &mut W) {
        self.0.metric.metric(w);
    }

    fn scope(&self) -> Option<impl AsScope> {
        Some(&*self.0.scope)
    }
}

// === impl ForebayMetricExporter ===

impl ForebayMetricExporter {
    /// A builder over an exporter builder without an encoder.
    ///
    /// The [`max_age`](ExporterBuilder::max_age) of the exporter is not used: metrics that could not be sent wait here. Leave
    /// its retries on: the retry layer distinguishes a 503, after which metrics are kept, from a refusal, after which they are
    /// not.
    pub fn builder<C, P>(
        exporter: ExporterBuilder<SdkMetric, (), C, ByFootprint, P>,
    ) -> ProcessorBuilder<ExporterBuilder<SdkMetric, (), C, ByFootprint, P>> {
        ProcessorBuilder::new(exporter)
    }

    /// The fate of every metric that was handed over, once per attempt to export it.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.background.exporter().totals()
    }

    fn send_kept(&self, limit: Duration) -> OTelSdkResult {
        if self.kept_points() == 0 {
            return Ok(());
        }
        let (exporter, unsent) = (self.background.exporter().clone(), Arc::clone(&self.unsent));
        let ended = async move { send(exporter, &unsent, Vec::new()).await };
        self.background.wait(limit, ended).map_or(Err(OTelSdkError::Timeout(limit)), ExportResult::into_result)
    }

    /// The number of points that could not be sent so far, and are part of the next export.
    #[must_use]
    pub fn kept_points(&self) -> usize {
        points(&self.unsent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<C, P, O> ProcessorBuilder<ExporterBuilder<SdkMetric, (), C, ByFootprint, P>, O> {
    /// Sets whether instruments count from their start (the default), or from the last export.
    pub fn temporality(mut self, temporality: Temporality) -> Self {
        self.temporality = temporality;
        self
    }

    /// Starts the exporter.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when a knob of the exporter is out of its range, or no thread can be started. Nothing runs then.
    pub fn build<B>(self) -> Result<ForebayMetricExporter, ConfigError>
    where
        C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
        P: PriorityOf<SdkMetric> + Send + Sync + 'static,
        O: Observe<OtlpEvent> + Send + Sync + 'static,
    {
        let Self { exporter, protocol, flush_timeout, observer, temporality } = self;
        let resource = LateResource::new(protocol.encoding());
        let encoder = LateEncoder::<Metrics, O>::new(protocol, resource.clone(), observer);
        let exporter = exporter.encoder(encoder).max_age(Duration::ZERO).max_in_flight_by_default(1);
        let background = Background::start("metrics", flush_timeout, move || exporter.build())?;
        Ok(ForebayMetricExporter { background, resource, unsent: Arc::default(), temporality })
    }
}

impl PushMetricExporter for ForebayMetricExporter {
    /// Ends when every metric has its fate. An error names the metrics that were not delivered, and how many of them are kept.
    ///
    /// # Cancellation
    ///
    /// A dropped export continues, and keeps the metrics that it cannot send.
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.resource.set(metrics.resource());
        let mut fresh = Vec::new();
        for scope in metrics.scope_metrics() {
            let own = Arc::new(convert::scope(scope.scope()));
            fresh.extend(
                scope.metrics().map(|metric| Scoped { scope: Arc::clone(&own), metric: convert::metric(metric) }),
            );
        }
        let (exporter, unsent) = (self.background.exporter().clone(), Arc::clone(&self.unsent));
        // CANCEL: the task outlives a dropped export, so that no metric is lost.
        let ended = self.background.runtime().spawn(async move { send(exporter, &unsent, fresh).await });
        match ended.await {
            Ok(ended) => ended.into_result(),
            Err(_) => Err(OTelSdkError::AlreadyShutdown),
        }
    }

    /// Sends the metrics that are kept from earlier exports, if any.
    fn force_flush(&self) -> OTelSdkResult {
        self.send_kept(self.background.flush_timeout())
    }

    /// Tries once more to send the metrics that are kept, and reports how many are left.
    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        let last = self.send_kept(timeout);
        match (self.background.shutdown(timeout), self.kept_points()) {
            // Each export has reported its own drops.
            (Ok(()) | Err(OTelSdkError::InternalFailure(_)), 0) => last,
            (Ok(()) | Err(OTelSdkError::InternalFailure(_)), kept) => {
                Err(OTelSdkError::InternalFailure(format!("{kept} points were never sent")))
            }
            (ended, _) => ended,
        }
    }

    fn temporality(&self) -> Temporality {
        self.temporality
    }
}

impl fmt::Debug for ForebayMetricExporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForebayMetricExporter")
            .field("totals", &self.totals())
            .field("kept_points", &self.kept_points())
            .finish_non_exhaustive()
    }
}

/// Sends `fresh` together with `unsent`, and leaves in `unsent` the metrics that could not be sent.
async fn send(mut exporter: Exporter<SdkMetric>, unsent: &Mutex<Vec<Scoped>>, fresh: Vec<Scoped>) -> ExportResult {
    // CORRECTNESS: the lock is held only for the exchange, and no user code runs under it.
    let take = |unsent: &Mutex<Vec<Scoped>>| mem::take(&mut *unsent.lock().unwrap_or_else(PoisonError::into_inner));
    let all: Vec<_> = merge(take(unsent), fresh).into_iter().map(|scoped| SdkMetric(Arc::new(scoped))).collect();
    let mut fates = Vec::with_capacity(all.len());
    for metric in &all {
        // An exporter has no error of its own.
        let Ok(()) = poll_fn(|cx| exporter.poll_ready(cx)).await;
        fates.push(exporter.call(metric.clone()));
    }
    exporter.flush().await;
    let mut ended = ExportResult { offered: all.len(), reasons: BTreeMap::new(), kept: 0 };
    let mut failed = Vec::new();
    for (metric, fate) in all.into_iter().zip(fates) {
        let Ok(fate) = fate.await;
        if let Fate::Dropped(reason) = fate {
            *ended.reasons.entry(reason).or_default() += 1;
            if may_pass(reason) {
                failed.push(Arc::unwrap_or_clone(metric.0));
            }
        }
    }
    // Another export may have left metrics meanwhile, which are newer.
    let mut kept = merge(failed, take(unsent));
    let of = |scoped: &Scoped| (points(std::slice::from_ref(scoped)), scoped.metric.footprint());
    let (mut most, mut most_bytes) = (MOST_KEPT, exporter.handle().max_bytes());
    // The newest are last, and as many of them stay as there is room for.
    let stay = kept.iter().rev().map(of).take_while(|(points, bytes)| {
        let fits = *points <= most && *bytes <= most_bytes;
        (most, most_bytes) = (most.saturating_sub(*points), most_bytes.saturating_sub(*bytes));
        fits
    });
    let stay = stay.count();
    kept.drain(..kept.len() - stay);
    ended.kept = kept.len();
    *unsent.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    ended
}

/// Whether a later export may deliver the same metric.
fn may_pass(reason: DropReason) -> bool {
    !matches!(reason, DropReason::Rejected | DropReason::Encode | DropReason::TooLarge | DropReason::Disabled)
}

// === impl ExportResult ===

impl ExportResult {
    fn into_result(self) -> OTelSdkResult {
        let Self { offered, reasons, kept } = self;
        if reasons.is_empty() {
            return Ok(());
        }
        let named: Vec<_> = reasons.iter().map(|(reason, count)| format!("{reason} ({count})")).collect();
        let count = reasons.values().sum::<usize>();
        let text = format!(
            "{count} of {offered} metrics were not delivered: {}; {kept} are kept for the next export",
            named.join(", ")
        );
        Err(OTelSdkError::InternalFailure(text))
    }
}
