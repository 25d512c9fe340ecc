//! gRPC on top of HTTP/2: messages in frames, statuses in trailers.

use super::{
    fault::RetryAfter,
    response::{Format, OtlpResponse, Status, grpc_code},
};
use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use prost::Message as _;

/// Names the content encoding of the messages of a request.
pub(super) static ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// The one message of a request, as it came.
pub(super) struct Message {
    pub(super) is_compressed: bool,
    pub(super) bytes: Bytes,
}

/// `google.rpc.RetryInfo`
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<prost_types::Duration>,
}

// === impl Message ===

impl Message {
    /// `None` where `body` is anything but one frame.
    pub(super) fn of(body: &Bytes) -> Option<Self> {
        let mut head = body.get(..5)?;
        let (flag, length) = (head.get_u8(), head.get_u32());
        let bytes = body.slice(5..);
        (flag <= 1 && u32::try_from(bytes.len()) == Ok(length)).then_some(Self { is_compressed: flag == 1, bytes })
    }
}

/// The response of a call that succeeded.
pub(super) fn success(message: &[u8]) -> OtlpResponse {
    let mut body = BytesMut::with_capacity(5 + message.len());
    body.put_u8(0);
    body.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    body.put_slice(message);
    let mut response = OtlpResponse::new(StatusCode::OK, Format::Grpc, body.to_vec());
    response.trailer = Some(0);
    response
}

/// The response of a call that was refused: a head only, with the status in it.
pub(super) fn failure(code: i32, why: &str, retry_after: Option<u64>) -> OtlpResponse {
    let mut response = OtlpResponse::new(StatusCode::OK, Format::Grpc, Vec::new());
    response.headers.insert(STATUS, HeaderValue::from(code));
    // Printable ASCII but the percent sign goes as it is; the messages of the receiver have nothing else.
    if let Ok(why) = HeaderValue::from_str(&why.replace('%', "%25")) {
        response.headers.insert(MESSAGE, why);
    }
    if let Some(seconds) = retry_after {
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        let info = RetryInfo { retry_delay: Some(prost_types::Duration { seconds, nanos: 0 }) };
        let type_url = "type.googleapis.com/google.rpc.RetryInfo".to_owned();
        let details = vec![prost_types::Any { type_url, value: info.encode_to_vec() }];
        let status = Status { code, message: why.to_owned(), details };
        if let Ok(value) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(status.encode_to_vec())) {
            response.headers.insert(DETAILS, value);
        }
    }
    response
}

/// What a fault with an HTTP status is over gRPC. A 429 is `RESOURCE_EXHAUSTED` where it says when to come back, and
/// `UNAVAILABLE` where not: without `RetryInfo` OTLP forbids to retry the former.
pub(super) fn refusal(status: StatusCode, why: &str, retry_after: &[RetryAfter]) -> OtlpResponse {
    let seconds = retry_after.iter().find_map(|value| match value {
        RetryAfter::Seconds(seconds) => Some(*seconds),
        RetryAfter::Date(_) | RetryAfter::Raw(_) => None,
    });
    let code = match status {
        StatusCode::TOO_MANY_REQUESTS if seconds.is_none() => 14,
        _ => grpc_code(status),
    };
    failure(code, why, seconds)
}

/// The trailers that carry a status.
pub(super) fn trailers(code: i32) -> HeaderMap {
    HeaderMap::from_iter([(STATUS, HeaderValue::from(code))])
}

/// The gRPC status of a response, where it has one.
pub(super) fn status(response: &OtlpResponse) -> Option<i32> {
    response.trailer.or_else(|| response.headers.get(STATUS)?.to_str().ok()?.parse().ok())
}
