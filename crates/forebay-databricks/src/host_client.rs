//! What all connections of one host share.

use crate::{
    ClientInfo, Driver, FrontendLog, Notice, Settings,
    credentials::{Authorized, Book},
    encoder::LogEncoder,
    statement::{Event, Logs, StatementKey},
    telemetry::Observer,
};
use bytes::Bytes;
use forebay_batch::Batching;
use forebay_breaker::{Mode, Trip};
use forebay_collect::{Aggregator, Emission};
use forebay_core::{BoxError, ConfigError, Priority, Totals, http::Classifier};
use forebay_export::{Counters, Exporter, Offer};
use forebay_intake::{Limits, Overflow};
use forebay_retry::{Backoff, Jitter};
use http::{Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use std::sync::Arc;
use tokio::runtime::Handle;
use tower_service::Service;

/// An exporter, and the open statements of all connections that use it.
pub(crate) struct HostClient {
    pub(crate) statements: Aggregator<StatementKey, Event, FrontendLog>,
    pub(crate) exporter: Exporter<FrontendLog>,
    pub(crate) book: Arc<Book>,
    host: Arc<str>,
    settings: Settings,
    observer: Arc<Observer>,
}

/// What became of the telemetry of one host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HostReport {
    /// The events; those that are delivered are in logs.
    pub events: Totals,
    /// The logs.
    pub logs: Totals,
    /// What the exporter did.
    pub counters: Counters,
    /// How many statements are open.
    pub open_statements: usize,
}

/// How a host's client is made.
pub(crate) struct Plan {
    pub(crate) origin: String,
    pub(crate) settings: Settings,
    pub(crate) authenticated: bool,
    pub(crate) info: Arc<ClientInfo>,
    pub(crate) observer: Arc<Observer>,
}

// === impl Plan ===

impl Plan {
    pub(crate) fn build<C, B>(self, client: C) -> Result<HostClient, ConfigError>
    where
        C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
    {
        let Self { origin, settings, authenticated, info, observer } = self;
        settings.validate()?;
        let host: Arc<str> = origin.as_str().into();
        let book = Arc::<Book>::default();
        let client = Authorized {
            client,
            book: authenticated.then(|| Arc::clone(&book)),
            host: Arc::clone(&host),
            observer: Arc::clone(&observer),
        };
        let user_agent = if authenticated { info.full_user_agent() } else { info.user_agent.clone() };
        // A customer's name for a program may hold anything; a header may not, and nothing is lost without the rest.
        let agent_header: String = user_agent.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
        let anonymous = (!authenticated).then(|| user_agent.as_str().into());
        let path = if authenticated { "/telemetry-ext" } else { "/telemetry-unauth" };
        let encoder = LogEncoder { anonymous, host: Arc::clone(&host), observer: Arc::clone(&observer) };
        let node = settings.driver == Driver::Node;
        let jitter =
            if settings.backoff_jitter.is_zero() { Jitter::None } else { Jitter::Additive(settings.backoff_jitter) };
        let backoff =
            if node { Backoff::exponential(settings.backoff_base) } else { Backoff::constant(settings.backoff_base) };
        // The cap comes after the jitter, and is not below the first delay.
        let backoff = backoff.cap(settings.backoff_max.max(settings.backoff_base)).jitter(jitter);
        let trip: Trip = if node {
            Trip::consecutive(settings.breaker_threshold)
        } else {
            // The drivers' ratio of 1.0 needs at least two calls.
            Trip::ratio(1.0).over(CSHARP_WINDOW).min_calls(settings.breaker_threshold.max(2)).into()
        };
        let exporter = Exporter::builder()
            .endpoint(&format!("{origin}{path}"))
            .encoder(encoder)
            .client(client)
            .header(header::USER_AGENT, agent_header)
            .limits(Limits::new().items(settings.max_pending).soft_limit(1.0))
            .overflow(Overflow::DropOldest)
            .batching(
                Batching::new()
                    .max_items(settings.batch_size.min(settings.max_pending))
                    .max_age(settings.flush_interval)
                    .max_in_flight(1),
            )
            .priority(|log: &FrontendLog| if log.is_error() { Priority::High } else { Priority::Normal })
            // Apart, so that where room is needed errors are not in one batch with what makes it.
            .partition_by(|log: &FrontendLog| if log.is_error() { "errors" } else { "others" })
            .max_open_partitions(2)
            .flush_when(|log| log.urgent)
            .attempt_timeout(settings.attempt_timeout)
            .retryable(if node { Classifier::driver() } else { Classifier::lenient() })
            .retry(|retry| retry.max_retries(settings.max_retries).backoff(backoff).without_budget())
            .breaker(|breaker| {
                let mode = if settings.breaker_enabled { Mode::Normal } else { Mode::ForcedClosed };
                breaker.trip(trip).open_for(settings.breaker_timeout).close_after(if node { 2 } else { 1 }).mode(mode)
            })
            .max_age(settings.give_up_after)
            // A batch that is refused is terminal for both drivers.
            .split_budget(0)
            .build()?;
        let emit = exporter.clone();
        let statements = Aggregator::builder(Logs { client: info, driver: settings.driver })
            .max_open(settings.max_statements.max(1))
            .max_errors(settings.max_errors)
            .ttl(settings.statement_ttl)
            .build(move |emission: Emission<FrontendLog>| {
                let lane = if emission.item.is_error() { Priority::High } else { emission.priority };
                emit.emit(Offer::new(emission.item).priority(lane));
            })?;
        // It ends with the last handle of the statements. Where there is no runtime, they expire when others come.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(statements.ticker());
        }
        Ok(HostClient { statements, exporter, book, host, settings, observer })
    }
}

/// Within which time the C# driver's failures have to be.
const CSHARP_WINDOW: std::time::Duration = std::time::Duration::from_secs(30);

// === impl HostClient ===

impl HostClient {
    pub(crate) fn report(&self) -> HostReport {
        HostReport {
            events: self.statements.totals(),
            logs: self.exporter.totals(),
            counters: self.exporter.counters(),
            open_statements: self.statements.open_keys(),
        }
    }

    /// What is open leaves, and is sent under the credentials that are still there.
    pub(crate) async fn close(self) {
        self.statements.close();
        self.exporter.shutdown(self.settings.close_timeout).await;
        self.observer.observe(&Notice::Closed { host: &self.host, report: &self.report() });
    }
}
