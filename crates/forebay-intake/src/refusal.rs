//! A refusal as the response of an HTTP or gRPC server.

use crate::Rejected;
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use forebay_core::DropReason;
use http::{HeaderValue, Response, StatusCode, header};
use std::time::Duration;

/// The codes of [gRPC](https://grpc.github.io/grpc/core/md_doc_statuscodes.html) that a refusal can have.
const INVALID_ARGUMENT: u32 = 3;
const RESOURCE_EXHAUSTED: u32 = 8;
const UNAVAILABLE: u32 = 14;

// === impl Rejected ===

impl<T> Rejected<T> {
    /// The HTTP status of the refusal: 429 where a retry is sensible, 413 for an item that is too large, 503 for a queue that is
    /// closed.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        match self.reason {
            DropReason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            DropReason::Shutdown | DropReason::Disabled => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// The response of an HTTP server: [`status`](Self::status), and `Retry-After` where a retry is sensible.
    ///
    /// `retry_after` is rounded up to whole seconds, since the header has no smaller unit.
    #[must_use]
    pub fn http_response<B: Default>(&self, retry_after: Duration) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        if self.status() != StatusCode::PAYLOAD_TOO_LARGE {
            let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }

    /// The gRPC status code: `RESOURCE_EXHAUSTED` (8) where a retry is sensible.
    ///
    /// `INVALID_ARGUMENT` (3) for an item that is too large, `UNAVAILABLE` (14) for a queue that is closed.
    #[must_use]
    pub fn grpc_code(&self) -> u32 {
        match self.reason {
            DropReason::TooLarge => INVALID_ARGUMENT,
            DropReason::Shutdown | DropReason::Disabled => UNAVAILABLE,
            _ => RESOURCE_EXHAUSTED,
        }
    }

    /// The response of a gRPC server, with headers only.
    ///
    /// It carries a [`google.rpc.RetryInfo`], without which an OTLP client must not retry `RESOURCE_EXHAUSTED`.
    ///
    /// [`google.rpc.RetryInfo`]: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-throttling
    #[must_use]
    pub fn grpc_response<B: Default>(&self, retry_after: Duration) -> Response<B> {
        let mut response = Response::new(B::default());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from(self.grpc_code()));
        // No text of this crate has a character that a header or `grpc-message` would have to escape.
        if let Ok(message) = HeaderValue::try_from(self.to_string()) {
            headers.insert("grpc-message", message);
        }
        if self.grpc_code() != INVALID_ARGUMENT
            && let Ok(details) =
                HeaderValue::try_from(STANDARD_NO_PAD.encode(retry_info(self.grpc_code(), retry_after)))
        {
            headers.insert("grpc-status-details-bin", details);
        }
        response
    }
}

/// The longest [`google.protobuf.Duration`](https://protobuf.dev/reference/protobuf/google.protobuf/#duration).
const MAX_DELAY: Duration = Duration::from_secs(315_576_000_000);

/// A `google.rpc.Status { code, details: [RetryInfo { retry_delay }] }`, in protobuf.
fn retry_info(code: u32, delay: Duration) -> Vec<u8> {
    const TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";
    // The seconds of a `google.protobuf.Duration` are signed, and end at 10,000 years: what is greater would be read as negative.
    let delay = delay.min(MAX_DELAY);
    // Duration { seconds = 1, nanos = 2 }
    let mut duration = Vec::new();
    field(&mut duration, 1, delay.as_secs());
    field(&mut duration, 2, delay.subsec_nanos().into());
    // RetryInfo { retry_delay = 1 }, in Any { type_url = 1, value = 2 }, in Status { code = 1, details = 3 }
    let mut info = Vec::new();
    message(&mut info, 1, &duration);
    let mut any = Vec::new();
    message(&mut any, 1, TYPE.as_bytes());
    message(&mut any, 2, &info);
    let mut status = Vec::new();
    field(&mut status, 1, code.into());
    message(&mut status, 3, &any);
    status
}

fn field(out: &mut Vec<u8>, number: u8, value: u64) {
    if value != 0 {
        out.push(number << 3);
        varint(out, value);
    }
}

fn message(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push((number << 3) | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> Rejected<()> {
        Rejected::new((), DropReason::Full)
    }

    #[test]
    fn q04_full_is_429_with_retry_after() {
        let response = full().http_response::<()>(Duration::from_millis(1200));
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()[header::RETRY_AFTER], "2");
        assert_eq!(full().http_response::<()>(Duration::from_secs(1)).headers()[header::RETRY_AFTER], "1");
    }

    #[test]
    fn f02_every_wait_can_be_asked_for() {
        for (wait, seconds, whole) in [
            (Duration::ZERO, "0", 0),
            (Duration::from_nanos(1), "1", 0),
            (Duration::from_secs(u64::MAX), "18446744073709551615", MAX_DELAY.as_secs()),
            (Duration::MAX, "18446744073709551615", MAX_DELAY.as_secs()),
        ] {
            let response = full().http_response::<()>(wait);
            assert_eq!(response.headers()[header::RETRY_AFTER], seconds, "{wait:?}");
            let response = full().grpc_response::<()>(wait);
            let details = STANDARD_NO_PAD.decode(&response.headers()["grpc-status-details-bin"]).unwrap();
            assert_eq!(details, retry_info(8, Duration::new(whole, wait.min(MAX_DELAY).subsec_nanos())), "{wait:?}");
        }
    }

    #[test]
    fn a_too_large_item_is_413_without_retry_after() {
        let response = Rejected::new((), DropReason::TooLarge).http_response::<()>(Duration::from_secs(1));
        assert_eq!(response.status(), 413);
        assert!(!response.headers().contains_key(header::RETRY_AFTER));
        assert_eq!(Rejected::new((), DropReason::TooLarge).grpc_code(), 3);
        assert_eq!(Rejected::new((), DropReason::Shutdown).status(), 503);
    }

    #[test]
    fn q04_full_is_resource_exhausted_with_retry_info() {
        let response = full().grpc_response::<()>(Duration::from_millis(1500));
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["grpc-status"], "8");
        assert_eq!(response.headers()["grpc-message"], "refused: the queue is full");
        // What Google's own protobuf library writes for `Status { code: 8, details: [RetryInfo(1.5 s)] }`.
        let expected = "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIARCAyrXuAQ";
        assert_eq!(response.headers()["grpc-status-details-bin"], expected);
    }
}
