//! What a response means to the retry and to the circuit breaker. Pure: no clock, no I/O.

use crate::{
    Framing, GrpcError, TransportError,
    compression::{Unpacked, unpack},
    error_response::ErrorResponse,
    framing::GRPC_PREFIX,
    grpc_error::code_of,
    knobs::Knobs,
    secrets::Secrets,
};
use bytes::{Buf, Bytes};
use forebay_core::{BoxError, Outcome, http::Classifier};
use forebay_retry::grpc::{self, Code};
use http::{HeaderMap, HeaderValue, StatusCode, header, response::Parts};
use std::time::Duration;

/// Decides over the statuses of a server and the errors of a client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResponseClassifier {
    http: Classifier,
    /// Set where responses are those of gRPC calls.
    grpc: Option<grpc::Classifier>,
    /// The greatest body, in bytes, without its content encoding.
    max_bytes: usize,
    /// The longest hint of a server that counts.
    max_hint: Duration,
}

/// Why a response is no success, as far as its head says.
pub(crate) enum HeadError {
    /// The reasons are in the body.
    Http(Box<ErrorResponse>),
    Other(BoxError),
}

/// Why the body of a successful response could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    Broken,
    TooLong,
    Late,
    Undecodable,
}

/// The body of a success, and whether its content encoding was removed; or why it could not be read, with the bytes that were.
pub(crate) type ReadOrUnread = Result<(Bytes, bool), (Unread, Bytes)>;

// === impl ResponseClassifier ===

impl ResponseClassifier {
    pub(crate) fn new<T>(knobs: &Knobs<T>) -> Self {
        let is_grpc = matches!(knobs.settings.framing, Framing::Grpc { .. });
        // A batch that parks expires at its age, so no wait beyond that age is of use.
        let parks_for = knobs.parks_for();
        let max_hint = if parks_for.is_zero() { knobs.max_hint } else { knobs.max_hint.min(parks_for) };
        Self {
            http: knobs.classifier,
            grpc: is_grpc.then_some(knobs.codes),
            max_bytes: knobs.max_response_bytes,
            max_hint,
        }
    }

    /// The greatest body, in bytes.
    pub(crate) fn max_bytes(&self) -> usize {
        self.max_bytes
    }

    /// The outcome of an error that the client gave.
    pub(crate) fn error(&self, error: &(dyn std::error::Error + 'static)) -> Outcome {
        self.bounded(self.http.error(error))
    }

    /// `outcome`, with no longer a hint than counts.
    fn bounded(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Retryable { after: Some(wait) } => {
                Outcome::Retryable { after: Some(wait.min(self.max_hint)).filter(|wait| !wait.is_zero()) }
            }
            other => other,
        }
    }

    /// Whether the head alone decides whether the request was accepted.
    pub(crate) fn is_decided(&self, head: &Parts) -> bool {
        self.grpc.is_none() || code_of(&head.headers).is_some()
    }

    /// Why the head alone says that the request was refused; `None` if it does not say so.
    pub(crate) fn refused(&self, head: &Parts, secrets: &Secrets) -> Option<HeadError> {
        let Some(grpc) = &self.grpc else {
            let outcome = self.bounded(self.http.status(head.status, &head.headers));
            return (outcome != Outcome::Success).then(|| error_response(head, outcome, secrets));
        };
        if let Some(code) = code_of(&head.headers) {
            let outcome = self.bounded(grpc.head(head.status, &head.headers));
            return (outcome != Outcome::Success)
                .then(|| HeadError::Other(grpc_error(code, outcome, &head.headers, secrets)));
        }
        // The response is that of an intermediary between the server and this client.
        if head.status != StatusCode::OK {
            return Some(error_response(head, self.bounded(grpc.head(head.status, &head.headers)), secrets));
        }
        (!is_grpc(&head.headers)).then(|| HeadError::Other(TransportError::not_grpc().into()))
    }

    /// The body of a response whose head is no refusal. An error is that of the request.
    pub(crate) fn body(
        &self,
        head: &Parts,
        bytes: Bytes,
        trailers: Option<HeaderMap>,
        secrets: &Secrets,
    ) -> Result<ReadOrUnread, BoxError> {
        let encoding = match &self.grpc {
            None => head.headers.get(header::CONTENT_ENCODING),
            Some(grpc) => {
                if code_of(&head.headers).is_none() {
                    let trailers = trailers.unwrap_or_default();
                    let Some(code) = code_of(&trailers) else {
                        // The stream ended in order, and nothing was lost on the way: an intermediary passes no trailers on.
                        // gRPC's mapping of HTTP statuses calls 200 without a status UNKNOWN; by the table of OTLP that is
                        // not sent again, for the server may have accepted each of the attempts.
                        let outcome = self.bounded(grpc.status(Code::Unknown.number().into(), b""));
                        return Err(GrpcError::without_status(outcome).into());
                    };
                    let outcome = self.bounded(grpc.head(head.status, &trailers));
                    if outcome != Outcome::Success {
                        return Err(grpc_error(code, outcome, &trailers, secrets));
                    }
                }
                head.headers.get("grpc-encoding")
            }
        };
        let encoding = encoding.map_or(&b""[..], HeaderValue::as_bytes);
        let unpacked = match &self.grpc {
            None => unpack(encoding, &bytes, self.max_bytes),
            Some(_) => unframe(encoding, &bytes, self.max_bytes),
        };
        Ok(match unpacked {
            Unpacked::Whole(whole) => Ok((whole, true)),
            Unpacked::TooLong => Err((Unread::TooLong, Bytes::new())),
            Unpacked::Unreadable => Err((Unread::Undecodable, bytes)),
        })
    }
}

fn error_response(head: &Parts, outcome: Outcome, secrets: &Secrets) -> HeadError {
    HeadError::Http(Box::new(ErrorResponse::new(head.status, outcome, &head.headers, secrets.clone())))
}

fn grpc_error(code: Code, outcome: Outcome, headers: &HeaderMap, secrets: &Secrets) -> BoxError {
    let error = GrpcError::new(code, outcome, headers, secrets);
    // The same message will be as large at the next attempt, whatever the table says of the code.
    if error.is_too_large() { GrpcError::new(code, Outcome::Terminal, headers, secrets).into() } else { error.into() }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    value.get(..16).is_some_and(|start| start.eq_ignore_ascii_case(b"application/grpc"))
}

/// The one message of a gRPC response; none counts as an empty one.
fn unframe(encoding: &[u8], body: &Bytes, max_bytes: usize) -> Unpacked {
    let Some(mut prefix) = body.get(..GRPC_PREFIX) else {
        return if body.is_empty() { Unpacked::Whole(Bytes::new()) } else { Unpacked::Unreadable };
    };
    let (flag, length) = (prefix.get_u8(), prefix.get_u32());
    let message = body.slice(GRPC_PREFIX..);
    match flag {
        _ if u32::try_from(message.len()) != Ok(length) => Unpacked::Unreadable,
        0 => Unpacked::Whole(message),
        1 if !encoding.is_empty() => unpack(encoding, &message, max_bytes),
        _ => Unpacked::Unreadable,
    }
}

// === impl Unread ===

impl Unread {
    /// The word in events; stable.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only events contain it"))]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::TooLong => "too_long",
            Self::Late => "late",
            Self::Undecodable => "undecodable",
        }
    }
}
