use super::{Options, Settings, own};
use bytes::Bytes;
use forebay::{
    batch::Batching,
    core::ConfigError,
    export::{EndpointGuard, Exporter, GuardedResolver},
    otlp::{MetricsEncoder, Resource},
    queue::{Limits, Overflow},
    retry::{Backoff, Jitter},
};
use forebay_collect::{ReportEnd, Series};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::GaiResolver},
    },
    rt::TokioExecutor,
};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    task::{Context, Poll},
};
use tower::Service;

/// Hands each gathered value over to the exporter, as long as the configuration names somebody to send to.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    exporter: Exporter<Series>,
    /// Somebody is named.
    enabled: Arc<AtomicBool>,
}

/// A client that connects to no address which the guard refuses, whatever its name was.
type GuardedClient = Client<HttpConnector<GuardedResolver<GaiResolver>>, Full<Bytes>>;

// === impl Sink ===

impl Sink {
    /// # Errors
    ///
    /// When the exporter refuses a knob.
    pub(super) fn new(options: &Options) -> Result<Self, ConfigError> {
        Ok(Self { exporter: exporter(options)?, enabled: Arc::default() })
    }

    /// Sends to where the configuration points from now on, what waits included; without an endpoint nothing more is handed
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
fn exporter(options: &Options) -> Result<Exporter<Series>, ConfigError> {
    let interval = options.export_interval;
    let resource = Resource::new().attribute("service.name", "reporter");
    let park_backoff = Backoff::constant(interval).cap(interval).jitter(Jitter::Proportional(0.1)).seed(options.seed);
    Exporter::builder()
        // Stands for whatever the configuration will say.
        .endpoint("http://reporter.invalid/v1/metrics")
        .encoder(MetricsEncoder::builder().resource(resource).build()?)
        .client(client(&options.guard()))
        .limits(Limits::new().items(1_000_000).bytes(options.buffer_bytes).soft_limit(1.0))
        .overflow(Overflow::DropOldest)
        .weigh(own::weight)
        .batching(Batching::new().max_items(10_000).max_bytes(4 << 20).max_age(interval))
        .retry(|retry| retry.max_retries(0))
        .park_backoff(park_backoff)
        .max_age(options.buffer_age)
        .build()
}

fn client(guard: &EndpointGuard) -> GuardedClient {
    let mut connector = HttpConnector::new_with_resolver(guard.resolver(GaiResolver::new()));
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
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
