use crate::{
    Compression, Credential, Encode, Endpoint, ExportError, Exporter, ExporterHandle, Framing,
    authorize::{Auth, Authorize, Fallback},
    control::{Control, Settings},
    counters::{Counted, Counting, RetryCount},
    credential::request_header_of,
    encoding::{Encoding, SettleExport, is_about_items},
    journal::{Journal, OnFailure},
    patience::Patience,
    receive::{Judge, Receive},
    runtime,
    watched::Watched,
};
use bytes::Bytes;
use forebay_batch::{BatchLayer, Batching};
use forebay_breaker::{BreakerBuilder, BreakerEvent, BreakerLayer, ByDefault, Excluding, State};
use forebay_cached::Cached;
use forebay_core::{BoxError, ByError, ByFootprint, ConfigError, Priority, Unkeyed, Weigh, http::Classifier};
use forebay_intake::{AllNormal, Limits, Overflow, PriorityOf};
use forebay_retry::{
    Backoff, Jitter, RetryBuilder, grpc,
    http::{Authority, HttpPolicy},
    policy::Keyed,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, header};
use http_body::Body;
use http_body_util::Full;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::runtime::Handle;
use tower::timeout::Timeout;
use tower_layer::Layer;
use tower_service::Service;

/// The settings of the retry layer of the default stack; [`ExporterBuilder::retry`] changes them.
pub type ExportRetry = RetryBuilder<ByError, HttpPolicy, Keyed<Authority>>;

/// The builder of the breaker of the default stack; [`ExporterBuilder::breaker`] changes it.
#[doc(hidden)]
pub type ExportBreaker = BreakerBuilder<(), Unkeyed, Excluding<ByDefault, NoNews>>;

/// The greatest body that an OTLP client should send, in bytes.
const MAX_BODY: usize = 64 << 20;

/// Which results say nothing about the server: it rejected the request for what was in it (400, 413).
#[doc(hidden)]
pub type NoNews = fn(&Result<Response<Bytes>, BoxError>) -> bool;

/// Builds an [`Exporter`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`name`](Self::name) | `exporter/0`, `exporter/1`, ... | |
/// | [`endpoint`](Self::endpoint) | none | an `http` or `https` URL |
/// | [`encoder`](Self::encoder) | none | |
/// | [`client`](Self::client) | none | |
/// | [`header`](Self::header) | none | |
/// | [`auth`](Self::auth) | none | |
/// | [`fallback`](Self::fallback) | none | an `http` or `https` URL |
/// | [`fallback_header`](Self::fallback_header) | none | |
/// | [`user_agent`](Self::user_agent) | `forebay/<version> (rust)` alone | a header value |
/// | [`compression`](Self::compression) | none | |
/// | [`max_body`](Self::max_body) | 64 MiB ([OTLP limits]) | 1 KiB to 64 MiB |
/// | [`queue`](Self::queue) | 65,536 items, 64 MiB, soft limit 0.9: see [`Limits`] | |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] | |
/// | [`batch`](Self::batch) | 512 items, 4 MiB, 5 s, one in flight: see [`Batching`] | |
/// | [`weigh`](Self::weigh) | [`ByFootprint`]: what the item says that it holds | |
/// | [`priority`](Self::priority) | all normal | |
/// | [`flush_when`](Self::flush_when) | never | |
/// | [`partition_by`](Self::partition_by) | one batch for all | 1 and more open at a time |
/// | [`attempt_timeout`](Self::attempt_timeout) | 10 s ([OTLP]) | above zero |
/// | [`retryable`](Self::retryable) | [`Classifier::otlp`] | |
/// | [`retryable_codes`](Self::retryable_codes) | [`grpc::Classifier::otlp`] | |
/// | [`retry`](Self::retry) | 3 retries, 100 ms doubling to 10 s, full jitter, within 60 s, 10 % budget: see [`RetryBuilder`] | |
/// | [`breaker`](Self::breaker) | 5 failures in a row, 60 s, 2 successes: see [`BreakerLayer::driver`] | |
/// | [`give_up_after`](Self::give_up_after) | 5 min (the OpenTelemetry Collector's) | zero and more |
/// | [`patience`](Self::patience) | 1 s doubling to 30 s, equal jitter | |
/// | [`max_hint`](Self::max_hint) | 60 s | zero and more |
/// | [`split_budget`](Self::split_budget) | 64 requests | 0 and more |
/// | [`max_answer`](Self::max_answer) | 4 MiB ([OTLP limits]) | 1 and more |
/// | [`on_failure`](Self::on_failure) | the last failure is in the [`Report`](crate::Report) | |
/// | [`runtime`](Self::runtime) | the one it is built in, else a thread of its own | |
///
/// [OTLP limits]: https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
/// [OTLP]: https://opentelemetry.io/docs/specs/otel/protocol/exporter/#configuration-options
#[must_use = "a builder does nothing until it is built"]
pub struct ExporterBuilder<T, E = (), C = (), W = ByFootprint, P = AllNormal> {
    name: Option<Arc<str>>,
    endpoint: Option<Result<Endpoint, ConfigError>>,
    encoder: E,
    client: C,
    headers: Result<HeaderMap, ConfigError>,
    provider: Option<Result<Cached<Credential>, ConfigError>>,
    fallback: Option<Result<Endpoint, ConfigError>>,
    fallback_headers: Result<HeaderMap, ConfigError>,
    plaintext_credentials: bool,
    user_agent: Option<String>,
    compression: Compression,
    max_body: usize,
    limits: Limits,
    overflow: Overflow,
    batching: Batching,
    weigh: W,
    priority: P,
    flush_when: Option<FlushWhen<T>>,
    partition: Option<(usize, PartitionKey<T>)>,
    attempt_timeout: Duration,
    classifier: Classifier,
    codes: grpc::Classifier,
    retry: ExportRetry,
    breaker: ExportBreaker,
    counting: Arc<Counting>,
    give_up_after: Duration,
    patience: Backoff,
    max_hint: Duration,
    split_budget: u32,
    max_answer: usize,
    on_failure: Option<Box<OnFailure>>,
    runtime: Option<Handle>,
    item: PhantomData<fn(T)>,
}

type FlushWhen<T> = Box<dyn Fn(&T) -> bool + Send + Sync>;
type PartitionKey<T> = Box<dyn for<'r> Fn(&'r T) -> &'r str + Send + Sync>;

// === impl ExporterBuilder ===

impl<T> ExporterBuilder<T> {
    pub(crate) fn new() -> Self {
        let counting = Arc::<Counting>::default();
        let opens = Arc::clone(&counting);
        let observer = move |event: &BreakerEvent| {
            if let BreakerEvent::Changed { to: State::Open, .. } = event {
                opens.breaker_opens.fetch_add(1, Relaxed);
            }
        };
        Self {
            name: None,
            endpoint: None,
            encoder: (),
            client: (),
            headers: Ok(HeaderMap::new()),
            provider: None,
            fallback: None,
            fallback_headers: Ok(HeaderMap::new()),
            plaintext_credentials: false,
            user_agent: None,
            compression: Compression::None,
            max_body: MAX_BODY,
            limits: Limits::new(),
            overflow: Overflow::Refuse,
            batching: Batching::new(),
            weigh: ByFootprint,
            priority: AllNormal,
            flush_when: None,
            partition: None,
            attempt_timeout: Duration::from_secs(10),
            classifier: Classifier::otlp(),
            codes: grpc::Classifier::otlp(),
            // An export is a POST, and its protocol says what may be sent again. A wait that would end more than a minute after
            // the beginning is left to the batch, which waits beside the queue and holds no slot.
            retry: RetryBuilder::http_with(ByError::new())
                .methods([Method::POST])
                .max_elapsed(Duration::from_secs(60))
                .observe(RetryCount(Arc::clone(&counting))),
            breaker: BreakerLayer::driver().excluding(no_news as NoNews).observe(observer),
            counting,
            give_up_after: Duration::from_secs(300),
            patience: Backoff::exponential(Duration::from_secs(1)).cap(Duration::from_secs(30)).jitter(Jitter::Equal),
            max_hint: Duration::from_secs(60),
            split_budget: 64,
            max_answer: 4 << 20,
            on_failure: None,
            runtime: None,
            item: PhantomData,
        }
    }
}

impl<T, E, C, W, P> ExporterBuilder<T, E, C, W, P> {
    /// What tells the exporter from the others of the program, in metrics (label `exporter`) and events.
    ///
    /// Two of the same name would overwrite each other's metrics. The default is a number, which depends on the order in
    /// which exporters are built: a program that builds them again and again should name them, for a recorder keeps what
    /// it was once given. The name is that of the circuit as well, unless [`breaker`](Self::breaker) gives it another later.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        let name = name.into();
        self.breaker = self.breaker.name(&name);
        self.name = Some(name.into());
        self
    }

    /// Where to send to: an absolute `http` or `https` URL, path included.
    pub fn endpoint(mut self, url: &str) -> Self {
        self.endpoint = Some(url.parse());
        self
    }

    /// Turns batches into request bodies.
    pub fn encoder<E2: Encode<T>>(self, encoder: E2) -> ExporterBuilder<T, E2, C, W, P> {
        self.change(|_, client, weigh, priority| (encoder, client, weigh, priority))
    }

    /// Sends the requests: any service from `http::Request<Full<Bytes>>` to `http::Response`.
    ///
    /// TLS, proxies and connection pools are its business.
    pub fn client<C2>(self, client: C2) -> ExporterBuilder<T, E, C2, W, P>
    where
        C2: Service<Request<Full<Bytes>>>,
    {
        self.change(|encoder, _, weigh, priority| (encoder, client, weigh, priority))
    }

    /// A header of every request. Its value is treated as a secret: it is never printed.
    ///
    /// A header named twice has the value that was given last.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.headers = self.headers.and_then(|mut headers| {
            let (name, value) = request_header_of(name, value)?;
            headers.insert(name, value);
            Ok(headers)
        });
        self
    }

    /// Asks `provider` for the credential of the requests: when the first is sent, before it runs out, and when the far side
    /// no longer takes it.
    ///
    /// A request that is answered with 401 (gRPC: `UNAUTHENTICATED`) is sent once more with a new credential. However many
    /// requests ask, one call of `provider` runs at a time, for 10 s at most; after a failure it is not asked again for a
    /// second, and requests wait as for a far side that is away.
    ///
    /// ```
    /// use forebay_core::BoxError;
    /// use forebay_export::{Credential, Exporter};
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
        self.provider = Some(Auth::provider(provider));
        self
    }

    /// Where a request goes, without any credential, that cannot be sent with one: none can be had, or the far side answers
    /// 401 to a new one, or 403 (gRPC: `UNAUTHENTICATED`, `PERMISSION_DENIED`).
    pub fn fallback(mut self, url: &str) -> Self {
        self.fallback = Some(url.parse());
        self
    }

    /// A header of every request that goes to the [`fallback`](Self::fallback). Those of [`header`](Self::header) belong to the
    /// endpoint, and do not go there.
    pub fn fallback_header<N, V>(mut self, name: N, value: V) -> Self
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.fallback_headers = self.fallback_headers.and_then(|mut headers| {
            let (name, value) = request_header_of(name, value)?;
            headers.insert(name, value);
            Ok(headers)
        });
        self
    }

    /// Sends credentials over plain `http` to another machine. Refused otherwise, for anybody on the way can read them.
    pub fn allow_plaintext_credentials(mut self) -> Self {
        self.plaintext_credentials = true;
        self
    }

    /// Names your program before forebay in `User-Agent`: `my-app/1.2 forebay/0.1.0 (rust)`, as OTLP has it.
    pub fn user_agent(mut self, product: impl Into<String>) -> Self {
        self.user_agent = Some(product.into());
        self
    }

    /// The greatest body of a request, in bytes, before compression and after; a batch that would have a greater one is
    /// split, and never sent.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self
    }

    /// How bodies are compressed.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// How much may be held: queued, in flight and waiting for another attempt together.
    pub fn queue(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What happens to an item for which there is no room.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// When a batch closes, and how many are under way.
    pub fn batch(mut self, batching: Batching) -> Self {
        self.batching = batching;
        self
    }

    /// How many bytes an item is charged for: any `Fn(&T) -> usize`.
    pub fn weigh<W2: Weigh<T>>(self, weigh: W2) -> ExporterBuilder<T, E, C, W2, P> {
        self.change(|encoder, client, _, priority| (encoder, client, weigh, priority))
    }

    /// Which lane an item takes.
    pub fn priority<P2: Fn(&T) -> Priority>(self, priority: P2) -> ExporterBuilder<T, E, C, W, P2> {
        self.change(|encoder, client, weigh, _| (encoder, client, weigh, priority))
    }

    /// Which items close their batch at once.
    pub fn flush_when(mut self, flush: impl Fn(&T) -> bool + Send + Sync + 'static) -> Self {
        self.flush_when = Some(Box::new(flush));
        self
    }

    /// Which items share a batch: those of the same key. At most `open` batches are open at a time; one more closes the
    /// oldest.
    ///
    /// Under [`Overflow::DropOldest`] a batch that holds an item of high priority is kept whole; with the two lanes apart,
    /// only items of normal priority make room.
    pub fn partition_by<K>(mut self, open: usize, key: K) -> Self
    where
        K: for<'r> Fn(&'r T) -> &'r str + Send + Sync + 'static,
    {
        self.partition = Some((open, Box::new(key)));
        self
    }

    /// How long one attempt may take, from the call to the last byte of the response.
    ///
    /// However long that is, a body is not waited for without end: where its head says that the request was taken or refused, for
    /// 30 s, and where that is still to come (gRPC), for 10 min.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Which statuses and errors are worth another attempt.
    pub fn retryable(mut self, classifier: Classifier) -> Self {
        self.classifier = classifier;
        self
    }

    /// Which statuses are worth another attempt where the encoder speaks gRPC.
    pub fn retryable_codes(mut self, classifier: grpc::Classifier) -> Self {
        self.codes = classifier;
        self
    }

    /// Changes the retry of single requests: `.retry(|retry| retry.max_retries(5))`; `max_retries(0)` switches it off.
    pub fn retry(mut self, change: impl FnOnce(ExportRetry) -> ExportRetry) -> Self {
        self.retry = change(self.retry);
        self
    }

    /// Changes the circuit breaker, by the methods of [`BreakerBuilder`]: `.breaker(|breaker| breaker.open_for(Duration::from_secs(10)))`;
    /// `mode(Mode::ForcedClosed)` switches it off.
    pub fn breaker(mut self, change: impl FnOnce(ExportBreaker) -> ExportBreaker) -> Self {
        self.breaker = change(self.breaker);
        self
    }

    /// How old an item may grow while the far side is away, before it is dropped as expired. Zero does not wait for it: a
    /// batch whose retries are used up is dropped.
    pub fn give_up_after(mut self, age: Duration) -> Self {
        self.give_up_after = age;
        self
    }

    /// How long to wait between the attempts of a batch whose retries were used up, or that met an open circuit.
    pub fn patience(mut self, backoff: Backoff) -> Self {
        self.patience = backoff;
        self
    }

    /// The longest that a server's hint (`Retry-After`, gRPC's `RetryInfo`) is obeyed; a longer one counts as this long, and none
    /// is longer than [`give_up_after`](Self::give_up_after).
    ///
    /// A server that asks for a day is asked again after a minute, with one batch: a server that is well again is found. A hint
    /// is cut where it comes in, so that the retry, the throttle of the host and the circuit breaker hold nothing for longer
    /// because of it; what the throttle has held is let go over half of that time again, so that it does not come at once. Zero
    /// ignores all hints.
    pub fn max_hint(mut self, most: Duration) -> Self {
        self.max_hint = most;
        self.retry = self.retry.max_hint(most);
        self
    }

    /// How many requests may be spent on a batch that is refused for what is in it (400, 413), to deliver the rest; below 2
    /// the whole batch is dropped.
    pub fn split_budget(mut self, requests: u32) -> Self {
        self.split_budget = requests;
        self
    }

    /// The most bytes that are read of an answer, as it comes and without its compression. A longer one is not retried.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
        self
    }

    /// Is told of each export that failed: to log it, at a rate of your own choice.
    ///
    /// It runs on the exporter's task, and must not block. A panic in it is caught.
    pub fn on_failure(mut self, observer: impl Fn(&ExportError) + Send + Sync + 'static) -> Self {
        self.on_failure = Some(Box::new(observer));
        self
    }

    /// Where the exporter's one task runs.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// The exporter, which runs from now on.
    ///
    /// # Errors
    ///
    /// When the endpoint is missing, or a knob is out of its range. Nothing runs then.
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
        let settings = self.settings()?;
        let fallback = match self.fallback {
            Some(endpoint) => Some(Fallback { uri: settings.uri(&endpoint?)?, headers: self.fallback_headers? }),
            None => None,
        };
        let name = self.name.unwrap_or_else(next_name);
        let auth = Auth::new(self.provider.transpose()?, fallback, &name);
        let framing = settings.framing;
        let control = Arc::new(Control::new(settings));
        if self.attempt_timeout.is_zero() {
            return Err(ConfigError::new("attempt_timeout", "0s", "above zero"));
        }
        if self.max_answer == 0 {
            return Err(ConfigError::new("max_answer", 0, "1 and more"));
        }
        let waits = !self.give_up_after.is_zero();
        let mut layer = BatchLayer::builder()
            .limits(self.limits)
            .overflow(self.overflow)
            .batching(self.batching)
            .weigh(self.weigh)
            .priority_of(self.priority)
            .keep_items()
            .settle(SettleExport)
            .answer_fates()
            .split_budget(self.split_budget)
            // What waits keeps its slots: the limits of the queue bound it.
            .park(Patience::new(self.patience), usize::MAX)
            .max_hint(self.max_hint)
            // A dropped future of an exporter does not take its item back.
            .run_cancelled(true);
        if let Some(flush) = self.flush_when {
            layer = layer.flush_when(flush);
        }
        if let Some((open, key)) = self.partition {
            layer = layer.partition_by(open, key);
        }
        layer = if waits { layer.expire_after(self.give_up_after) } else { layer.without_parking() };
        let layer = layer.build()?;

        let is_grpc = matches!(framing, Framing::Grpc { .. });
        let journal = Arc::new(Journal::new(name, self.on_failure));
        let max_hint = if waits { self.max_hint.min(self.give_up_after) } else { self.max_hint };
        let judge =
            Judge { http: self.classifier, grpc: is_grpc.then_some(self.codes), cap: self.max_answer, max_hint };
        let counted = Counted::new(self.client, Arc::clone(&self.counting));
        let receive = Receive::new(counted, judge, self.attempt_timeout, Arc::clone(&self.counting));
        let attempt = Authorize::new(Timeout::new(receive, self.attempt_timeout), auth);
        let retry = match framing {
            Framing::Plain => self.retry,
            Framing::Grpc { .. } => self.retry.attempt_header(HeaderName::from_static("grpc-previous-rpc-attempts")),
        };
        self.patience.check()?;
        let retry = retry.build()?;
        let breaker = self.breaker.build()?;
        let circuit = breaker.handle();
        let guarded = breaker.layer(retry.layer(attempt));
        let (batch, worker) =
            layer.pair(Encoding::new(guarded, Arc::new(self.encoder), Arc::clone(&control), Arc::clone(&journal)));
        let handle = ExporterHandle::new(batch.handle(), circuit, Arc::clone(&control), self.counting, journal);
        runtime::run(self.runtime, Watched::new(worker, handle.clone()))?;
        Ok(Exporter::new(batch, control, handle))
    }

    fn settings(&self) -> Result<Settings, ConfigError>
    where
        E: Encode<T>,
    {
        let endpoint = match &self.endpoint {
            Some(endpoint) => endpoint.clone()?,
            None => return Err(ConfigError::new("endpoint", "missing", "an http or https URL")),
        };
        let mut headers = self.headers.clone()?;
        if !(1 << 10..=MAX_BODY).contains(&self.max_body) {
            return Err(ConfigError::new("max_body", self.max_body, "1 KiB to 64 MiB, in bytes"));
        }
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, user_agent(self.user_agent.as_deref())?);
        }
        let mut settings = Settings::new(endpoint, headers, self.encoder.framing());
        settings.plaintext_credentials = self.plaintext_credentials;
        settings.has_provider = self.provider.is_some();
        settings.compression = self.compression;
        settings.max_body = self.max_body;
        settings.grpc_timeout = grpc_timeout(self.attempt_timeout);
        settings.checked()
    }

    fn change<E2, C2, W2, P2>(
        self,
        with: impl FnOnce(E, C, W, P) -> (E2, C2, W2, P2),
    ) -> ExporterBuilder<T, E2, C2, W2, P2> {
        let (encoder, client, weigh, priority) = with(self.encoder, self.client, self.weigh, self.priority);
        ExporterBuilder {
            name: self.name,
            endpoint: self.endpoint,
            encoder,
            client,
            headers: self.headers,
            provider: self.provider,
            fallback: self.fallback,
            fallback_headers: self.fallback_headers,
            plaintext_credentials: self.plaintext_credentials,
            user_agent: self.user_agent,
            compression: self.compression,
            max_body: self.max_body,
            limits: self.limits,
            overflow: self.overflow,
            batching: self.batching,
            weigh,
            priority,
            flush_when: self.flush_when,
            partition: self.partition,
            attempt_timeout: self.attempt_timeout,
            classifier: self.classifier,
            codes: self.codes,
            retry: self.retry,
            breaker: self.breaker,
            counting: self.counting,
            give_up_after: self.give_up_after,
            patience: self.patience,
            max_hint: self.max_hint,
            split_budget: self.split_budget,
            max_answer: self.max_answer,
            on_failure: self.on_failure,
            runtime: self.runtime,
            item: PhantomData,
        }
    }
}

impl<T, E, C, W, P> fmt::Debug for ExporterBuilder<T, E, C, W, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterBuilder")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("limits", &self.limits)
            .field("batching", &self.batching)
            .finish_non_exhaustive()
    }
}

fn next_name() -> Arc<str> {
    static BUILT: AtomicU64 = AtomicU64::new(0);

    format!("exporter/{}", BUILT.fetch_add(1, Relaxed)).into()
}

/// A request that was refused for what was in it says nothing about whether the far side is well.
fn no_news(result: &Result<Response<Bytes>, BoxError>) -> bool {
    result.as_ref().err().is_some_and(is_about_items)
}

fn user_agent(product: Option<&str>) -> Result<HeaderValue, ConfigError> {
    const OURS: &str = concat!("forebay/", env!("CARGO_PKG_VERSION"), " (rust)");
    match product {
        None => Ok(HeaderValue::from_static(OURS)),
        Some(product) => HeaderValue::try_from(format!("{product} {OURS}"))
            .map_err(|_why| ConfigError::new("user_agent", format!("{product:?}"), "visible ASCII: `name/version`")),
    }
}

/// At most eight digits and a unit, as gRPC has it; none for what does not fit, which is for ever.
fn grpc_timeout(timeout: Duration) -> Option<HeaderValue> {
    let units = [(timeout.as_millis(), 'm'), (timeout.as_secs().into(), 'S'), ((timeout.as_secs() / 3600).into(), 'H')];
    let (number, unit) = units.into_iter().find(|(number, _)| *number < 100_000_000)?;
    HeaderValue::try_from(format!("{}{unit}", number.max(1))).ok()
}
