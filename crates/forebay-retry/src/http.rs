//! Retry for HTTP: requests with a body that clones, and marks in headers and extensions.

use crate::{Attempt, Deadline, GaveUp, Keyed, Policy, RetryLayer, Throttle};
use forebay_core::{KeyOf, chance::entropy, http::Classifier};
use http::{HeaderName, HeaderValue, Request, Response};

/// How an `http::Request` is sent again.
///
/// * The copy has the same method, URI, version, headers, extensions and body.
/// * A [`Deadline`] among the extensions of the request is obeyed.
/// * From the second attempt on, the request carries an [`Attempt`] among its extensions, and its number of previous
///   attempts in a header if [one is named](RetryLayer::attempt_header).
/// * A response that is given up on carries [`GaveUp`] among its extensions, and a response that has it is final.
///
/// Every method is retried, `POST` as well: where a request must not be doubled, give it an
/// [id](RetryLayer::request_id_header) that the far side knows it by.
#[derive(Clone, Debug, Default)]
pub struct HttpPolicy<Y = CloneBody> {
    body: Y,
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
}

/// Copies a body that is `Clone`; that of a `Full<Bytes>` is a reference count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CloneBody;

/// One throttle per host and port, as the URI of the request spells them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Authority;

// === impl RetryLayer ===

impl<Kind> RetryLayer<Classifier<Kind>, HttpPolicy, Keyed<Authority>> {
    /// Retries HTTP requests that fail with 429, 500, 502, 503, 504 or without an answer, with the defaults of
    /// [`RetryLayer`], and leaves a host alone that asks for it with `Retry-After`.
    ///
    /// For other statuses there is [`http_with`](Self::http_with). `Kind` is inferred from the error type of the
    /// service.
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
        Self::http_with(Classifier::driver())
    }
}

impl<C> RetryLayer<C, HttpPolicy, Keyed<Authority>> {
    /// [`http`](Self::http) with other statuses: `http_with(Classifier::otlp())`, say.
    #[must_use]
    pub fn http_with(classifier: C) -> Self {
        let layer = RetryLayer::new(classifier).policy(HttpPolicy::default());
        layer.gate(Keyed::new(Throttle::default(), Authority))
    }
}

impl<C, Y, K, O> RetryLayer<C, HttpPolicy<Y>, K, O> {
    /// Copies bodies with `copy`, for bodies that are not `Clone`, or not always.
    ///
    /// A request whose body gives no copy is sent once.
    #[must_use]
    pub fn copy_body<B, F>(mut self, copy: F) -> RetryLayer<C, HttpPolicy<F>, K, O>
    where
        F: Fn(&B) -> Option<B>,
    {
        let HttpPolicy { body: _, attempt_header, id_header } = self.policy_mut();
        let (attempt_header, id_header) = (attempt_header.take(), id_header.take());
        self.policy(HttpPolicy { body: copy, attempt_header, id_header })
    }

    /// Names a header that tells the far side how many attempts came before. The first attempt does not have it.
    #[must_use]
    pub fn attempt_header(mut self, name: HeaderName) -> Self {
        self.policy_mut().attempt_header = Some(name);
        self
    }

    /// Names a header that carries an id, the same on all attempts. A request that has the header keeps its value; all
    /// others get a random one of 128 bits, in hexadecimal.
    #[must_use]
    pub fn request_id_header(mut self, name: HeaderName) -> Self {
        self.policy_mut().id_header = Some(name);
        self
    }
}

// === impl HttpPolicy ===

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
