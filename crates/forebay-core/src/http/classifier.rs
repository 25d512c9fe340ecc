use super::{is_name_not_found, retry_after};
use crate::{AsError, Boxed, Classify, Outcome, Verdict, is_caused_by};
use http::{Response, StatusCode};
use std::{fmt, marker::PhantomData};

/// Says what an HTTP result means to a retry or a breaker.
///
/// 2xx is a success. Every other status is retryable or terminal by the preset and by
/// [`retry_on`](Self::retry_on) and [`terminal_on`](Self::terminal_on); a retryable response carries its
/// [`Retry-After`](super::retry_after) as the hint, uncapped. An error is retryable unless it says otherwise with a
/// [`Verdict`], or could not be sent in any attempt (an invalid URI).
///
/// | preset | retryable | terminal | host name not found |
/// | --- | --- | --- | --- |
/// | [`driver`](Self::driver) | 429, 500, 502, 503, 504 | all others | terminal |
/// | [`otlp`](Self::otlp) | 429, 502, 503, 504 ([OTLP]) | all others | retryable |
/// | [`lenient`](Self::lenient) | all others | 400, 401, 403, 404 | retryable |
///
/// `Kind` is inferred from the error type of the service it is used with.
///
/// [OTLP]: https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
pub struct Classifier<Kind = Boxed> {
    retryable: StatusSet,
    name_not_found_is_terminal: bool,
    kind: PhantomData<fn() -> Kind>,
}

/// A bit for each status from 0 to 1023; `StatusCode` goes to 999.
#[derive(Clone, Copy, PartialEq, Eq)]
struct StatusSet([u64; 16]);

// === impl Classifier ===

impl<Kind> Classifier<Kind> {
    /// What a database driver's telemetry wants: retry what is known to pass, and nothing else.
    #[must_use]
    pub const fn driver() -> Self {
        let retryable = StatusSet::NONE.with(429).with(500).with(502).with(503).with(504);
        Self { retryable, name_not_found_is_terminal: true, kind: PhantomData }
    }

    /// What the OpenTelemetry protocol demands of an OTLP/HTTP client.
    #[must_use]
    pub const fn otlp() -> Self {
        let retryable = StatusSet::NONE.with(429).with(502).with(503).with(504);
        Self { retryable, name_not_found_is_terminal: false, kind: PhantomData }
    }

    /// Retry all that is not known to be final.
    #[must_use]
    pub const fn lenient() -> Self {
        let retryable = StatusSet::ALL.without(400).without(401).without(403).without(404);
        Self { retryable, name_not_found_is_terminal: false, kind: PhantomData }
    }

    /// Also retry on `status`.
    #[must_use]
    pub const fn retry_on(mut self, status: StatusCode) -> Self {
        self.retryable = self.retryable.with(status.as_u16());
        self
    }

    /// Never retry on `status`.
    #[must_use]
    pub const fn terminal_on(mut self, status: StatusCode) -> Self {
        self.retryable = self.retryable.without(status.as_u16());
        self
    }

    /// What a response with this head means.
    #[must_use]
    pub fn status(&self, status: StatusCode, headers: &http::HeaderMap) -> Outcome {
        if status.is_success() {
            Outcome::Success
        } else if self.retryable.has(status.as_u16()) {
            Outcome::Retryable { after: retry_after(headers) }
        } else {
            Outcome::Terminal
        }
    }

    /// What an error of an HTTP client, or of a layer above it, means.
    #[must_use]
    pub fn error(&self, error: &(dyn std::error::Error + 'static)) -> Outcome {
        if let Some(verdict) = Verdict::of(error) {
            return Outcome::of_advice(verdict.advice());
        }
        let hopeless = is_caused_by::<http::Error>(error)
            || is_caused_by::<http::uri::InvalidUri>(error)
            || (self.name_not_found_is_terminal && is_name_not_found(error));
        if hopeless { Outcome::Terminal } else { Outcome::RETRYABLE }
    }
}

impl<B, Err: AsError<Kind>, Kind> Classify<Response<B>, Err> for Classifier<Kind> {
    fn classify(&self, result: &Result<Response<B>, Err>) -> Outcome {
        match result {
            Ok(response) => self.status(response.status(), response.headers()),
            Err(error) => self.error(error.as_error()),
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
            .field("name_not_found_is_terminal", &self.name_not_found_is_terminal)
            .finish_non_exhaustive()
    }
}

// === impl StatusSet ===

impl StatusSet {
    const NONE: Self = Self([0; 16]);
    const ALL: Self = Self([u64::MAX; 16]);

    const fn with(mut self, status: u16) -> Self {
        self.0[(status / 64) as usize] |= 1 << (status % 64);
        self
    }

    const fn without(mut self, status: u16) -> Self {
        self.0[(status / 64) as usize] &= !(1 << (status % 64));
        self
    }

    const fn has(&self, status: u16) -> bool {
        self.0[(status / 64) as usize] & (1 << (status % 64)) != 0
    }
}

impl fmt::Debug for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As ranges: `lenient` holds 996 of the 1000 codes.
        let mut list = f.debug_list();
        let mut status = 0;
        while status < 1000 {
            let start = status;
            while status < 1000 && self.has(status) {
                status += 1;
            }
            if status > start {
                list.entry(&(start..=status - 1));
            }
            status += 1;
        }
        list.finish()
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
        let classifier = Classifier::<Boxed>::driver()
            .retry_on(StatusCode::REQUEST_TIMEOUT)
            .terminal_on(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(statuses(classifier), [408, 429, 502, 503, 504]);
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
        assert_eq!(Classifier::<Boxed>::driver().error(&*missing), Outcome::Terminal);
        assert_eq!(Classifier::<Boxed>::otlp().error(&*missing), Outcome::RETRYABLE);

        let text = "failed to lookup address information: Temporary failure in name resolution";
        let busy: BoxError = io::Error::other(text).into();
        assert_eq!(Classifier::<Boxed>::driver().error(&*busy), Outcome::RETRYABLE);
    }

    #[test]
    fn r07_the_resolver_of_this_machine_is_understood() {
        use std::net::ToSocketAddrs;
        let error = ("no-such-host.invalid", 1).to_socket_addrs().unwrap_err();
        let transient = error.to_string().contains("Temporary failure");
        assert!(transient || is_name_not_found(&error), "unknown words: {error}");
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
