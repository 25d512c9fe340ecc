use crate::{
    Compression, Credential, Destination, Encode, Endpoints, ExportError, ExportSpool, Exporter,
    authorize::Auth,
    credential::request_header_of,
    knobs::{ExportBreaker, ExportRetry, Knobs, SpoolKnob, SpoolUsage},
    stack::{self, ClientSource, StackParts},
    trace::Loudness,
};
use bytes::Bytes;
use forebay_batch::{Batching, MaxInFlight};
use forebay_breaker::BreakerEvent;
use forebay_core::{BoxError, ByFootprint, ConfigError, Observe, Priority, Weigh, http::Classifier};
use forebay_intake::{AllNormal, ByteBudget, Limits, Overflow, PriorityOf};
use forebay_retry::{Backoff, grpc};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use http_body_util::Full;
use std::{fmt, future::Future, sync::Arc, time::Duration};
use tokio::runtime::Handle;
use tower_service::Service;

/// Builds an [`Exporter`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`name`](Self::name) | `exporter/0`, `exporter/1`, ... | |
/// | [`endpoint`](Self::endpoint) | none | an `http` or `https` URL |
/// | [`endpoints`](Self::endpoints) | none | 1 to 256 endpoints, in the place of `endpoint` |
/// | [`encoder`](Self::encoder) | none | |
/// | [`client`](Self::client) | none | |
/// | [`client_for`](Self::client_for) | none | in the place of `client` |
/// | [`header`](Self::header) | none | |
/// | [`auth`](Self::auth) | none | |
/// | [`fallback`](Self::fallback) | none | an `http` or `https` URL |
/// | [`fallback_header`](Self::fallback_header) | none | |
/// | [`user_agent`](Self::user_agent) | `forebay/<version> (rust)` alone | a header value |
/// | [`compression`](Self::compression) | none | |
/// | [`max_request_bytes`](Self::max_request_bytes) | 64 MiB ([OTLP limits]) | 1 KiB to 64 MiB |
/// | [`limits`](Self::limits) | 65,536 items, 64 MiB, soft limit 0.9: see [`Limits`] | |
/// | [`byte_budget`](Self::byte_budget) | none | any [`ByteBudget`] |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] | |
/// | [`batching`](Self::batching) | 512 items, 4 MiB, 5 s, [`Adaptive`](crate::Adaptive) in flight; 5 ms and 4 for [`write_ahead`](Self::write_ahead): see [`Batching`] | |
/// | [`weigh`](Self::weigh) | [`ByFootprint`]: the size that the item reports | |
/// | [`priority`](Self::priority) | all normal | |
/// | [`flush_when`](Self::flush_when) | never | |
/// | [`partition_by`](Self::partition_by) | one batch for all | |
/// | [`max_open_partitions`](Self::max_open_partitions) | 128 | 1 and more |
/// | [`attempt_timeout`](Self::attempt_timeout) | 10 s ([OTLP]) | above zero |
/// | [`retryable`](Self::retryable) | [`Classifier::otlp`] | |
/// | [`retryable_codes`](Self::retryable_codes) | [`grpc::Classifier::otlp`] | |
/// | [`retry`](Self::retry) | 3 retries, 100 ms doubling to 10 s, full jitter, within 60 s, no budget: see [`RetryBuilder`] | |
/// | [`breaker`](Self::breaker) | 10 failures in a row, 5 where one batch is in flight; 60 s, 2 successes | |
/// | [`max_age`](Self::max_age) | 5 min (the OpenTelemetry Collector's) | zero and more |
/// | [`park_backoff`](Self::park_backoff) | 1 s doubling to 30 s, equal jitter | |
/// | [`max_hint`](Self::max_hint) | 60 s | zero and more |
/// | [`split_budget`](Self::split_budget) | 64 requests | 0 and more |
/// | [`max_response_bytes`](Self::max_response_bytes) | 4 MiB ([OTLP limits]) | 1 and more |
/// | [`overflow_to`](Self::overflow_to), [`write_ahead`](Self::write_ahead) | no spool | one of them |
/// | [`spool_after`](Self::spool_after) | 30 s | zero and more |
/// | [`observe`](Self::observe) | the last failure is in the [`Report`](crate::Report) | |
/// | [`observe_breaker`](Self::observe_breaker) | none | |
/// | [`quiet`](Self::quiet) | lost items are a warning, at most once a minute | |
/// | [`ignored`](Self::ignored) | nothing was ignored | |
/// | [`runtime`](Self::runtime) | the current one, else a thread of its own | |
///
/// Nothing is checked before [`build`](Self::build).
///
/// [OTLP limits]: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
/// [OTLP]: https://opentelemetry.io/docs/specs/otel/protocol/exporter/#configuration-options
/// [`RetryBuilder`]: forebay_retry::RetryBuilder
#[must_use = "a builder does nothing until it is built"]
pub struct ExporterBuilder<T, E = (), C = (), W = ByFootprint, P = AllNormal> {
    knobs: Knobs<T>,
    parts: StackParts<E, C, W, P>,
}

// === impl ExporterBuilder ===

impl<T> ExporterBuilder<T> {
    pub(crate) fn new() -> Self {
        let parts =
            StackParts { encoder: (), client: ClientSource::Given(()), weigh: ByFootprint, priority: AllNormal };
        Self { knobs: Knobs::default(), parts }
    }
}

impl<T, E, C, W, P> ExporterBuilder<T, E, C, W, P> {
    /// Names the exporter in metrics (label `exporter`) and events.
    ///
    /// Two exporters of one name would overwrite each other's metrics. The default is a number, which depends on the order in
    /// which exporters are built: a program that builds exporters repeatedly should name them, because a recorder keeps every
    /// name that it has seen. The name is that of the circuit as well, unless [`breaker`](Self::breaker) sets another one later.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.knobs.breaker = self.knobs.breaker.name(&name);
        self.knobs.name = Some(name.into());
        self
    }

    /// Sends to this URL: an absolute `http` or `https` URL, path included.
    ///
    /// It takes the place of [`endpoints`](Self::endpoints), if that was called before.
    pub fn endpoint(mut self, url: &str) -> Self {
        self.knobs.settings.endpoint = url.parse();
        self.knobs.endpoints = None;
        self
    }

    /// Sends to several endpoints: a [`Failover`](crate::Failover) or a [`Balance`](crate::Balance) of URLs, or of
    /// [`Destination`]s with headers, credentials and limits of their own.
    ///
    /// It takes the place of [`endpoint`](Self::endpoint). Each attempt is one choice, below the retry: a batch that one endpoint
    /// does not take goes to another at once, as one of its [`retry`](Self::retry) attempts; one that is refused for what is in it
    /// goes nowhere else. [`header`](Self::header), [`auth`](Self::auth) and [`fallback`](Self::fallback) belong to a single
    /// endpoint, and are refused beside it.
    ///
    /// ```
    /// use forebay_export::{Exporter, Failover};
    ///
    /// let builder = Exporter::<String>::builder()
    ///     .endpoints(Failover::new(["https://a.example/v1/logs", "https://b.example/v1/logs"]));
    /// ```
    pub fn endpoints(mut self, endpoints: impl Into<Endpoints>) -> Self {
        self.knobs.endpoints = Some(endpoints.into());
        self
    }

    /// Turns batches into request bodies.
    pub fn encoder<E2: Encode<T>>(self, encoder: E2) -> ExporterBuilder<T, E2, C, W, P> {
        let StackParts { encoder: _, client, weigh, priority } = self.parts;
        ExporterBuilder { knobs: self.knobs, parts: StackParts { encoder, client, weigh, priority } }
    }

    /// Sends the requests: any service from `http::Request<Full<Bytes>>` to `http::Response`.
    ///
    /// The client decides over TLS, proxies and connection pools.
    pub fn client<C2>(self, client: C2) -> ExporterBuilder<T, E, C2, W, P>
    where
        C2: Service<Request<Full<Bytes>>>,
    {
        self.with_client(ClientSource::Given(client))
    }

    /// Sends the requests to each endpoint by a client of its own, which `make` makes: when the exporter is built, and when an
    /// endpoint is new among those of [`set_endpoints`](crate::ExporterHandle::set_endpoints).
    ///
    /// So an endpoint can have a connection pool of its own, or a connector that is pinned to its
    /// [address](Destination::pinned_address) while URL, `Host` and TLS name stay those of the host.
    pub fn client_for<C2>(
        self,
        make: impl Fn(&Destination) -> C2 + Send + Sync + 'static,
    ) -> ExporterBuilder<T, E, C2, W, P>
    where
        C2: Service<Request<Full<Bytes>>> + Clone + Send + Sync + 'static,
    {
        self.with_client(ClientSource::Made(Arc::new(move |destination| {
            let client = make(destination);
            Arc::new(move || client.clone())
        })))
    }

    fn with_client<C2>(self, client: ClientSource<C2>) -> ExporterBuilder<T, E, C2, W, P> {
        let StackParts { encoder, client: _, weigh, priority } = self.parts;
        ExporterBuilder { knobs: self.knobs, parts: StackParts { encoder, client, weigh, priority } }
    }

    /// Adds a header to every request. Its value is treated as a secret: it is never printed.
    ///
    /// A header that is named twice has the value that was given last.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.knobs.settings.headers = self.knobs.settings.headers.and_then(|mut headers| {
            let (name, value) = request_header_of(name, value)?;
            headers.insert(name, value);
            Ok(headers)
        });
        self
    }

    /// Asks `provider` for the credential of the requests: at the first request, before the credential expires, and when the
    /// server no longer accepts it.
    ///
    /// A request whose response is 401 (gRPC: `UNAUTHENTICATED`) is sent once more with a new credential. However many
    /// requests ask, one call of `provider` runs at a time, for 10 s at most; after a failure it is not called again for a
    /// second, and requests wait as they do for a server that cannot be reached.
    ///
    /// ```
    /// use forebay_export::{BoxError, Credential, Exporter};
    /// use std::time::Duration;
    ///
    /// # async fn fetch_token() -> Result<String, BoxError> { Ok("hunter2".to_owned()) }
    /// let builder = Exporter::<String>::builder().auth(|| async {
    ///     let token = fetch_token().await?;
    ///     Ok::<_, BoxError>(Credential::bearer(&token)?.valid_for(Duration::from_secs(3600)))
    /// });
    /// ```
    pub fn auth<F, Fut, Err>(mut self, provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credential, Err>> + Send + 'static,
        Err: Into<BoxError>,
    {
        self.knobs.provider = Some(Auth::provider(provider));
        self.knobs.settings.has_provider = true;
        self
    }

    /// Sends a request to this URL, without any credential, when no credential is accepted: the provider has none, or the
    /// server responds with 401 to a new one, or with 403 (gRPC: `UNAUTHENTICATED`, `PERMISSION_DENIED`).
    pub fn fallback(mut self, url: &str) -> Self {
        self.knobs.fallback = Some(url.parse());
        self
    }

    /// Adds a header to every request that goes to the [`fallback`](Self::fallback). Those of [`header`](Self::header) belong
    /// to the endpoint, and do not go there.
    pub fn fallback_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.knobs.fallback_headers = self.knobs.fallback_headers.and_then(|mut headers| {
            let (name, value) = request_header_of(name, value)?;
            headers.insert(name, value);
            Ok(headers)
        });
        self
    }

    /// Sends credentials over plain `http` to another machine. This is refused by default, because each machine on the way
    /// can read them.
    pub fn allow_plaintext_credentials(mut self) -> Self {
        self.knobs.settings.plaintext_credentials = true;
        self
    }

    /// Names your program before forebay in `User-Agent`: `my-app/1.2 forebay/0.1.0 (rust)`, as OTLP recommends.
    pub fn user_agent(mut self, product: impl Into<String>) -> Self {
        self.knobs.settings.user_agent = Some(product.into());
        self
    }

    /// Sets the greatest body of a request, in bytes, before compression and after. A batch whose body would be greater is
    /// split, and never sent.
    pub fn max_request_bytes(mut self, bytes: usize) -> Self {
        self.knobs.settings.max_request_bytes = bytes;
        self
    }

    /// Sets how bodies are compressed.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.knobs.settings.compression = compression;
        self
    }

    /// Sets how much may be held: queued, in flight and parked together.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.knobs.limits = limits;
        self
    }

    /// Shares one budget of bytes with other exporters: each item needs room in there too, from its admission until its fate.
    ///
    /// The [`limits`](Self::limits) of each exporter hold as well. Refused items count as
    /// [`byte_budget`](crate::DropReason::ByteBudget).
    ///
    /// ```
    /// use forebay_export::{ByteBudget, Exporter};
    ///
    /// // Logs and spans hold no more than 64 MiB together.
    /// let budget = ByteBudget::new(64 << 20)?;
    /// let logs = Exporter::<String>::builder().byte_budget(&budget);
    /// let spans = Exporter::<String>::builder().byte_budget(&budget);
    /// # drop((logs, spans));
    /// # Ok::<(), forebay_export::ConfigError>(())
    /// ```
    pub fn byte_budget(mut self, budget: &ByteBudget) -> Self {
        self.knobs.byte_budget = Some(budget.clone());
        self
    }

    /// Sets what happens to an item that finds no room.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.knobs.overflow = overflow;
        self
    }

    /// Sets when a batch closes, and how many are in flight.
    ///
    /// Where no number is set, the exporter finds how many the server takes: see
    /// [`Adaptive`](crate::Adaptive). `max_in_flight(1)` keeps the order of arrival.
    pub fn batching(mut self, batching: Batching) -> Self {
        self.knobs.batching = batching;
        self
    }

    /// How many batches are in flight where the [`batching`](Self::batching) does not say it.
    #[doc(hidden)]
    pub fn max_in_flight_by_default(mut self, batches: impl Into<MaxInFlight>) -> Self {
        self.knobs.default_in_flight = batches.into();
        self
    }

    /// Sets how many bytes an item is charged for: any `Fn(&T) -> usize`.
    pub fn weigh<W2: Weigh<T>>(self, weigh: W2) -> ExporterBuilder<T, E, C, W2, P> {
        let StackParts { encoder, client, weigh: _, priority } = self.parts;
        ExporterBuilder { knobs: self.knobs, parts: StackParts { encoder, client, weigh, priority } }
    }

    /// Sets which lane an item takes.
    pub fn priority<P2: Fn(&T) -> Priority>(self, priority: P2) -> ExporterBuilder<T, E, C, W, P2> {
        let StackParts { encoder, client, weigh, priority: _ } = self.parts;
        ExporterBuilder { knobs: self.knobs, parts: StackParts { encoder, client, weigh, priority } }
    }

    /// Sets which items close their batch at once.
    pub fn flush_when(mut self, flush: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.knobs.flush_when = Some(Box::new(flush));
        self
    }

    /// Puts items of the same key into one batch, and items of different keys into different ones.
    ///
    /// Under [`Overflow::DropOldest`] a batch that holds an item of high priority is kept whole; with the two lanes apart,
    /// only items of normal priority make room.
    pub fn partition_by<K>(mut self, key: K) -> Self
    where
        K: for<'r> Fn(&'r T) -> &'r str + Send + Sync + 'static,
    {
        self.knobs.partition_key = Some(Box::new(key));
        self
    }

    /// Sets how many batches of different [keys](Self::partition_by) are open at a time. One more closes the oldest.
    pub fn max_open_partitions(mut self, partitions: usize) -> Self {
        self.knobs.max_open_partitions = partitions;
        self
    }

    /// Sets how long one attempt may take, from the call to the last byte of the response.
    ///
    /// Whatever it is, the wait for a body has an end: 30 s where its head says that the request was accepted or refused, and
    /// 10 min where the status follows the body (gRPC).
    ///
    /// An attempt that begins while a shutdown is under way ends with it at the latest. Over gRPC the time that an attempt has is
    /// in `grpc-timeout`.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.knobs.settings.attempt_timeout = timeout;
        self
    }

    /// Sets which statuses and errors are worth another attempt.
    pub fn retryable(mut self, classifier: Classifier) -> Self {
        self.knobs.classifier = classifier;
        self
    }

    /// Sets which statuses are worth another attempt where the encoder uses gRPC.
    pub fn retryable_codes(mut self, classifier: grpc::Classifier) -> Self {
        self.knobs.codes = classifier;
        self
    }

    /// Changes the retry of single requests, by the methods of [`RetryBuilder`](forebay_retry::RetryBuilder);
    /// `max_retries(0)` switches it off.
    ///
    /// It has no budget unless `budget` sets one: a retry takes the place in flight of a fresh batch, and adds no load.
    ///
    /// ```
    /// use forebay_export::{Backoff, Exporter};
    /// use std::time::Duration;
    ///
    /// let backoff = Backoff::constant(Duration::from_millis(200));
    /// let builder = Exporter::<String>::builder().retry(|retry| retry.max_retries(5).backoff(backoff));
    /// ```
    pub fn retry(mut self, change: impl FnOnce(ExportRetry) -> ExportRetry) -> Self {
        self.knobs.retry = change(self.knobs.retry);
        self
    }

    /// Changes the circuit breaker, by the methods of [`BreakerBuilder`](forebay_breaker::BreakerBuilder);
    /// `mode(Mode::ForcedClosed)` switches it off.
    ///
    /// ```
    /// use forebay_export::{Exporter, Trip};
    /// use std::time::Duration;
    ///
    /// let builder = Exporter::<String>::builder()
    ///     .breaker(|breaker| breaker.trip(Trip::consecutive(10)).open_for(Duration::from_secs(10)));
    /// ```
    pub fn breaker(mut self, change: impl FnOnce(ExportBreaker) -> ExportBreaker) -> Self {
        self.knobs.breaker = change(self.knobs.breaker);
        self
    }

    /// Sets how old an item may get while the server cannot be reached, before it is dropped as expired. Zero parks nothing: a
    /// batch whose retries are used up is dropped.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.knobs.max_age = age;
        self
    }

    /// Sets the waits between the attempts of a parked batch: one whose retries were used up, or that met an open circuit. Each
    /// batch has its own waits, and so has a server that is held: see
    /// [`BatchBuilder::park_backoff`](forebay_batch::BatchBuilder::park_backoff).
    pub fn park_backoff(mut self, backoff: Backoff) -> Self {
        self.knobs.park_backoff = backoff;
        self
    }

    /// Sets the longest hint of a server (`Retry-After`, gRPC's `RetryInfo`) that is obeyed. A longer one counts as this long,
    /// and none is longer than [`max_age`](Self::max_age).
    ///
    /// A server that asks for a day receives one batch after a minute, so that its recovery is noticed. A hint is shortened
    /// where it arrives, so that the retry, the throttle of the host and the circuit breaker hold nothing longer because of
    /// it. The throttle releases what it has held over half of that time again, so that it does not arrive at once. Zero
    /// ignores all hints.
    pub fn max_hint(mut self, most: Duration) -> Self {
        self.knobs.max_hint = most;
        self.knobs.retry = self.knobs.retry.max_hint(most);
        self
    }

    /// Sets how many requests may be spent on a batch that is refused for its content (400, 413), to deliver the rest; below 2
    /// the whole batch is dropped.
    pub fn split_budget(mut self, requests: u32) -> Self {
        self.knobs.split_budget = requests;
        self
    }

    /// Sets how many bytes of a response are read, as it arrives and after decompression. The rest of a longer one is not
    /// read, and the request is not retried for it.
    pub fn max_response_bytes(mut self, bytes: usize) -> Self {
        self.knobs.max_response_bytes = bytes;
        self
    }

    /// Keeps in `spool` what could not be delivered, and sends it when the server is back, fresh items first.
    ///
    /// An item goes there when it is as old as [`spool_after`](Self::spool_after) and the server has not taken it, when the
    /// items held come near their [`limits`](Self::limits), when no attempt is left for it, and when a
    /// [`shutdown`](Exporter::shutdown) has no time left for it: a quarter of its deadline, a second at most, is kept for that.
    /// It counts as spooled then. What the server refused is dropped as without a spool; so is what the spool has no room for,
    /// and what is held when the exporter's task is aborted. `emit` does not touch the spool.
    ///
    /// What an earlier process has spooled counts as [`recovered`](crate::Counters::recovered).
    pub fn overflow_to(mut self, spool: impl ExportSpool<T>) -> Self {
        self.knobs.spool = Some(SpoolKnob { spool: Arc::new(spool), usage: SpoolUsage::Overflow });
        self
    }

    /// Puts everything into `spool` before it is sent: the future of an item resolves with [`Spooled`](forebay_core::Fate::Spooled)
    /// once it is durable, and what is sent is read from the spool.
    ///
    /// The [`batching`](Self::batching) says how items are gathered for the spool, and becomes that of a short wait: 5 ms. Set it
    /// after this, if at all. Four batches are on their way to the spool at a time, unless it says another number. How many items a request has is up to the spool. What cannot be spooled
    /// now, since the disk is full, waits for another attempt until it is as old as [`max_age`](Self::max_age). A
    /// [`shutdown`](Exporter::shutdown) ends when all is spooled and sent, or at its deadline.
    pub fn write_ahead(mut self, spool: impl ExportSpool<T>) -> Self {
        self.knobs.spool = Some(SpoolKnob { spool: Arc::new(spool), usage: SpoolUsage::WriteAhead });
        self.knobs.batching = self.knobs.batching.max_delay(Duration::from_millis(5));
        self
    }

    /// Sets how old an item may get while the server cannot be reached, before it goes to the spool of
    /// [`overflow_to`](Self::overflow_to). Zero spools a batch as soon as its retries are used up or the circuit is open.
    pub fn spool_after(mut self, age: Duration) -> Self {
        self.knobs.spool_after = age;
        self
    }

    /// Sets the observer of failed exports: a closure `Fn(&ExportError)`, or any [`Observe<ExportError>`](Observe). It can log
    /// them, at a rate of your own choice.
    ///
    /// It runs on the exporter's task, and must not block. A panic in it is caught.
    pub fn observe(mut self, observer: impl Observe<ExportError> + Send + Sync + 'static) -> Self {
        self.knobs.observer = Some(Box::new(observer));
        self
    }

    /// Shows every event of the circuit to `observer`, such as a closure `|event: &BreakerEvent| ..`.
    ///
    /// It runs on the exporter's task, and must not block. A panic in it is caught. An observer that is given by
    /// [`breaker`](Self::breaker) takes the place of the exporter's own, which counts how often the circuit opens.
    pub fn observe_breaker(mut self, observer: impl Fn(&BreakerEvent) + Send + Sync + 'static) -> Self {
        self.knobs.breaker_observer = Some(Box::new(observer));
        self
    }

    /// Reports lost items at debug, in place of a warning at most once a minute: for a library whose telemetry must not appear in
    /// the log of its host. [`Exporter::totals`] and [`observe`](Self::observe) still have all of it.
    pub fn quiet(mut self) -> Self {
        self.knobs.loudness = Loudness::Quiet;
        self
    }

    /// Reports settings that could not be used, and were ignored, when the exporter is built: each is an event of `tracing`, a
    /// warning unless the exporter is [`quiet`](Self::quiet).
    ///
    /// For what reads settings from elsewhere, such as the environment, and must not fail for one of them.
    pub fn ignored(mut self, settings: impl IntoIterator<Item = ConfigError>) -> Self {
        self.knobs.ignored.extend(settings);
        self
    }

    /// Sets the runtime of the exporter's one task.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.knobs.runtime = Some(runtime);
        self
    }

    /// Starts the exporter.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is missing, or a knob is out of its range. Nothing runs then.
    pub fn build<B>(self) -> Result<Exporter<T>, ConfigError>
    where
        T: Send + Sync + 'static,
        E: Encode<T>,
        C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
        W: Weigh<T> + Send + Sync + 'static,
        P: PriorityOf<T> + Send + Sync + 'static,
    {
        stack::start(self.knobs, self.parts)
    }
}

impl<T, E, C, W, P> fmt::Debug for ExporterBuilder<T, E, C, W, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterBuilder")
            .field("name", &self.knobs.name)
            .field("endpoint", &self.knobs.settings.endpoint)
            .field("limits", &self.knobs.limits)
            .field("batching", &self.knobs.batching)
            .finish_non_exhaustive()
    }
}
