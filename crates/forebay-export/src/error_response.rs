use crate::{ServerText, secrets::Secrets};
use bytes::Bytes;
use forebay_core::{Outcome, http::StatusError};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::{error::Error, fmt};

/// A response that refuses the request. Its body gives the reasons.
///
/// The body is kept for an encoder that can read it; its text is never part of `Debug` or `Display`.
#[derive(Clone)]
pub(crate) struct ErrorResponse {
    pub(crate) content_type: Option<HeaderValue>,
    /// The first [`REASONS`] bytes of the body.
    pub(crate) body: Bytes,
    status: StatusError,
    /// The secrets of the request, which the body may repeat.
    secrets: Secrets,
}

/// How much of the body of an error response is kept, in bytes.
pub(crate) const REASONS: usize = 4 << 10;

// === impl ErrorResponse ===

impl ErrorResponse {
    pub(crate) fn new(status: StatusCode, outcome: Outcome, headers: &HeaderMap, secrets: Secrets) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).cloned();
        Self { content_type, body: Bytes::new(), status: StatusError::new(status, outcome), secrets }
    }

    /// `text`, which the server gave as a reason, without the secrets that it repeats from the request.
    pub(crate) fn redact(&self, text: &ServerText) -> ServerText {
        self.secrets.redact(text)
    }
}

impl fmt::Display for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was refused")
    }
}

impl fmt::Debug for ErrorResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorResponse").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Error for ErrorResponse {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}
