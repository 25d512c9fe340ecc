use crate::response_classifier::ResponseClassifier;
use forebay_core::{Advice, BoxError, DropReason, Outcome, Seen, Verdict};
use std::{error::Error, fmt};

/// The client failed: there is no response, or no complete one.
///
/// The source is a [`Verdict`], which says whether the server may have seen the request, and whether a retry is sensible.
#[derive(Clone, Debug)]
pub struct TransportError {
    what: What,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    NotSent,
    NoResponse,
    BrokenResponse,
    TooLong { max_bytes: usize },
    NotGrpc,
}

// === impl TransportError ===

impl TransportError {
    /// The error of a client that gave `error` instead of a response.
    pub(crate) fn new(error: BoxError, classifier: &ResponseClassifier) -> Self {
        // The error stays the cause, so that the verdict of a layer inside is kept.
        let advice = match classifier.error(&*error) {
            Outcome::Retryable { after: None } => Advice::Retry,
            Outcome::Retryable { after: Some(wait) } => Advice::RetryAfter(wait),
            Outcome::Success | Outcome::Terminal | Outcome::Ignored => Advice::Never,
        };
        let seen = seen(&*error);
        let what = if seen == Seen::No { What::NotSent } else { What::NoResponse };
        let reason = Verdict::of(&*error).map_or(DropReason::Failed, Verdict::reason);
        Self { what, verdict: Verdict::new(reason, seen, advice).caused_by(error) }
    }

    /// Whether the connection was lost with a request on it. A body that is not waited for any longer has no cause.
    pub(crate) fn is_lost(&self) -> bool {
        match self.what {
            What::NoResponse => true,
            What::BrokenResponse => self.verdict.source().is_some(),
            What::NotSent | What::TooLong { .. } | What::NotGrpc => false,
        }
    }

    /// The error of a response that ended before it was complete.
    pub(crate) fn broken(cause: Option<BoxError>) -> Self {
        let verdict = Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Retry);
        Self { what: What::BrokenResponse, verdict: cause.map_or(verdict.clone(), |cause| verdict.caused_by(cause)) }
    }

    /// The error of a response with more bytes than are read. A retry would bring as many.
    pub(crate) fn too_long(max_bytes: usize) -> Self {
        let verdict = Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Never);
        Self { what: What::TooLong { max_bytes }, verdict }
    }

    /// Whether there was no connection at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.what == What::NotSent
    }

    /// The error of a response to a call that is not gRPC.
    pub(crate) fn not_grpc() -> Self {
        Self { what: What::NotGrpc, verdict: Verdict::new(DropReason::Failed, Seen::Yes, Advice::Never) }
    }
}

/// Whether the server may have seen the request, by the error of the client: not if there never was a connection.
fn seen(error: &(dyn Error + 'static)) -> Seen {
    let mut link = Some(error);
    while let Some(error) = link {
        if forebay_core::http::is_name_not_found(error) {
            return Seen::No;
        }
        link = error.source();
    }
    Seen::of(error)
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            What::NotSent => f.write_str("there was no connection to the server"),
            What::NoResponse => f.write_str("the client failed before there was a response"),
            What::BrokenResponse => f.write_str("the response broke off"),
            What::TooLong { max_bytes } => write!(f, "the response is longer than {max_bytes} bytes"),
            What::NotGrpc => f.write_str("the response is not gRPC"),
        }
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
