//! What an OTLP/HTTP response carries in its body.

use super::body::Encoding;
use axum::{
    body::Body,
    http::{HeaderValue, Response, StatusCode, header},
};
use forebay::otlp::Signal;
use prost::Message;

/// A [`google.rpc.Status`], which every OTLP/HTTP failure has for a body.
///
/// [`google.rpc.Status`]: https://opentelemetry.io/docs/specs/otlp/#failures
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// What all three `Export*ServiceResponse` look like on the wire.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

/// What all three `Export*PartialSuccess` look like on the wire.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected: i64,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
}

/// An `Export*ServiceResponse` in protobuf; without a rejection it is empty.
pub(super) fn export_response(rejected: u64, why: &str) -> Vec<u8> {
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    let partial = (rejected > 0).then(|| PartialSuccess { rejected, message: why.to_owned() });
    ExportResponse { partial_success: partial }.encode_to_vec()
}

/// The response to a request that was taken.
pub(super) fn taken(signal: Signal, encoding: Encoding, rejected: u64, why: &str) -> Response<Body> {
    let body = match encoding {
        Encoding::Protobuf => export_response(rejected, why),
        Encoding::Json if rejected == 0 => b"{}".to_vec(),
        Encoding::Json => {
            let name = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
            };
            // 64-bit integers are strings in ProtoJSON.
            let partial = serde_json::json!({ name: rejected.to_string(), "errorMessage": why });
            serde_json::json!({ "partialSuccess": partial }).to_string().into_bytes()
        }
    };
    with_body(StatusCode::OK, encoding, body)
}

/// The response to a request that was not taken, or the body of one that has its headers already.
pub(super) fn failed(status: StatusCode, encoding: Encoding, message: &str) -> Response<Body> {
    let body = match encoding {
        Encoding::Protobuf => Status { code: 0, message: message.to_owned() }.encode_to_vec(),
        Encoding::Json => serde_json::json!({ "message": message }).to_string().into_bytes(),
    };
    with_body(status, encoding, body)
}

fn with_body(status: StatusCode, encoding: Encoding, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(encoding.content_type()));
    response
}
