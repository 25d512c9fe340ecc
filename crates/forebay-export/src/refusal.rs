use crate::ServerText;
use bytes::Bytes;
use forebay_core::{Advice, DropReason, Outcome, Seen, Verdict, http::StatusError};
use forebay_retry::grpc::Code;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use std::{error::Error, fmt};

/// The far side refused a request, and gave reasons in the body of its answer.
///
/// The body is only kept for whoever can read it; its text is never part of `Debug` or `Display`.
#[derive(Clone)]
pub(crate) struct Refusal {
    pub(crate) content_type: Option<HeaderValue>,
    pub(crate) body: Bytes,
    status: StatusError,
}

/// A gRPC call ended with a status other than OK.
///
/// Whether a retry is sensible is in the [`Verdict`] that is this error's source.
#[derive(Clone, Debug)]
pub struct GrpcError {
    code: Code,
    message: ServerText,
    verdict: Verdict,
}

/// How much of the body of a refusal is kept, in bytes.
pub(crate) const REASONS: usize = 4 << 10;

// === impl Refusal ===

impl Refusal {
    pub(crate) fn new(status: StatusCode, outcome: Outcome, headers: &HeaderMap) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).cloned();
        Self { content_type, body: Bytes::new(), status: StatusError::new(status, outcome) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request was refused")
    }
}

impl fmt::Debug for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refusal").field("status", &self.status).finish_non_exhaustive()
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.status)
    }
}

// === impl GrpcError ===

impl GrpcError {
    /// The status in `headers`, which may be trailers, means `outcome`.
    pub(crate) fn new(code: Code, outcome: Outcome, headers: &HeaderMap) -> Self {
        let advice = match outcome {
            Outcome::Retryable { after: Some(wait) } => Advice::RetryAfter(wait),
            Outcome::Retryable { after: None } => Advice::Retry,
            Outcome::Success | Outcome::Terminal | Outcome::Ignored => Advice::Never,
        };
        let message = headers.get("grpc-message").map(|value| percent_decoded(value.as_bytes())).unwrap_or_default();
        let verdict = Verdict::new(DropReason::Rejected, Seen::Yes, advice);
        Self { code, message: ServerText::from_bytes(&message), verdict }
    }

    /// The status code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.code
    }

    /// What the far side says of it.
    #[must_use]
    pub fn message(&self) -> &ServerText {
        &self.message
    }

    /// Whether the server refuses the message for its size.
    ///
    /// There is no code for that: grpc-go and gRPC core say `RESOURCE_EXHAUSTED`, tonic says `OUT_OF_RANGE`, which OTLP
    /// calls retryable. Their words tell.
    pub(crate) fn is_too_large(&self) -> bool {
        let says = |words: &str| self.message.as_str().contains(words);
        match self.code {
            Code::ResourceExhausted => says("larger than max") || says("exceeds maximum size"),
            Code::OutOfRange => says("length too large"),
            _ => false,
        }
    }
}

/// The code that a status header or trailer names.
pub(crate) fn code_of(headers: &HeaderMap) -> Option<Code> {
    let value = headers.get("grpc-status")?;
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    Some(number.map_or(Code::Unknown, Code::from_number))
}

/// `%XX` in a `grpc-message` is the byte XX; a broken one stands for itself.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, behind @ ..] = rest {
        match behind {
            [high, low, after @ ..] if *first == b'%' && digit(high).is_some() && digit(low).is_some() => {
                bytes.push(digit(high).unwrap_or_default() << 4 | digit(low).unwrap_or_default());
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}

impl fmt::Display for GrpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the call ended with {}", self.code)?;
        if self.message.is_empty() { Ok(()) } else { write!(f, ": {}", self.message) }
    }
}

impl Error for GrpcError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_testkit::laws;

    fn error(code: Code, message: &'static str) -> GrpcError {
        let headers = HeaderMap::from_iter([(
            header::HeaderName::from_static("grpc-message"),
            HeaderValue::from_static(message),
        )]);
        GrpcError::new(code, Outcome::Terminal, &headers)
    }

    #[test]
    fn a_message_is_decoded_bounded_and_escaped() {
        let text = error(Code::Internal, "50%25 of %e2%82%ac%1b[2J%zz%4").to_string();
        assert_eq!(text, "the call ended with Internal (13): 50% of €\\u{1b}[2J%zz%4");
        laws::error_chain_has_one_link_per_sentence(&error(Code::Internal, "x"));
    }

    #[test]
    fn a_message_that_is_too_large_is_known_by_the_servers_words() {
        for (code, words) in [
            (Code::ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
            (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000"),
            (Code::OutOfRange, "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
        ] {
            assert!(error(code, words).is_too_large(), "{words}");
        }
        assert!(!error(Code::ResourceExhausted, "quota").is_too_large());
    }
}
