use crate::{ServerText, secrets::Secrets};
use forebay_core::{Advice, DropReason, Outcome, Seen, Verdict};
use forebay_retry::grpc::Code;
use http::HeaderMap;
use std::{error::Error, fmt};

/// A gRPC call ended with a status other than OK.
///
/// The source is a [`Verdict`], which says whether a retry is sensible.
#[derive(Clone, Debug)]
pub struct GrpcError {
    code: Code,
    /// The call ended without a status, which counts as `code`.
    is_missing: bool,
    message: ServerText,
    verdict: Verdict,
}

// === impl GrpcError ===

impl GrpcError {
    /// The error of the status in `headers`, which may be trailers. The classifier makes `outcome` of it.
    pub(crate) fn new(code: Code, outcome: Outcome, headers: &HeaderMap, secrets: &Secrets) -> Self {
        let message = headers.get("grpc-message").map(|value| percent_decoded(value.as_bytes())).unwrap_or_default();
        let verdict = Verdict::new(DropReason::Rejected, Seen::Yes, advice_of(outcome));
        Self { code, is_missing: false, message: secrets.redact(&ServerText::from_bytes(&message)), verdict }
    }

    /// The error of a call that ended in order and without a status, which counts as UNKNOWN. The server may have accepted the
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

    /// The message of the server; empty if it gave none.
    #[must_use]
    pub fn message(&self) -> &ServerText {
        &self.message
    }

    /// Whether the server refuses the message for its size.
    ///
    /// gRPC has no code for that, and each implementation has words of its own, before decompression and after it. Where the
    /// code is about the request itself (`RESOURCE_EXHAUSTED`, `INVALID_ARGUMENT`) any words about a size count, since only a
    /// smaller request could pass; unless the server says when to retry. Where it is not (`OUT_OF_RANGE`, which OTLP calls
    /// retryable, and the code that a proxy's status was mapped to), only known words count.
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
        /// The words that come under other codes. tonic: `decoded message length too large` as OUT_OF_RANGE, `size limit, of N bytes,
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
        let contains = |words: &[&str]| words.iter().any(|words| message.contains(words));
        match self.code {
            Code::ResourceExhausted | Code::InvalidArgument => contains(&SIZES) || contains(&KNOWN),
            Code::OutOfRange | Code::Unknown | Code::Internal | Code::Unavailable => contains(&KNOWN),
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

/// The bytes of a `grpc-message`, in which `%XX` is the byte XX. A broken escape is kept as it is.
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
    use http::{HeaderValue, header};

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

    /// The words of each implementation, before a message is decompressed and after it.
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
            // Words of no known implementation.
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
        // The server says when to retry, so the size is not the reason of this refusal.
        let headers = HeaderMap::from_iter([(
            header::HeaderName::from_static("grpc-message"),
            HeaderValue::from_static("the size limit of this minute is reached"),
        )]);
        let later = Outcome::Retryable { after: Some(std::time::Duration::from_secs(1)) };
        assert!(!GrpcError::new(Code::ResourceExhausted, later, &headers, &Secrets::default()).is_too_large());
    }
}
