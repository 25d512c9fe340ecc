//! Retry for HTTP: what is sent again, and when.
//!
//! A breaker and a retry read results by one table, [`Preset`](forebay_core::http::Preset). `RetryLayer::http()` uses its row
//! [`general`](Classifier::general):
//!
//! | result | meaning |
//! | --- | --- |
//! | 429, 500, 502 to 504, 506 to 599 | retryable, with `Retry-After` as the hint |
//! | any other status | final |
//! | an error with a [`Verdict`](forebay_core::Verdict) in its chain | what the verdict says |
//! | an error that says that the request could not be built | final |
//! | any other error | retryable |
//!
//! After a retryable result a request is sent again
//!
//! | request | when |
//! | --- | --- |
//! | GET, HEAD, OPTIONS, TRACE, PUT, DELETE (idempotent: [RFC 9110, 9.2.2]) | always |
//! | any method, with an `Idempotency-Key` | always |
//! | a method that is named in [`methods`](crate::RetryBuilder::methods) | always |
//! | POST, PATCH and all others | where the server has not processed it: see below |
//!
//! A server has not processed a request to which it responds with 429, or with 503 and `Retry-After`, and one that
//! [`Seen::of`](forebay_core::Seen::of) knows was not seen: the connection was refused or never made, the stream was reset
//! with `REFUSED_STREAM`, or a graceful `GOAWAY` left it out. Where it may have processed it, the attempts end with
//! [`StopReason::NotIdempotent`].
//!
//! A body that is `Clone` is cloned; for others there is [`copy_body`](crate::RetryBuilder::copy_body), and for streams
//! [`ReplayLayer`]: it keeps what was read, up to a cap, and beyond the cap the attempt is the last.
//!
//! With the feature `reqwest` the same tables hold for reqwest's own requests: `RetryLayer::http()` stands around a
//! `reqwest::Client`. A request is then copied by `reqwest::Request::try_clone`, which cannot copy a stream, and its extensions are
//! private: it has no [`Deadline`], and a copy carries no [`Attempt`]. A response that is given up on has [`GaveUp`] all the same.
//!
//! [RFC 9110, 9.2.2]: https://www.rfc-editor.org/rfc/rfc9110#section-9.2.2

mod replay;
#[cfg(all(feature = "reqwest", not(target_family = "wasm")))]
mod reqwest_requests;

pub use self::replay::{Replay, ReplayBodies, ReplayBody, ReplayLayer};

use crate::{Attempt, Deadline, GaveUp, Policy, RetryBuilder, RetryLayer, StopReason, Throttle, policy::Keyed};
pub use forebay_core::http::Classifier;
use forebay_core::{KeyOf, Seen, chance::entropy};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::RETRY_AFTER};

/// The header by which a server recognises a request that it has processed already.
///
/// [The Idempotency-Key HTTP Header Field](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// How an `http::Request` is sent again.
///
/// * The copy has the same method, URI, version, headers, extensions and body.
/// * A [`Deadline`] among the extensions of the request is obeyed.
/// * From the second attempt on, the request carries an [`Attempt`] among its extensions, and its number of previous
///   attempts in a header if [one is named](RetryBuilder::attempt_header).
/// * A response that is given up on carries [`GaveUp`] among its extensions, and a response that has it is final.
/// * A request that is not idempotent is sent again only as the [table](self) says.
#[derive(Clone, Debug, Default)]
pub struct HttpPolicy<Y = CloneBody> {
    body: Y,
    /// Methods that are sent again although they are not idempotent.
    methods: Vec<Method>,
    attempt_header: Option<HeaderName>,
    id_header: Option<HeaderName>,
}

/// How the body of a request is copied. Any `Fn(&B) -> Option<B>` is a `CopyBody<B>`.
#[diagnostic::on_unimplemented(
    message = "the body `{B}` cannot be copied for another attempt",
    note = "use a body that is `Clone`, such as `http_body_util::Full`, or pass `.copy_body(|body: &{B}| -> Option<{B}> ..)`"
)]
pub trait CopyBody<B> {
    /// A body with the same bytes, or `None` if there cannot be one.
    fn copy_body(&self, body: &B) -> Option<B>;

    /// Whether `copy`, which was made before the last attempt, can still be sent after it.
    fn can_replay(&self, _copy: &B) -> bool {
        true
    }
}

/// Copies a body that is `Clone`; that of a `Full<Bytes>` is a reference count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloneBody;

/// One throttle per host and port, as the URI of the request spells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authority;

// === impl RetryLayer ===

impl<Kind> RetryLayer<Classifier<Kind>, HttpPolicy, Keyed<Authority>> {
    /// Retries HTTP requests as the [tables](self) say, with the defaults of [`RetryBuilder`], and leaves a host alone that
    /// asks for it with `Retry-After`.
    ///
    /// [`RetryBuilder::http`] changes its settings. `Kind` is inferred from the error type of the service.
    ///
    /// ```
    /// use forebay_retry::RetryLayer;
    /// use http::{Request, Response};
    /// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), BoxError> {
    /// # let client = service_fn(|_: Request<String>| async { Ok::<_, std::io::Error>(Response::new(())) });
    /// let service = ServiceBuilder::new().layer(RetryLayer::http()).service(client);
    /// let response = service.oneshot(Request::get("https://collector.example/").body(String::new())?).await?;
    /// # assert!(response.status().is_success());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn http() -> Self {
        RetryBuilder::http().checked()
    }
}

// === impl RetryBuilder ===

impl<Kind> RetryBuilder<Classifier<Kind>, HttpPolicy, Keyed<Authority>> {
    /// Begins with the settings of [`RetryLayer::http`].
    pub fn http() -> Self {
        Self::http_with(Classifier::general())
    }
}

impl<C> RetryBuilder<C, HttpPolicy, Keyed<Authority>> {
    /// [`http`](Self::http) with another classifier: `http_with(Classifier::otlp())`, say.
    pub fn http_with(classifier: C) -> Self {
        let builder = RetryBuilder::new(classifier).policy(HttpPolicy::default());
        builder.gate(Keyed::new(Throttle::default(), Authority))
    }
}

impl<C, Y, K> RetryBuilder<C, HttpPolicy<Y>, K> {
    /// Sends requests with these methods again whatever became of the last attempt, although they are not idempotent.
    ///
    /// For servers that know a request again, or that may process it twice: `methods([Method::POST])`. The idempotent methods
    /// need not be named.
    pub fn methods(mut self, methods: impl IntoIterator<Item = Method>) -> Self {
        self.policy_mut().methods = methods.into_iter().collect();
        self
    }

    /// Copies bodies with `copy`, for bodies that are not `Clone`, or not always.
    ///
    /// A request whose body gives no copy is sent once.
    pub fn copy_body<B, F>(self, copy: F) -> RetryBuilder<C, HttpPolicy<F>, K>
    where
        F: Fn(&B) -> Option<B>,
    {
        self.with_bodies(copy)
    }

    /// Sends the [`ReplayBody`] of a [`ReplayLayer`] above again, as long as what was read of it is kept.
    pub fn replay_body(self) -> RetryBuilder<C, HttpPolicy<ReplayBodies>, K> {
        self.with_bodies(ReplayBodies)
    }

    fn with_bodies<Y2>(self, body: Y2) -> RetryBuilder<C, HttpPolicy<Y2>, K> {
        self.change(|HttpPolicy { body: _, methods, attempt_header, id_header }, gate| {
            (HttpPolicy { body, methods, attempt_header, id_header }, gate)
        })
    }

    /// Names a header that says how many attempts came before. The first attempt does not have it.
    pub fn attempt_header(mut self, name: HeaderName) -> Self {
        self.policy_mut().attempt_header = Some(name);
        self
    }

    /// Names a header that carries an id, the same on all attempts. A request that has the header keeps its value; all
    /// others get a random one of 128 bits, in hexadecimal.
    ///
    /// A server that knows requests again by an `Idempotency-Key` gets one with
    /// `request_id_header(HeaderName::from_static("idempotency-key"))`, and then every method is sent again.
    pub fn request_id_header(mut self, name: HeaderName) -> Self {
        self.policy_mut().id_header = Some(name);
        self
    }
}

// === impl HttpPolicy ===

impl<Y> HttpPolicy<Y> {
    /// Why a request with this method and these headers must not be sent again, if it must not.
    fn doubled(
        &self,
        (method, headers): (&Method, &HeaderMap),
        result: Result<(StatusCode, &HeaderMap), Seen>,
    ) -> Option<StopReason> {
        let harmless = method.is_idempotent() || self.methods.contains(method) || headers.contains_key(IDEMPOTENCY_KEY);
        let unprocessed = || match result {
            Ok((StatusCode::TOO_MANY_REQUESTS, _)) => true,
            Ok((StatusCode::SERVICE_UNAVAILABLE, headers)) => headers.contains_key(RETRY_AFTER),
            Ok(_) => false,
            Err(seen) => seen == Seen::No,
        };
        if harmless || unprocessed() { None } else { Some(StopReason::NotIdempotent) }
    }
}

impl<B, RB, Err, Y: CopyBody<B>> Policy<Request<B>, Response<RB>, Err> for HttpPolicy<Y> {
    fn copy(&self, request: &Request<B>) -> Option<Request<B>> {
        // The body first: without one the rest need not be copied.
        let mut copy = Request::new(self.body.copy_body(request.body())?);
        copy.method_mut().clone_from(request.method());
        copy.uri_mut().clone_from(request.uri());
        *copy.version_mut() = request.version();
        copy.headers_mut().clone_from(request.headers());
        copy.extensions_mut().clone_from(request.extensions());
        Some(copy)
    }

    fn begin(&self, request: &mut Request<B>) {
        if let Some(name) = &self.id_header {
            request.headers_mut().entry(name).or_insert_with(random_id);
        }
    }

    fn stamp(&self, request: &mut Request<B>, attempt: Attempt) {
        request.extensions_mut().insert(attempt);
        if let Some(name) = &self.attempt_header {
            request.headers_mut().insert(name, attempt.previous().into());
        }
    }

    fn deadline(&self, request: &Request<B>) -> Option<Deadline> {
        Deadline::of(request.extensions())
    }

    fn obstacle(&self, request: &Request<B>, result: Result<&Response<RB>, Seen>) -> Option<StopReason> {
        if !self.body.can_replay(request.body()) {
            return Some(StopReason::BodyNotReplayable);
        }
        let result = result.map(|response| (response.status(), response.headers()));
        self.doubled((request.method(), request.headers()), result)
    }

    fn give_up(&self, response: &mut Response<RB>, gave_up: GaveUp) {
        response.extensions_mut().insert(gave_up);
    }

    fn is_given_up(&self, response: &Response<RB>) -> bool {
        GaveUp::of(response.extensions()).is_some()
    }
}

fn random_id() -> HeaderValue {
    let text = format!("{:016x}{:016x}", entropy(), entropy());
    // Hexadecimal digits are always a header value.
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static("0"))
}

// === impl CopyBody ===

impl<B: Clone> CopyBody<B> for CloneBody {
    fn copy_body(&self, body: &B) -> Option<B> {
        Some(body.clone())
    }
}

impl<B, F: Fn(&B) -> Option<B>> CopyBody<B> for F {
    fn copy_body(&self, body: &B) -> Option<B> {
        self(body)
    }
}

// === impl Authority ===

impl<B> KeyOf<Request<B>> for Authority {
    type Key = str;

    fn key_of<'r>(&self, request: &'r Request<B>) -> &'r str {
        forebay_core::http::authority(request)
    }
}
