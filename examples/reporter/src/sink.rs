use super::{Options, Settings, login::Tokens, own};
use bytes::Bytes;
use forebay::{
    batch::Batching,
    core::{BoxError, ConfigError, time::saturating_mul},
    export::Exporter,
    otlp::{MetricsEncoder, Resource},
    queue::{Limits, Overflow},
    retry::{Backoff, Jitter},
};
use forebay_collect::{ReportEnd, Series};
use forebay_example_support::tls::Trust;
use http::{HeaderName, Request, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::connect::{HttpConnector, dns::GaiResolver},
    rt::TokioExecutor,
};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    task::{Context, Poll},
    time::Duration,
};
use tower::{Service, ServiceExt, util::BoxCloneService};

/// Says for which resource the values are.
pub(super) const RESOURCE_ID: HeaderName = HeaderName::from_static("x-hcp-resource-id");

/// How long an export may take: the client that this replaces waits so long.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(30);

/// What a breaker takes.
const SHORTEST_OPEN: Duration = Duration::from_millis(1);
const LONGEST_OPEN: Duration = Duration::from_secs(24 * 3600);

/// Hands each gathered value over to the exporter, as long as the configuration names an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    exporter: Exporter<Series>,
    /// An endpoint is named.
    enabled: Arc<AtomicBool>,
}

/// The client of the exporter; tests put another in its place.
pub(super) type Client = BoxCloneService<Request<Full<Bytes>>, Response<BoxBody<Bytes, BoxError>>, BoxError>;

// === impl Sink ===

impl Sink {
    /// # Errors
    ///
    /// When the exporter refuses a knob.
    pub(super) fn new(
        options: &Options,
        client: Client,
        tokens: Option<&Tokens>,
        failures: Arc<AtomicU64>,
    ) -> Result<Self, ConfigError> {
        Ok(Self { exporter: exporter(options, client, tokens, failures)?, enabled: Arc::default() })
    }

    /// Sends to the endpoint of the configuration from now on, what waits included; without an endpoint no further value is handed
    /// over, and what waits is still sent.
    ///
    /// # Errors
    ///
    /// When the exporter refuses the endpoint.
    pub(super) fn point(&self, settings: Option<&Settings>) -> Result<(), ConfigError> {
        let endpoint = settings.and_then(|settings| settings.endpoint.as_deref());
        if let Some(url) = endpoint {
            self.exporter.handle().set_endpoint(url)?;
        }
        self.enabled.store(endpoint.is_some(), Release);
        Ok(())
    }

    pub(super) fn exporter(&self) -> &Exporter<Series> {
        &self.exporter
    }
}

/// Gathered every few seconds and sent every minute: an open batch is the buffer between the two, the queue the one of an
/// outage. A batch that failed waits for the next interval, so that a server in trouble sees one request an interval.
pub(super) fn exporter(
    options: &Options,
    client: Client,
    tokens: Option<&Tokens>,
    failures: Arc<AtomicU64>,
) -> Result<Exporter<Series>, ConfigError> {
    let interval = options.export_interval;
    let resource = Resource::new().attribute("service.name", "reporter");
    let park_backoff = Backoff::constant(interval).cap(interval).jitter(Jitter::Proportional(0.1)).seed(options.seed);
    let mut builder = Exporter::builder()
        // Stands for the endpoint that the configuration is going to name.
        .endpoint("https://reporter.invalid/v1/metrics")
        .encoder(MetricsEncoder::builder().resource(resource).build()?)
        .client(client)
        .limits(Limits::new().items(1_000_000).bytes(options.buffer_bytes).soft_limit(1.0))
        .overflow(Overflow::DropOldest)
        .weigh(own::weight)
        .batching(Batching::new().max_items(10_000).max_bytes(4 << 20).max_delay(interval).max_in_flight(1))
        .attempt_timeout(EXPORT_TIMEOUT)
        .retry(|retry| retry.max_retries(0))
        // Over before the next interval is, at the latest: the circuit is open up to a tenth longer by chance, and an interval is
        // up to a tenth shorter. Otherwise only each second interval had its probe.
        .breaker(move |breaker| breaker.open_for(saturating_mul(interval, 0.75).clamp(SHORTEST_OPEN, LONGEST_OPEN)))
        .park_backoff(park_backoff)
        .max_age(options.buffer_age)
        .observe(move |_: &forebay::export::ExportError| _ = failures.fetch_add(1, Relaxed));
    if let Some(id) = &options.resource_id {
        builder = builder.header(RESOURCE_ID, id.clone());
    }
    if let Some(tokens) = tokens {
        builder = builder.auth(tokens.provider());
    }
    builder.build()
}

/// A client that connects to no address which the guard refuses, however it was named.
pub(super) fn client(options: &Options, trust: &Trust) -> Client {
    let mut connector = HttpConnector::new_with_resolver(options.guard().resolver(GaiResolver::new()));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(trust.around(connector));
    let client = client.map_err(BoxError::from);
    BoxCloneService::new(
        client.map_response(|response: Response<Incoming>| response.map(|body| body.map_err(BoxError::from).boxed())),
    )
}

impl Service<Vec<Series>> for Sink {
    type Response = ReportEnd;
    type Error = Infallible;
    type Future = Ready<Result<ReportEnd, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The exporter takes what it is given at any time, and says in its ledger what became of it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, report: Vec<Series>) -> Self::Future {
        if !self.enabled.load(Acquire) {
            return ready(Ok(ReportEnd::Skipped));
        }
        report.into_iter().for_each(|series| self.exporter.emit(series));
        ready(Ok(ReportEnd::Exported))
    }
}

#[cfg(test)]
mod tests;
