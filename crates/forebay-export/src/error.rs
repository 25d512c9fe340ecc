use crate::{
    BodyTooLarge, Encode, EndpointFailed, EndpointsAway, EndpointsBusy, GrpcError, NoCredential, ServerText,
    TransportError, error_response::ErrorResponse,
};
use forebay_breaker::CircuitOpen;
use forebay_core::{Advice, BoxError, DropReason, Seen, Verdict, cause_ref, http::StatusError};
use forebay_retry::{RetriesExhausted, Throttled, grpc::Code};
use http::StatusCode;
use std::{error::Error, fmt, sync::Arc};
use tower::timeout::error::Elapsed;

/// One export of a batch failed.
///
/// The ledger has the fates of its items: after a temporary failure they wait for another attempt.
///
/// `Display` is one sentence; [`source`](Error::source) leads to the causes, and [`report`](Self::report) shows all of them in
/// one line. Text of the server is bounded and escaped, and no header value is ever part of it.
#[derive(Clone, Debug)]
pub struct ExportError {
    kind: ExportErrorKind,
    status: ExportErrorStatus,
    items: usize,
    attempts: u32,
    http_status: Option<StatusCode>,
    grpc_code: Option<Code>,
    server_text: ServerText,
    cause: Arc<dyn Error + Send + Sync>,
}

/// The kind of a failed export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ExportErrorKind {
    /// The batch could not be encoded.
    Encode,
    /// The body would be, or was, larger than it may be.
    TooLarge,
    /// There was no connection.
    Unreachable,
    /// An attempt took longer than it may.
    Timeout,
    /// The connection broke, or the response was not valid.
    Transport,
    /// There was no credential, or the server did not accept it.
    Unauthorized,
    /// The server refused the request.
    Refused,
    /// The server has asked for a pause.
    Throttled,
    /// The circuit is open: nothing was sent.
    CircuitOpen,
    /// A layer or the client failed, and does not say how.
    Other,
}

/// Whether it is sensible to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ExportErrorStatus {
    /// A later attempt may succeed.
    Temporary,
    /// The same request will fail again.
    Permanent,
    /// A later attempt may succeed, but all attempts that were allowed in a row have failed.
    Exhausted,
}

/// An error with its causes, in one line.
struct Chain<'a>(&'a ExportError);

// === impl ExportError ===

impl ExportError {
    pub(crate) fn new<T>(cause: BoxError, items: usize, encoder: &impl Encode<T>) -> Self {
        let exhausted = cause_ref::<RetriesExhausted>(&*cause);
        let verdict = Verdict::of(&*cause);
        let status = match verdict.map(Verdict::advice) {
            _ if exhausted.is_some() => ExportErrorStatus::Exhausted,
            Some(Advice::Never) => ExportErrorStatus::Permanent,
            Some(Advice::Retry | Advice::RetryAfter(_)) | None => ExportErrorStatus::Temporary,
        };
        let not_sent = verdict.is_some_and(|verdict| verdict.seen() == Seen::No);
        let attempts = exhausted.map_or(u32::from(!not_sent), RetriesExhausted::attempts);
        let grpc = cause_ref::<GrpcError>(&*cause);
        let server_text = match (grpc, cause_ref::<ErrorResponse>(&*cause)) {
            (Some(grpc), _) => grpc.message().clone(),
            (None, Some(response)) => response.redact(&encoder.explain(response.content_type.as_ref(), &response.body)),
            (None, None) => ServerText::default(),
        };
        Self {
            kind: ExportErrorKind::of(&*cause),
            status,
            items,
            attempts,
            http_status: cause_ref::<StatusError>(&*cause).map(StatusError::status),
            grpc_code: grpc.map(GrpcError::code),
            server_text,
            cause: cause.into(),
        }
    }

    /// The kind of the failure.
    #[must_use]
    pub fn kind(&self) -> ExportErrorKind {
        self.kind
    }

    /// Whether it is sensible to try again.
    #[must_use]
    pub fn status(&self) -> ExportErrorStatus {
        self.status
    }

    /// How many items the batch had.
    #[must_use]
    pub fn items(&self) -> usize {
        self.items
    }

    /// How many attempts were made in a row; 0 where nothing was sent.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The HTTP status of the last response, where that was a refusal.
    #[must_use]
    pub fn http_status(&self) -> Option<StatusCode> {
        self.http_status
    }

    /// The gRPC status of the last response, where that was a refusal.
    #[must_use]
    pub fn grpc_code(&self) -> Option<Code> {
        self.grpc_code
    }

    /// The endpoint that the last attempt went to, by the name under which it is known, where the exporter has several.
    #[must_use]
    pub fn endpoint_name(&self) -> Option<&str> {
        cause_ref::<EndpointFailed>(&*self.cause).map(EndpointFailed::name)
    }

    /// The reason that the server gave; empty where it gave none that can be read.
    #[must_use]
    pub fn server_text(&self) -> &ServerText {
        &self.server_text
    }

    /// The error and all its causes in one line, with the text of the server, to be logged.
    #[must_use]
    pub fn report(&self) -> impl fmt::Display + '_ {
        Chain(self)
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the export of {} items failed: {}", self.items, self.kind)
    }
}

impl Error for ExportError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.cause)
    }
}

// === impl ExportErrorStatus ===

impl ExportErrorStatus {
    /// The name under which the status is reported, in `snake_case`; stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Temporary => "temporary",
            Self::Permanent => "permanent",
            Self::Exhausted => "exhausted",
        }
    }
}

// === impl ExportErrorKind ===

impl ExportErrorKind {
    /// Every kind, in the order of their declaration.
    pub const ALL: [Self; 10] = [
        Self::Encode,
        Self::TooLarge,
        Self::Unreachable,
        Self::Timeout,
        Self::Transport,
        Self::Unauthorized,
        Self::Refused,
        Self::Throttled,
        Self::CircuitOpen,
        Self::Other,
    ];

    /// The name under which the kind is reported, in `snake_case`; stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Encode => "encode",
            Self::TooLarge => "too_large",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
            Self::Unauthorized => "unauthorized",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::CircuitOpen => "circuit_open",
            Self::Other => "other",
        }
    }

    pub(crate) fn of(cause: &(dyn Error + 'static)) -> Self {
        let unauthorized = |status| matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if cause_ref::<CircuitOpen>(cause).is_some() {
            return Self::CircuitOpen;
        }
        if let Some(away) = cause_ref::<EndpointsAway>(cause) {
            return if away.is_throttled() { Self::Throttled } else { Self::CircuitOpen };
        }
        if cause_ref::<EndpointsBusy>(cause).is_some() {
            return Self::Timeout;
        }
        if let Some(grpc) = cause_ref::<GrpcError>(cause) {
            return match grpc.code() {
                Code::Unauthenticated | Code::PermissionDenied => Self::Unauthorized,
                _ if grpc.is_too_large() => Self::TooLarge,
                _ => Self::Refused,
            };
        }
        if let Some(error) = cause_ref::<StatusError>(cause) {
            return match error.status() {
                status if unauthorized(status) => Self::Unauthorized,
                StatusCode::PAYLOAD_TOO_LARGE => Self::TooLarge,
                _ => Self::Refused,
            };
        }
        if cause_ref::<NoCredential>(cause).is_some() {
            return Self::Unauthorized;
        }
        if cause_ref::<BodyTooLarge>(cause).is_some() {
            return Self::TooLarge;
        }
        if cause_ref::<Elapsed>(cause).is_some() {
            return Self::Timeout;
        }
        if let Some(transport) = cause_ref::<TransportError>(cause) {
            return if transport.is_unreachable() { Self::Unreachable } else { Self::Transport };
        }
        if cause_ref::<Throttled>(cause).is_some() {
            return Self::Throttled;
        }
        match Verdict::of(cause).map(Verdict::reason) {
            Some(DropReason::Encode) => Self::Encode,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for ExportErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encode => "they could not be encoded",
            Self::TooLarge => "they are too large together",
            Self::Unreachable => "the server cannot be reached",
            Self::Timeout => "an attempt took too long",
            Self::Transport => "the connection failed",
            Self::Unauthorized => "there is no valid credential",
            Self::Refused => "they were refused",
            Self::Throttled => "the server has asked for a pause",
            Self::CircuitOpen => "the circuit is open",
            Self::Other => "a layer or the client failed",
        })
    }
}

// === impl Chain ===

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut link = self.0.source();
        while let Some(error) = link {
            // The text of a client may contain the text of the server.
            write!(f, ": {}", ServerText::new(&error.to_string()))?;
            link = error.source();
        }
        match &self.0.server_text {
            _ if self.0.grpc_code.is_some() => Ok(()),
            text if text.is_empty() => Ok(()),
            text => write!(f, "; the server says: {text}"),
        }
    }
}
