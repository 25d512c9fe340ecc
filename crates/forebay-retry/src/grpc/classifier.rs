use super::{Code, details::decode_base64, retry_delay};
use forebay_core::{AsError, Boxed, Classify, Outcome, http::Classifier as HttpClassifier};
use http::{HeaderMap, Response, StatusCode};
use std::{fmt, marker::PhantomData, time::Duration};

/// Says what a gRPC result means to a retry or a breaker.
///
/// [`otlp`](Self::otlp) is the table of the [OpenTelemetry protocol]:
///
/// | code | meaning |
/// | --- | --- |
/// | Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss | retryable |
/// | ResourceExhausted | retryable with a hint, terminal without |
/// | Ok | success |
/// | all others | terminal |
///
/// The hint is the `RetryInfo` in `grpc-status-details-bin`, or `grpc-retry-pushback-ms` ([gRFC A6]), or `Retry-After`
/// where a proxy responded. A pushback that is negative or not a number forbids the retry.
///
/// # What it can see
///
/// On `http::Response` it sees the status of a response that has no messages (`Trailers-Only`), which is how servers
/// refuse a call, one that stands in trailers without a message before it ([`TrailersLayer`](super::TrailersLayer)), and the
/// HTTP status of a proxy. A status that follows messages, in the trailers, is not there yet when the response is classified,
/// and counts as a success. Above a client that turns statuses into errors, use
/// [`status`](Self::status) in a closure:
///
/// ```
/// use forebay_retry::{Classify, Outcome, grpc::Classifier};
/// # struct Status { code: i32, details: Vec<u8> }
/// # impl Status {
/// #     fn code(&self) -> i32 { self.code }
/// #     fn details(&self) -> &[u8] { &self.details }
/// # }
/// let codes = Classifier::otlp();
/// let classifier = move |result: &Result<(), Status>| match result {
///     Ok(()) => Outcome::Success,
///     Err(status) => codes.status(status.code() as i32, status.details()),
/// };
/// let unavailable = Status { code: 14, details: Vec::new() };
/// assert_eq!(classifier.classify(&Err(unavailable)), Outcome::RETRYABLE);
/// ```
///
/// `Kind` is inferred from the error type of the service it is used with.
///
/// [OpenTelemetry protocol]: https://opentelemetry.io/docs/specs/otlp/#failures
/// [gRFC A6]: https://github.com/grpc/proposal/blob/master/A6-client-retries.md
pub struct Classifier<Kind = Boxed> {
    retryable: CodeSet,
    retryable_with_hint: CodeSet,
    kind: PhantomData<fn() -> Kind>,
}

/// A bit for each code.
#[derive(Clone, Copy, PartialEq, Eq)]
struct CodeSet(u32);

/// What the server says about another attempt.
enum Pushback {
    Silent,
    After(Duration),
    Never,
}

// === impl Classifier ===

impl<Kind> Classifier<Kind> {
    /// What the OpenTelemetry protocol demands of an OTLP/gRPC client.
    #[must_use]
    pub const fn otlp() -> Self {
        let retryable = CodeSet(0)
            .with(Code::Cancelled)
            .with(Code::DeadlineExceeded)
            .with(Code::Aborted)
            .with(Code::OutOfRange)
            .with(Code::Unavailable)
            .with(Code::DataLoss);
        Self { retryable, retryable_with_hint: CodeSet(0).with(Code::ResourceExhausted), kind: PhantomData }
    }

    /// Also retry on `code`, with a hint or without. [`Code::Ok`] stays a success.
    #[must_use]
    pub const fn retry_on(mut self, code: Code) -> Self {
        self.retryable = self.retryable.with(code);
        self
    }

    /// Never retry on `code`.
    #[must_use]
    pub const fn terminal_on(mut self, code: Code) -> Self {
        self.retryable = self.retryable.without(code);
        self.retryable_with_hint = self.retryable_with_hint.without(code);
        self
    }

    fn of_head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        match headers.get("grpc-status") {
            Some(value) => {
                let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
                self.code(number.map_or(Code::Unknown, Code::from_number), &Pushback::of(headers))
            }
            None => {
                let pushback = match Pushback::of(headers) {
                    Pushback::Silent => {
                        forebay_core::http::retry_after(headers).map_or(Pushback::Silent, Pushback::After)
                    }
                    given => given,
                };
                self.code(Code::from_http(status), &pushback)
            }
        }
    }

    fn code(&self, code: Code, pushback: &Pushback) -> Outcome {
        if code == Code::Ok {
            return Outcome::Success;
        }
        match *pushback {
            Pushback::After(wait) if self.retryable.has(code) || self.retryable_with_hint.has(code) => {
                Outcome::Retryable { after: Some(wait) }
            }
            Pushback::Silent if self.retryable.has(code) => Outcome::RETRYABLE,
            Pushback::After(_) | Pushback::Silent | Pushback::Never => Outcome::Terminal,
        }
    }
}

/// For a classifier of your own that asks this one. No service is there to infer `Kind` from, and none is needed.
impl Classifier {
    /// What a status with this number and these details (a serialised `google.rpc.Status`) means.
    #[must_use]
    pub fn status(&self, code: i32, details: &[u8]) -> Outcome {
        let pushback = retry_delay(details).map_or(Pushback::Silent, Pushback::After);
        self.code(Code::from_number(code), &pushback)
    }

    /// What a response with this head, or a head with these trailers, means.
    #[must_use]
    pub fn head(&self, status: StatusCode, headers: &HeaderMap) -> Outcome {
        self.of_head(status, headers)
    }
}

impl<B, Err: AsError<Kind>, Kind> Classify<Response<B>, Err> for Classifier<Kind> {
    fn classify(&self, result: &Result<Response<B>, Err>) -> Outcome {
        match result {
            Ok(response) => self.of_head(response.status(), response.headers()),
            // Without a response it is the transport that failed, and gRPC's is HTTP.
            Err(error) => HttpClassifier::otlp().error(error.as_error()),
        }
    }
}

impl<Kind> Clone for Classifier<Kind> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Kind> Copy for Classifier<Kind> {}

impl<Kind> fmt::Debug for Classifier<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Classifier")
            .field("retryable", &self.retryable)
            .field("retryable_with_hint", &self.retryable_with_hint)
            .finish_non_exhaustive()
    }
}

// === impl CodeSet ===

impl CodeSet {
    const fn with(self, code: Code) -> Self {
        Self(self.0 | 1 << code.number())
    }

    const fn without(self, code: Code) -> Self {
        Self(self.0 & !(1 << code.number()))
    }

    const fn has(self, code: Code) -> bool {
        self.0 & 1 << code.number() != 0
    }
}

impl fmt::Debug for CodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(Code::ALL.into_iter().filter(|code| self.has(*code))).finish()
    }
}

// === impl Pushback ===

impl Pushback {
    fn of(headers: &HeaderMap) -> Self {
        if let Some(value) = headers.get("grpc-retry-pushback-ms") {
            let millis = value.to_str().ok().and_then(|text| text.trim().parse().ok());
            return millis.map_or(Self::Never, |millis| Self::After(Duration::from_millis(millis)));
        }
        let details = headers.get("grpc-status-details-bin").and_then(|value| decode_base64(value.as_bytes()));
        details.and_then(|details| retry_delay(&details)).map_or(Self::Silent, Self::After)
    }
}
