//! How long a server asks to be left alone.

use forebay::{core::http::parse_retry_after, retry::grpc::retry_delay};
use http::HeaderValue;
use std::time::{Duration, SystemTime};

pub(crate) fn check(data: &[u8]) {
    // The details of a gRPC status: no input may panic, or loop.
    let _wait = retry_delay(data);

    let Ok(value) = HeaderValue::from_bytes(data) else { return };
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let wait = parse_retry_after(&value, now);
    let text = String::from_utf8_lossy(data.trim_ascii());
    if !text.is_empty() && text.len() < 10 && text.bytes().all(|byte| byte.is_ascii_digit()) {
        assert_eq!(wait, text.parse().ok().map(Duration::from_secs), "{text:?}");
    }
    if text.starts_with('-') {
        assert_eq!(wait, None, "{text:?}");
    }
}
