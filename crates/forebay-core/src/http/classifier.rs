use super::{Preset, is_name_not_found, retry_after, status_set::StatusSet};
use crate::{AsError, Boxed, Classify, Outcome, Verdict, is_caused_by};
use http::{Response, StatusCode};
use std::{fmt, marker::PhantomData};

/// Says what an HTTP result means to a retry or a breaker, by a row of the table that both share: see [`Preset`].
///
/// A 2xx status is a success. Every other status means what the preset says, unless [`retry_on`](Self::retry_on) or
/// [`terminal_on`](Self::terminal_on) says otherwise; a retryable response carries its [`Retry-After`](super::retry_after) as the
/// hint, uncapped. An error means what its [`Verdict`] says; without one, what the preset says.
///
#[doc = include_str!("presets.md")]
///
/// `Kind` is inferred from the error type of the service it is used with.
pub struct Classifier<Kind = Boxed> {
    preset: Preset,
    /// The statuses that [`terminal_on`](Self::terminal_on) names.
    terminal: StatusSet,
    kind: PhantomData<fn() -> Kind>,
}

// === impl Classifier ===

impl<Kind> Classifier<Kind> {
    /// By a row of the table.
    #[must_use]
    pub const fn new(preset: Preset) -> Self {
        Self { preset, terminal: StatusSet::NONE, kind: PhantomData }
    }

    /// What any HTTP API wants: 429 and 5xx (without 501 and 505) and errors count, every other response is a success.
    #[must_use]
    pub const fn general() -> Self {
        Self::new(Preset::GENERAL)
    }

    /// What a database driver's telemetry wants: retry what is known to pass, and nothing else.
    #[must_use]
    pub const fn driver() -> Self {
        Self::new(Preset::DRIVER)
    }

    /// What the [OpenTelemetry protocol] demands of an OTLP/HTTP client.
    ///
    /// [OpenTelemetry protocol]: https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
    #[must_use]
    pub const fn otlp() -> Self {
        Self::new(Preset::OTLP)
    }

    /// Retry everything that is not known to be final.
    #[must_use]
    pub const fn lenient() -> Self {
        Self::new(Preset::LENIENT)
    }

    /// Also retry on `status`.
    #[must_use]
    pub const fn retry_on(mut self, status: StatusCode) -> Self {
        self.preset.retryable = self.preset.retryable.with(status.as_u16());
        self.terminal = self.terminal.without(status.as_u16());
        self
    }

    /// Never retry on `status`, which is a failure.
    #[must_use]
    pub const fn terminal_on(mut self, status: StatusCode) -> Self {
        self.terminal = self.terminal.with(status.as_u16());
        self
    }

    pub(super) fn of_status(&self, status: StatusCode, headers: &http::HeaderMap) -> Outcome {
        match self.preset.status(status) {
            Outcome::Success if status.is_success() => Outcome::Success,
            _ if self.terminal.has(status.as_u16()) => Outcome::Terminal,
            Outcome::Retryable { .. } => Outcome::Retryable { after: retry_after(headers) },
            outcome @ (Outcome::Success | Outcome::Terminal | Outcome::Ignored) => outcome,
        }
    }

    pub(super) fn of_error(&self, error: &(dyn std::error::Error + 'static)) -> Outcome {
        if let Some(verdict) = Verdict::of(error) {
            return Outcome::of_advice(verdict.advice());
        }
        if is_caused_by::<http::Error>(error) || is_caused_by::<http::uri::InvalidUri>(error) || is_unbuilt(error) {
            self.preset.not_built()
        } else if is_name_not_found(error) {
            self.preset.name_not_found()
        } else {
            self.preset.other_error()
        }
    }
}

/// Whether reqwest says that the request could not be built.
#[cfg(all(feature = "reqwest", not(target_family = "wasm")))]
fn is_unbuilt(error: &(dyn std::error::Error + 'static)) -> bool {
    crate::cause_ref::<reqwest::Error>(error).is_some_and(reqwest::Error::is_builder)
}

#[cfg(not(all(feature = "reqwest", not(target_family = "wasm"))))]
const fn is_unbuilt(_: &(dyn std::error::Error + 'static)) -> bool {
    false
}

/// For a classifier of your own that asks this one. No service is there to infer `Kind` from, and none is needed.
///
/// ```
/// use forebay_core::{Outcome, http::Classifier};
/// use http::{HeaderMap, StatusCode};
///
/// assert_eq!(Classifier::general().status(StatusCode::BAD_GATEWAY, &HeaderMap::new()), Outcome::RETRYABLE);
/// ```
impl Classifier {
    /// What a response with this head means.
    #[must_use]
    pub fn status(&self, status: StatusCode, headers: &http::HeaderMap) -> Outcome {
        self.of_status(status, headers)
    }

    /// What an error of an HTTP client, or of a layer above it, means.
    #[must_use]
    pub fn error(&self, error: &(dyn std::error::Error + 'static)) -> Outcome {
        self.of_error(error)
    }
}

impl<B, Err: AsError<Kind>, Kind> Classify<Response<B>, Err> for Classifier<Kind> {
    fn classify(&self, result: &Result<Response<B>, Err>) -> Outcome {
        match result {
            Ok(response) => self.of_status(response.status(), response.headers()),
            Err(error) => self.of_error(error.as_error()),
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
            .field("preset", &self.preset)
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Advice, BoxError, DropReason, Seen};
    use http::header::RETRY_AFTER;
    use std::{io, time::Duration};

    fn statuses(classifier: Classifier) -> Vec<u16> {
        let retryable = |status: &u16| {
            let status = StatusCode::from_u16(*status).unwrap();
            classifier.status(status, &http::HeaderMap::new()) == Outcome::RETRYABLE
        };
        (100..1000).filter(retryable).collect()
    }

    #[test]
    fn r04_r05_each_preset_retries_exactly_its_list() {
        assert_eq!(statuses(Classifier::driver()), [429, 500, 502, 503, 504]);
        assert_eq!(statuses(Classifier::otlp()), [429, 502, 503, 504]);
        let lenient = statuses(Classifier::lenient());
        assert!([400, 401, 403, 404].iter().all(|status| !lenient.contains(status)));
        assert_eq!(lenient.len(), 900 - 100 - 4, "all but the 2xx and the four");
    }

    #[test]
    fn single_codes_can_be_moved() {
        let classifier =
            Classifier::driver().retry_on(StatusCode::REQUEST_TIMEOUT).terminal_on(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(statuses(classifier), [408, 429, 502, 503, 504]);
        let not_found = Classifier::general().terminal_on(StatusCode::NOT_FOUND);
        assert_eq!(not_found.status(StatusCode::NOT_FOUND, &http::HeaderMap::new()), Outcome::Terminal);
    }

    #[test]
    fn r12_a_retryable_response_carries_the_hint() {
        let response = Response::builder().status(503).header(RETRY_AFTER, "7").body(()).unwrap();
        let expected = Outcome::Retryable { after: Some(Duration::from_secs(7)) };
        assert_eq!(Classifier::otlp().classify(&Ok::<_, BoxError>(response)), expected);
    }

    #[test]
    fn r07_a_host_name_that_does_not_exist_is_terminal_for_drivers() {
        let text = "failed to lookup address information: Name or service not known";
        let missing: BoxError = io::Error::other(text).into();
        assert_eq!(Classifier::driver().error(&*missing), Outcome::Terminal);
        assert_eq!(Classifier::otlp().error(&*missing), Outcome::RETRYABLE);

        let text = "failed to lookup address information: Temporary failure in name resolution";
        let busy: BoxError = io::Error::other(text).into();
        assert_eq!(Classifier::driver().error(&*busy), Outcome::RETRYABLE);
    }

    #[test]
    fn r07_the_resolver_of_this_machine_is_understood() {
        use std::net::ToSocketAddrs;
        let error = ("no-such-host.invalid", 1).to_socket_addrs().unwrap_err();
        let transient = error.to_string().contains("Temporary failure");
        assert!(transient || is_name_not_found(&error), "unknown words: {error}");
    }

    #[test]
    fn d01_a_request_that_cannot_be_built_is_no_news_of_the_server() {
        let error: http::Error = "http://[".parse::<http::Uri>().unwrap_err().into();
        assert_eq!(Classifier::general().classify(&Err::<Response<()>, _>(error)), Outcome::Ignored);
        let missing: BoxError =
            io::Error::other("failed to lookup address information: Name or service not known").into();
        for error in [missing, io::Error::from(io::ErrorKind::TimedOut).into(), "connection refused".into()] {
            assert_eq!(Classifier::general().error(&*error), Outcome::RETRYABLE, "{error}");
        }
    }

    #[test]
    fn errors_of_our_layers_speak_for_themselves() {
        let wait = Duration::from_secs(3);
        let verdict = Verdict::new(DropReason::CircuitOpen, Seen::No, Advice::RetryAfter(wait));
        let result: Result<Response<()>, BoxError> = Err(io::Error::other(verdict).into());
        assert_eq!(Classifier::otlp().classify(&result), Outcome::Retryable { after: Some(wait) });
    }

    #[test]
    fn a_request_that_cannot_be_built_is_terminal() {
        let error: http::Error = "http://[".parse::<http::Uri>().unwrap_err().into();
        assert_eq!(Classifier::otlp().classify(&Err::<Response<()>, _>(error)), Outcome::Terminal);
    }

    #[test]
    fn debug_shows_ranges() {
        let text = format!("{:?}", Classifier::<Boxed>::lenient());
        assert!(text.contains("[0..=399, 402..=402, 405..=999]"), "{text}");
    }
}
