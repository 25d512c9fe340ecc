use crate::{ServerText, secrets::Secrets};
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
    secrets: Secrets,
}

/// A gRPC call ended with a status other than OK.
///
/// Whether a retry is sensible is in the [`Verdict`] that is this error's source.
#[derive(Clone, Debug)]
pub struct GrpcError {
    code: Code,
    /// The call ended without a status; `code` is what that counts as.
    is_missing: bool,
    message: ServerText,
    verdict: Verdict,
}

/// How much of the body of a refusal is kept, in bytes.
pub(crate) const REASONS: usize = 4 << 10;

// === impl Refusal ===

impl Refusal {
    pub(crate) fn new(status: StatusCode, outcome: Outcome, headers: &HeaderMap, secrets: Secrets) -> Self {
        let content_type = headers.get(header::CONTENT_TYPE).cloned();
        Self { content_type, body: Bytes::new(), status: StatusError::new(status, outcome), secrets }
    }

    /// `text`, which the server gave as a reason, without what it repeats of the request.
    pub(crate) fn redact(&self, text: &ServerText) -> ServerText {
        self.secrets.redact(text)
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
    pub(crate) fn new(code: Code, outcome: Outcome, headers: &HeaderMap, secrets: &Secrets) -> Self {
        let message = headers.get("grpc-message").map(|value| percent_decoded(value.as_bytes())).unwrap_or_default();
        let verdict = Verdict::new(DropReason::Rejected, Seen::Yes, advice_of(outcome));
        Self { code, is_missing: false, message: secrets.redact(&ServerText::from_bytes(&message)), verdict }
    }

    /// The call ended in order and without a status, which counts as UNKNOWN and means `outcome`. The server may have taken the
    /// request: nothing says that it refused it.
    pub(crate) fn without_status(outcome: Outcome) -> Self {
        let verdict = Verdict::new(DropReason::Failed, Seen::Maybe, advice_of(outcome));
        Self { code: Code::Unknown, is_missing: true, message: ServerText::default(), verdict }
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
    /// There is no code for that, and each implementation has words of its own, before unpacking and after it. Where the code
    /// is about the request itself (`RESOURCE_EXHAUSTED`, `INVALID_ARGUMENT`) any words of a size will do, for a smaller
    /// request is the only one that could pass; unless the server says when to come back. Where it is not
    /// (`OUT_OF_RANGE`, which OTLP calls retryable, and what a proxy's status was turned into), only words that are known.
    pub(crate) fn is_too_large(&self) -> bool {
        /// A size, in the words of any implementation.
        const SIZES: [&str; 9] = [
            "larger than max",
            "larger than the max",
            "exceeds max",
            "exceeds the max",
            "exceeds the configured max",
            "too large",
            "too big",
            "size limit",
            "maximum message size",
        ];
        /// What is said under other codes. tonic: `decoded message length too large` as OUT_OF_RANGE, `size limit, of N bytes,
        /// exceeded` as RESOURCE_EXHAUSTED (before 0.14 as INTERNAL). Envoy: the reason phrase of its 413, `Payload Too Large`,
        /// as UNKNOWN, which is what 413 maps to; where an operator has put `%RESPONSE_CODE_DETAILS%` into a local reply, the
        /// details `request_payload_too_large`, under the code that was chosen there. RFC 9110 calls 413 `Content Too Large`.
        const KNOWN: [&str; 5] = [
            "message length too large",
            "size limit, of",
            "payload too large",
            "payload_too_large",
            "content too large",
        ];

        if matches!(self.verdict.advice(), Advice::RetryAfter(_)) {
            return false;
        }
        let message = self.message.as_str().to_ascii_lowercase();
        let says = |words: &[&str]| words.iter().any(|words| message.contains(words));
        match self.code {
            Code::ResourceExhausted | Code::InvalidArgument => says(&SIZES) || says(&KNOWN),
            Code::OutOfRange | Code::Unknown | Code::Internal | Code::Unavailable => says(&KNOWN),
            _ => false,
        }
    }
}

fn advice_of(outcome: Outcome) -> Advice {
    match outcome {
        Outcome::Retryable { after: Some(wait) } => Advice::RetryAfter(wait),
        Outcome::Retryable { after: None } => Advice::Retry,
        Outcome::Success | Outcome::Terminal | Outcome::Ignored => Advice::Never,
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
        if self.is_missing {
            return write!(f, "the call ended without a status, which counts as {}", self.code);
        }
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
        GrpcError::new(code, Outcome::Terminal, &headers, &Secrets::default())
    }

    #[test]
    fn a_message_is_decoded_bounded_and_escaped() {
        let text = error(Code::Internal, "50%25 of %e2%82%ac%1b[2J%zz%4").to_string();
        assert_eq!(text, "the call ended with Internal (13): 50% of €\\u{1b}[2J%zz%4");
        laws::error_chain_has_one_link_per_sentence(&error(Code::Internal, "x"));
        let missing = GrpcError::without_status(Outcome::Terminal);
        assert_eq!(missing.to_string(), "the call ended without a status, which counts as Unknown (2)");
        assert!(missing.message().is_empty());
        laws::error_chain_has_one_link_per_sentence(&missing);
    }

    /// What each implementation says, before a message is unpacked and after it.
    #[test]
    fn f08_a_message_that_is_too_large_is_known_by_the_words_of_every_server() {
        for (code, words) in [
            // tonic
            (Code::OutOfRange, "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
            (
                Code::ResourceExhausted,
                "Error decompressing: size limit, of 4 bytes, exceeded while decompressing message",
            ),
            (Code::Internal, "Error decompressing: size limit, of 4 bytes, exceeded while decompressing message"),
            // grpc-go
            (Code::ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
            (Code::ResourceExhausted, "grpc: received message after decompression larger than max 4194304"),
            (Code::ResourceExhausted, "grpc: message after decompression larger than max (5000000 vs. 4194304)"),
            // gRPC core
            (Code::ResourceExhausted, "Received message larger than max (5000000 vs 4194304)"),
            // grpc-java
            (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000"),
            (Code::ResourceExhausted, "Decompressed gRPC message exceeds maximum size 4194304"),
            // grpc-dotnet
            (Code::ResourceExhausted, "Received message exceeds the maximum configured message size."),
            // Envoy's 413, as a status of gRPC: its reason phrase; and its details, in a local reply that an operator wrote.
            (Code::Unknown, "Payload Too Large"),
            (Code::Unavailable, "request_payload_too_large"),
            // The reason phrase of a proxy that follows RFC 9110.
            (Code::Unknown, "Content Too Large"),
            // Words of nobody in particular.
            (Code::InvalidArgument, "batch too big"),
            (Code::ResourceExhausted, "request size limit reached"),
        ] {
            assert!(error(code, words).is_too_large(), "{code}: {words}");
        }
        for (code, words) in [
            (Code::ResourceExhausted, "quota"),
            (Code::InvalidArgument, "a span has no name"),
            (Code::OutOfRange, "the timestamp is too large"),
            (Code::Unavailable, "the queue is too large"),
            (Code::PermissionDenied, "message length too large"),
        ] {
            assert!(!error(code, words).is_too_large(), "{code}: {words}");
        }
        // The server says when to come back: it is not for the size that it is refused now.
        let headers = HeaderMap::from_iter([(
            header::HeaderName::from_static("grpc-message"),
            HeaderValue::from_static("the size limit of this minute is reached"),
        )]);
        let later = Outcome::Retryable { after: Some(std::time::Duration::from_secs(1)) };
        assert!(!GrpcError::new(Code::ResourceExhausted, later, &headers, &Secrets::default()).is_too_large());
    }
}
