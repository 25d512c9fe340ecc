use crate::{
    Compression, Encode, Endpoint, Exporter,
    counters::{Counted, Counting, RetryCount},
    encoding::{Encoding, SettleExport, Target},
    patience::Patience,
    receive::Receive,
    runtime,
};
use bytes::Bytes;
use forebay_batch::{BatchLayer, Batching};
use forebay_breaker::{BreakerBuilder, BreakerEvent, BreakerLayer, Chosen, Excluding, State};
use forebay_core::{
    BoxError, Boxed, ByError, ConfigError, Priority, SizeOf, Unkeyed, Weigh, cause_ref,
    http::{Classifier, StatusError},
};
use forebay_queue::{
    Limits, Overflow,
    parts::{AllNormal, PriorityOf},
};
use forebay_retry::{
    Backoff, Jitter, Keyed, RetryLayer,
    http::{Authority, HttpPolicy},
};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::Full;
use std::{
    fmt,
    marker::PhantomData,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};
use tokio::runtime::Handle;
use tower::timeout::Timeout;
use tower_layer::Layer;
use tower_service::Service;

/// The retry layer of the default stack; [`ExporterBuilder::retry`] changes it.
pub type ExportRetry = RetryLayer<ByError, HttpPolicy, Keyed<Authority>, RetryCount>;

/// The breaker of the default stack; [`ExporterBuilder::breaker`] changes it.
pub type ExportBreaker = BreakerBuilder<(), Unkeyed, Chosen<Excluding<ByError, NoNews>>>;

/// Which results say nothing about the far side: what it refused for what was in it (400, 413).
pub type NoNews = fn(&Result<Response<Bytes>, BoxError>) -> bool;

/// Builds an [`Exporter`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`endpoint`](Self::endpoint) | none | an `http` or `https` URL |
/// | [`encoder`](Self::encoder) | none | |
/// | [`client`](Self::client) | none | |
/// | [`header`](Self::header) | `User-Agent: forebay/<version>` | |
/// | [`compression`](Self::compression) | none | |
/// | [`queue`](Self::queue) | 65,536 items, 64 MiB, soft limit 0.9: see [`Limits`] | |
/// | [`overflow`](Self::overflow) | [`Overflow::Refuse`] | |
/// | [`batch`](Self::batch) | 512 items, 4 MiB, 5 s, one in flight: see [`Batching`] | |
/// | [`weigh`](Self::weigh) | [`SizeOf`] | |
/// | [`priority`](Self::priority) | all normal | |
/// | [`flush_when`](Self::flush_when) | never | |
/// | [`partition_by`](Self::partition_by) | one batch for all | 1 and more open at a time |
/// | [`attempt_timeout`](Self::attempt_timeout) | 10 s ([OTLP]) | above zero |
/// | [`retryable`](Self::retryable) | [`Classifier::otlp`] | |
/// | [`retry`](Self::retry) | 3 retries, 100 ms doubling to 10 s, full jitter, 10 % budget: see [`RetryLayer`] | |
/// | [`breaker`](Self::breaker) | 5 failures in a row, 60 s, 2 successes: see [`BreakerLayer::driver`] | |
/// | [`give_up_after`](Self::give_up_after) | 5 min (the OpenTelemetry Collector's) | zero and more |
/// | [`patience`](Self::patience) | 1 s doubling to 30 s, equal jitter | |
/// | [`split_budget`](Self::split_budget) | 64 requests | 0 and more |
/// | [`max_answer`](Self::max_answer) | 64 KiB | 1 and more |
/// | [`runtime`](Self::runtime) | the one it is built in, else a thread of its own | |
///
/// [OTLP]: https://opentelemetry.io/docs/specs/otel/protocol/exporter/#configuration-options
#[must_use = "a builder does nothing until it is built"]
pub struct ExporterBuilder<T, E = (), C = (), W = SizeOf, P = AllNormal> {
    endpoint: Option<Result<Endpoint, ConfigError>>,
    encoder: E,
    client: C,
    headers: Result<HeaderMap, ConfigError>,
    plaintext_credentials: bool,
    compression: Compression,
    limits: Limits,
    overflow: Overflow,
    batching: Batching,
    weigh: W,
    priority: P,
    flush_when: Option<FlushWhen<T>>,
    partition: Option<(usize, PartitionKey<T>)>,
    attempt_timeout: Duration,
    classifier: Classifier,
    retry: ExportRetry,
    breaker: ExportBreaker,
    counting: Arc<Counting>,
    give_up_after: Duration,
    patience: Backoff,
    split_budget: u32,
    max_answer: usize,
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
        let mut headers = HeaderMap::new();
        let agent = HeaderValue::from_static(concat!("forebay/", env!("CARGO_PKG_VERSION")));
        headers.insert(header::USER_AGENT, agent);
        Self {
            endpoint: None,
            encoder: (),
            client: (),
            headers: Ok(headers),
            plaintext_credentials: false,
            compression: Compression::None,
            limits: Limits::new(),
            overflow: Overflow::Refuse,
            batching: Batching::new(),
            weigh: SizeOf,
            priority: AllNormal,
            flush_when: None,
            partition: None,
            attempt_timeout: Duration::from_secs(10),
            classifier: Classifier::otlp(),
            retry: RetryLayer::http_with(ByError::new()).observe(RetryCount(Arc::clone(&counting))),
            breaker: BreakerLayer::driver().excluding::<Boxed, _, _, _>(no_news as NoNews).observe(observer),
            counting,
            give_up_after: Duration::from_secs(300),
            patience: Backoff::exponential(Duration::from_secs(1)).cap(Duration::from_secs(30)).jitter(Jitter::Equal),
            split_budget: 64,
            max_answer: 64 << 10,
            runtime: None,
            item: PhantomData,
        }
    }
}

impl<T, E, C, W, P> ExporterBuilder<T, E, C, W, P> {
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
            // Neither name nor value is shown: whoever mixes them up must not find a secret in a log.
            let refuse = |what| ConfigError::new("header", what, "a name and a value as HTTP has them (RFC 9110, 5)");
            let name = name.try_into().map_err(|_secret| refuse("a name that cannot be one"))?;
            let mut value = value.try_into().map_err(|_secret| refuse("a value that cannot be one"))?;
            value.set_sensitive(true);
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

    /// How long one attempt may take, from the call to the last byte of the answer.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.attempt_timeout = timeout;
        self
    }

    /// Which statuses and errors are worth another attempt.
    pub fn retryable(mut self, classifier: Classifier) -> Self {
        self.classifier = classifier;
        self
    }

    /// Changes the retry of single requests: `.retry(|retry| retry.max_retries(5))`; `max_retries(0)` switches it off.
    pub fn retry(mut self, change: impl FnOnce(ExportRetry) -> ExportRetry) -> Self {
        self.retry = change(self.retry);
        self
    }

    /// Changes the circuit breaker: `.breaker(|breaker| breaker.open_for(Duration::from_secs(10)))`;
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

    /// How many requests may be spent on a batch that is refused for what is in it (400, 413), to deliver the rest; below 2
    /// the whole batch is dropped.
    pub fn split_budget(mut self, requests: u32) -> Self {
        self.split_budget = requests;
        self
    }

    /// The most bytes that are read of an answer. A longer one is not retried.
    pub fn max_answer(mut self, bytes: usize) -> Self {
        self.max_answer = bytes;
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
        let target = Arc::new(self.target()?);
        if self.attempt_timeout.is_zero() {
            return Err(ConfigError::new("attempt_timeout", "0s", "above zero"));
        }
        if self.max_answer == 0 {
            return Err(ConfigError::new("max_answer", 0, "1 and more"));
        }
        let (weigh, priority, waits) = (self.weigh, self.priority, !self.give_up_after.is_zero());
        let mut layer = BatchLayer::builder()
            .limits(self.limits)
            .overflow(self.overflow)
            .batching(self.batching)
            .weigh(move |item: &T| weigh.weigh(item))
            .priority(move |item: &T| priority.priority_of(item))
            .keep_items()
            .settle(SettleExport)
            .answer_fates()
            .split_budget(self.split_budget)
            // What waits keeps its slots: the limits of the queue bound it.
            .park(Patience::new(self.patience), usize::MAX);
        if let Some(flush) = self.flush_when {
            layer = layer.flush_when(flush);
        }
        if let Some((open, key)) = self.partition {
            layer = layer.partition_by(open, key);
        }
        layer = if waits { layer.expire_after(self.give_up_after) } else { layer.without_parking() };
        let layer = layer.build()?;

        let receive =
            Receive::new(Counted::new(self.client, Arc::clone(&self.counting)), self.classifier, self.max_answer);
        let attempt = Timeout::new(receive, self.attempt_timeout);
        let guarded = self.breaker.build()?.layer(self.retry.layer(attempt));
        let (batch, worker) = layer.pair(Encoding::new(guarded, Arc::new(self.encoder), target));
        runtime::run(self.runtime, worker)?;
        Ok(Exporter::new(batch, self.counting))
    }

    fn target(&self) -> Result<Target, ConfigError> {
        let endpoint = match &self.endpoint {
            Some(Ok(endpoint)) => endpoint.clone(),
            Some(Err(refused)) => return Err(refused.clone()),
            None => return Err(ConfigError::new("endpoint", "missing", "an http or https URL")),
        };
        let mut headers = self.headers.clone()?;
        let credentials = [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE];
        let has_credentials = credentials.iter().any(|name| headers.contains_key(name));
        if endpoint.is_exposed() && has_credentials && !self.plaintext_credentials {
            let allowed =
                "https, or `allow_plaintext_credentials`: with these headers anybody on the way reads a secret";
            return Err(ConfigError::new("endpoint", endpoint, allowed));
        }
        let compression = self.compression.validate()?;
        if let Some(encoding) = compression.content_encoding() {
            headers.insert(header::CONTENT_ENCODING, encoding);
        }
        Ok(Target { uri: endpoint.uri().clone(), headers, compression })
    }

    fn change<E2, C2, W2, P2>(
        self,
        with: impl FnOnce(E, C, W, P) -> (E2, C2, W2, P2),
    ) -> ExporterBuilder<T, E2, C2, W2, P2> {
        let (encoder, client, weigh, priority) = with(self.encoder, self.client, self.weigh, self.priority);
        ExporterBuilder {
            endpoint: self.endpoint,
            encoder,
            client,
            headers: self.headers,
            plaintext_credentials: self.plaintext_credentials,
            compression: self.compression,
            limits: self.limits,
            overflow: self.overflow,
            batching: self.batching,
            weigh,
            priority,
            flush_when: self.flush_when,
            partition: self.partition,
            attempt_timeout: self.attempt_timeout,
            classifier: self.classifier,
            retry: self.retry,
            breaker: self.breaker,
            counting: self.counting,
            give_up_after: self.give_up_after,
            patience: self.patience,
            split_budget: self.split_budget,
            max_answer: self.max_answer,
            runtime: self.runtime,
            item: PhantomData,
        }
    }
}

impl<T, E, C, W, P> fmt::Debug for ExporterBuilder<T, E, C, W, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterBuilder")
            .field("endpoint", &self.endpoint)
            .field("limits", &self.limits)
            .field("batching", &self.batching)
            .finish_non_exhaustive()
    }
}

/// A request that was refused for what was in it says nothing about whether the far side is well.
fn no_news(result: &Result<Response<Bytes>, BoxError>) -> bool {
    let status = result.as_ref().err().and_then(|error| cause_ref::<StatusError>(&**error)).map(StatusError::status);
    matches!(status, Some(StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE))
}
