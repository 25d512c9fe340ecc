//! The knobs of an exporter that hold from its build on: field, default and check of each stand here.
//!
//! The knobs that a handle may change later are in [`Settings`].

use crate::{
    Credential, Endpoint, Endpoints, ExportSpool,
    control::Settings,
    counters::{BreakerObserver, Counting},
    encoding::is_about_items,
    telemetry::Observer,
    trace::Loudness,
};
use bytes::Bytes;
use forebay_batch::{Adaptive, Batching, MaxInFlight};
use forebay_breaker::{BreakerBuilder, BreakerEvent, BreakerLayer, ByDefault, Excluding, State};
use forebay_cached::Cached;
use forebay_core::{BoxError, ByError, ConfigError, Unkeyed, http::Classifier, panic};
use forebay_intake::{ByteBudget, Limits, Overflow};
use forebay_retry::{
    Backoff, Jitter, RetryBuilder, RetryEvent, grpc,
    http::{Authority, HttpPolicy},
    policy::Keyed,
};
use http::{HeaderMap, Method, Response};
use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::runtime::Handle;

/// The builder of the exporter's retry layer. Its methods are those of [`RetryBuilder`].
#[doc(hidden)]
pub type ExportRetry = RetryBuilder<ByError, HttpPolicy, Keyed<Authority>>;

/// The builder of the exporter's circuit breaker. Its methods are those of [`BreakerBuilder`].
#[doc(hidden)]
pub type ExportBreaker = BreakerBuilder<(), Unkeyed, Excluding<ByDefault, Excluded>>;

/// Names the results that the circuit breaker ignores.
type Excluded = fn(&Result<Response<Bytes>, BoxError>) -> bool;

/// Every knob of an [`ExporterBuilder`](crate::ExporterBuilder) that is not a type parameter of it.
///
/// A layer reads its knobs from here when it is built, so that a new knob is a field here, a method of the builder, and the
/// line that uses it.
pub(crate) struct Knobs<T> {
    /// What a handle may change while the exporter runs.
    pub(crate) settings: Settings,
    /// The name in metrics and events; `None` takes the next number.
    pub(crate) name: Option<Arc<str>>,
    /// Fetches the credential of the requests.
    pub(crate) provider: Option<Result<Cached<Credential>, ConfigError>>,
    /// The endpoints, where there are several.
    pub(crate) endpoints: Option<Endpoints>,
    /// Takes the requests for which no credential is accepted.
    pub(crate) fallback: Option<Result<Endpoint, ConfigError>>,
    /// The headers of the requests to the fallback.
    pub(crate) fallback_headers: Result<HeaderMap, ConfigError>,
    /// The greatest number of items and bytes that are held.
    pub(crate) limits: Limits,
    /// The bytes that are shared with other exporters.
    pub(crate) byte_budget: Option<ByteBudget>,
    /// What happens to an item that finds no room.
    pub(crate) overflow: Overflow,
    /// When a batch closes, and how many are in flight.
    pub(crate) batching: Batching,
    /// How many are in flight where `batching` does not say it, and no spool comes first.
    pub(crate) default_in_flight: MaxInFlight,
    /// Names the items that close their batch.
    pub(crate) flush_when: Option<FlushWhen<T>>,
    /// Gives the key that the items of one batch share.
    pub(crate) partition_key: Option<PartitionKey<T>>,
    /// How many batches with different keys are open at a time.
    pub(crate) max_open_partitions: usize,
    /// Decides over HTTP statuses and over errors of the client.
    pub(crate) classifier: Classifier,
    /// Decides over gRPC statuses.
    pub(crate) codes: grpc::Classifier,
    pub(crate) retry: ExportRetry,
    pub(crate) breaker: ExportBreaker,
    /// The counts that the retry layer and the circuit breaker write.
    pub(crate) counting: Arc<Counting>,
    /// The age at which an item expires; zero never parks a batch.
    pub(crate) max_age: Duration,
    /// The waits between two attempts of a parked batch.
    pub(crate) park_backoff: Backoff,
    /// The longest hint of a server that counts.
    pub(crate) max_hint: Duration,
    /// The greatest number of requests for the parts of one refused batch.
    pub(crate) split_budget: u32,
    /// The greatest body of a response that is read, without its content encoding.
    pub(crate) max_response_bytes: usize,
    /// Sees each failed export.
    pub(crate) observer: Option<Box<Observer>>,
    /// Sees each event of the circuit.
    pub(crate) breaker_observer: Option<Box<BreakerObserver>>,
    /// Keeps what could not be delivered, or everything before it is sent.
    pub(crate) spool: Option<SpoolKnob<T>>,
    /// The age at which an item goes to the spool; zero for at once.
    pub(crate) spool_after: Duration,
    /// The level at which lost items are reported.
    pub(crate) loudness: Loudness,
    /// Runs the worker; `None` takes the current runtime, or a new thread.
    pub(crate) runtime: Option<Handle>,
    /// Settings that could not be used, and are reported once the exporter runs.
    pub(crate) ignored: Vec<ConfigError>,
}

/// What a spool is used for.
pub(crate) struct SpoolKnob<T> {
    pub(crate) spool: Arc<dyn ExportSpool<T>>,
    pub(crate) usage: SpoolUsage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SpoolUsage {
    /// For what could not be delivered.
    Overflow,
    /// For everything, before it is sent.
    WriteAhead,
}

type FlushWhen<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;
type PartitionKey<T> = Box<dyn for<'r> Fn(&'r T) -> &'r str + Send + Sync>;

// === impl Knobs ===

impl<T> Default for Knobs<T> {
    fn default() -> Self {
        let counting = Arc::<Counting>::default();
        Self {
            settings: Settings::default(),
            name: None,
            provider: None,
            endpoints: None,
            fallback: None,
            fallback_headers: Ok(HeaderMap::new()),
            limits: Limits::new(),
            byte_budget: None,
            overflow: Overflow::Refuse,
            batching: Batching::new(),
            default_in_flight: MaxInFlight::Adaptive(Adaptive::default()),
            flush_when: None,
            partition_key: None,
            max_open_partitions: 128,
            classifier: Classifier::otlp(),
            codes: grpc::Classifier::otlp(),
            retry: retry(Arc::clone(&counting)),
            breaker: breaker(Arc::clone(&counting)),
            counting,
            max_age: Duration::from_secs(300),
            park_backoff: Backoff::exponential(Duration::from_secs(1))
                .cap(Duration::from_secs(30))
                .jitter(Jitter::Equal),
            max_hint: Duration::from_secs(60),
            split_budget: 64,
            max_response_bytes: 4 << 20,
            observer: None,
            spool: None,
            spool_after: Duration::from_secs(30),
            breaker_observer: None,
            loudness: Loudness::default(),
            runtime: None,
            ignored: Vec::new(),
        }
    }
}

impl<T> Knobs<T> {
    /// Checks the knobs that no layer checks.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.max_response_bytes == 0 {
            return Err(ConfigError::new("max_response_bytes", 0, "1 and more"));
        }
        if self.partition_key.is_some() && self.max_open_partitions == 0 {
            return Err(ConfigError::new("max_open_partitions", 0, "1 and more"));
        }
        self.park_backoff.check()
    }

    /// The settings with what stands for the endpoints, where there are several: their headers and credentials are their own.
    pub(crate) fn place_endpoints(&mut self) -> Result<(), ConfigError> {
        let Some(endpoints) = &self.endpoints else { return Ok(()) };
        let is_given =
            |knob: &'static str, instead: &str| Err(ConfigError::new(knob, "given beside `endpoints`", instead));
        if self.settings.headers.clone().is_ok_and(|headers| !headers.is_empty()) {
            return is_given("header", "`Destination::header`, or `common_header` of the endpoints");
        }
        if self.provider.is_some() {
            return is_given("auth", "`Destination::auth`");
        }
        if self.fallback.is_some() {
            return is_given("fallback", "another endpoint");
        }
        self.settings.endpoint = match endpoints.destinations().first() {
            Some(destination) => destination.endpoint().cloned(),
            None => Err(ConfigError::new("endpoints", "0 endpoints", "1 to 256 endpoints")),
        };
        self.settings.has_several = true;
        Ok(())
    }

    /// Whether everything is spooled before it is sent.
    pub(crate) fn writes_ahead(&self) -> bool {
        self.spool.as_ref().is_some_and(|spool| spool.usage == SpoolUsage::WriteAhead)
    }

    /// How many batches are in flight where `batching` does not say it.
    pub(crate) fn in_flight(&self) -> MaxInFlight {
        // A spool is no server whose limit has to be found: a few batches share each of its syncs.
        if self.writes_ahead() { MaxInFlight::Fixed(4) } else { self.default_in_flight }
    }

    /// How long a batch that comes back retryable waits for other attempts, before it is spooled or dropped; zero for not at all.
    pub(crate) fn parks_for(&self) -> Duration {
        match self.spool {
            Some(SpoolKnob { usage: SpoolUsage::Overflow, .. }) => self.max_age.min(self.spool_after),
            Some(SpoolKnob { usage: SpoolUsage::WriteAhead, .. }) | None => self.max_age,
        }
    }
}

/// An export is a POST, and its protocol says what may be sent again. A wait that would end more than a minute after the
/// first attempt is left to the batch, which waits beside the queue and is not in flight.
///
/// A retry takes the place in flight of a fresh batch, so that it adds no load: `max_in_flight` bounds both. A budget on top would
/// lose what a server that fails some requests could take.
fn retry(counting: Arc<Counting>) -> ExportRetry {
    let count_retries = move |event: &RetryEvent| {
        if let RetryEvent::Retrying { .. } = event {
            counting.retries.fetch_add(1, Relaxed);
        }
    };
    RetryBuilder::http_with(ByError::new())
        .methods([Method::POST])
        .without_budget()
        .max_elapsed(Duration::from_secs(60))
        .observe(count_retries)
}

fn breaker(counting: Arc<Counting>) -> ExportBreaker {
    let count_opens = move |event: &BreakerEvent| {
        if let BreakerEvent::Changed { to: State::Open, .. } = event {
            counting.breaker_opens.fetch_add(1, Relaxed);
        }
        if let Some(observer) = counting.breaker_observer.get() {
            // The panic hook has reported the panic of an observer; it must not cost the batch.
            let _reported = panic::catch(|| observer(event));
        }
    };
    BreakerLayer::builder().excluding(is_refused_for_items as Excluded).observe(count_opens)
}

/// A request that is refused for its content (400, 413) says nothing about the health of the server.
fn is_refused_for_items(result: &Result<Response<Bytes>, BoxError>) -> bool {
    result.as_ref().err().is_some_and(is_about_items)
}
