use crate::{Advice, DropReason, Outcome, Seen, Verdict};
use http::StatusCode;
use std::{error::Error, fmt, io};

/// A response arrived, and its status is not a success.
///
/// The server has seen the request. Whether a retry is sensible is what the classifier says; the [`Verdict`] that is this
/// error's source carries it.
#[derive(Clone, Debug)]
pub struct StatusError {
    status: StatusCode,
    verdict: Verdict,
}

/// Whether the chain of `error` ends in a host name that does not exist.
///
/// A lookup that failed for the moment (`EAI_AGAIN`) is not meant. The standard library reports both with the same
/// kind, so the resolver's words decide: those of glibc, musl, macOS and Windows for `EAI_NONAME` and `EAI_NODATA`.
#[must_use]
pub fn is_name_not_found(error: &(dyn Error + 'static)) -> bool {
    const WORDS: [&str; 7] = [
        "Name or service not known",
        "No address associated with hostname",
        "Name does not resolve",
        "Name has no usable address",
        "nodename nor servname provided, or not known",
        "No such host is known",
        "os error 11001",
    ];
    let mut link = Some(error);
    while let Some(error) = link {
        if error.is::<io::Error>() {
            let text = error.to_string();
            if WORDS.iter().any(|words| text.contains(words)) {
                return true;
            }
        }
        link = error.source();
    }
    false
}

// === impl StatusError ===

impl StatusError {
    /// The server responded with `status`, which means `outcome`.
    #[must_use]
    pub fn new(status: StatusCode, outcome: Outcome) -> Self {
        let advice = match outcome {
            Outcome::Retryable { after: Some(wait) } => Advice::RetryAfter(wait),
            Outcome::Retryable { after: None } => Advice::Retry,
            Outcome::Success | Outcome::Terminal | Outcome::Ignored => Advice::Never,
        };
        Self { status, verdict: Verdict::new(DropReason::Rejected, Seen::Yes, advice) }
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server responded with {}", self.status)
    }
}

impl Error for StatusError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
