use crate::client::{HttpClient, http_client};
use bytes::Bytes;
use forebay::{
    batch::Batching,
    core::ConfigError,
    export::{Endpoint, Exporter},
    otlp::{MetricsEncoder, Resource},
    queue::{Limits, Overflow},
    retry::{Backoff, Jitter},
};
use forebay_collect::{RemoteConfig, ReportEnd, Series};
use http::Request;
use http_body_util::Full;
use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tower::Service;

use super::{Options, Settings, own};

/// Hands each gathered value over to the exporter, as long as the configuration names somebody to send to.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    config: RemoteConfig<Settings>,
    exporter: Exporter<Series>,
    endpoint: Arc<Mutex<Endpoint>>,
}

/// Sends each request to where the configuration points now, whatever address the request has.
///
/// So a new endpoint holds for what was queued for the old one, too.
#[derive(Clone, Debug)]
pub(super) struct Pointed<C> {
    client: C,
    endpoint: Arc<Mutex<Endpoint>>,
}

// === impl Sink ===

impl Sink {
    /// # Errors
    ///
    /// When the exporter refuses a knob.
    pub(super) fn new(options: &Options, config: RemoteConfig<Settings>) -> Result<Self, ConfigError> {
        // Stands for whatever the configuration says; without one nothing is handed over.
        let stand_in = "http://reporter.invalid/v1/metrics";
        let endpoint = Arc::new(Mutex::new(stand_in.parse()?));
        let client = Pointed { client: http_client(), endpoint: Arc::clone(&endpoint) };
        Ok(Self { config, exporter: exporter(options, stand_in, client)?, endpoint })
    }

    pub(super) fn exporter(&self) -> &Exporter<Series> {
        &self.exporter
    }
}

/// Gathered every few seconds and sent every minute: an open batch is the buffer between the two, the queue the one of an
/// outage. A batch that failed waits for the next interval, so that a server in trouble sees one request an interval.
fn exporter(options: &Options, endpoint: &str, client: Pointed<HttpClient>) -> Result<Exporter<Series>, ConfigError> {
    let interval = options.export_interval;
    let resource = Resource::new().attribute("service.name", "reporter");
    let patience = Backoff::constant(interval).cap(interval).jitter(Jitter::Proportional(0.1)).seed(options.seed);
    Exporter::builder()
        .endpoint(endpoint)
        .encoder(MetricsEncoder::builder().resource(resource).build()?)
        .client(client)
        .queue(Limits::new().items(1_000_000).bytes(options.buffer_bytes).soft_limit(1.0))
        .overflow(Overflow::DropOldest)
        .weigh(own::weight)
        .batch(Batching::new().max_items(10_000).max_bytes(4 << 20).max_age(interval))
        .retry(|retry| retry.max_retries(0))
        .patience(patience)
        .give_up_after(options.buffer_age)
        .build()
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
        let settings = self.config.current();
        let Some(endpoint) = settings.as_ref().and_then(|settings| settings.endpoint.as_ref()) else {
            return ready(Ok(ReportEnd::Skipped));
        };
        let mut current = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner);
        if *current != *endpoint {
            *current = endpoint.clone();
        }
        drop(current);
        report.into_iter().for_each(|series| self.exporter.emit(series));
        ready(Ok(ReportEnd::Exported))
    }
}

// === impl Pointed ===

impl<C: Service<Request<Full<Bytes>>>> Service<Request<Full<Bytes>>> for Pointed<C> {
    type Response = C::Response;
    type Error = C::Error;
    type Future = C::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), C::Error>> {
        self.client.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Full<Bytes>>) -> C::Future {
        *request.uri_mut() = self.endpoint.lock().unwrap_or_else(PoisonError::into_inner).uri().clone();
        self.client.call(request)
    }
}
