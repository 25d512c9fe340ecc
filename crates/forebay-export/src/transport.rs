use crate::receive::Judge;
use forebay_core::{Advice, BoxError, DropReason, Outcome, Seen, Verdict};
use std::{error::Error, fmt};

/// The client failed: no answer, or no whole one.
///
/// Whether the far side may have seen the request, and whether a retry is sensible, is in the [`Verdict`] that is this
/// error's source.
#[derive(Clone, Debug)]
pub struct TransportError {
    what: What,
    verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    NotSent,
    NoAnswer,
    BrokenAnswer,
    LongAnswer { cap: usize },
    NotGrpc,
}

// === impl TransportError ===

impl TransportError {
    /// The client gave `error` instead of an answer.
    pub(crate) fn new(error: BoxError, judge: &Judge) -> Self {
        // An error of a layer that has said all there is to say stays what it is, inside.
        let outcome = judge.bounded(judge.http.error(&*error));
        let advice = match outcome {
            Outcome::Retryable { after: None } => Advice::Retry,
            Outcome::Retryable { after: Some(wait) } => Advice::RetryAfter(wait),
            Outcome::Success | Outcome::Terminal | Outcome::Ignored => Advice::Never,
        };
        let seen = seen(&*error);
        let what = if seen == Seen::No { What::NotSent } else { What::NoAnswer };
        let reason = Verdict::of(&*error).map_or(DropReason::Failed, Verdict::reason);
        Self { what, verdict: Verdict::new(reason, seen, advice).caused_by(error) }
    }

    /// The answer ended before it was whole.
    pub(crate) fn broken(cause: Option<BoxError>) -> Self {
        let verdict = Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Retry);
        Self { what: What::BrokenAnswer, verdict: cause.map_or(verdict.clone(), |cause| verdict.caused_by(cause)) }
    }

    /// The answer has more bytes than are read. It will have them the next time, too.
    pub(crate) fn long(cap: usize) -> Self {
        let verdict = Verdict::new(DropReason::Failed, Seen::Maybe, Advice::Never);
        Self { what: What::LongAnswer { cap }, verdict }
    }

    /// Whether there was no connection at all.
    pub(crate) fn is_unreachable(&self) -> bool {
        self.what == What::NotSent
    }

    /// Something that does not speak gRPC answered a call.
    pub(crate) fn not_grpc() -> Self {
        Self { what: What::NotGrpc, verdict: Verdict::new(DropReason::Failed, Seen::Yes, Advice::Never) }
    }
}

/// Whether a request may have been seen, going by the client's error: not if there never was a connection.
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
            What::NotSent => f.write_str("there was no connection to the far side"),
            What::NoAnswer => f.write_str("the client failed before there was an answer"),
            What::BrokenAnswer => f.write_str("the answer broke off"),
            What::LongAnswer { cap } => write!(f, "the answer is longer than {cap} bytes"),
            What::NotGrpc => f.write_str("the answer is not gRPC"),
        }
    }
}

impl Error for TransportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
