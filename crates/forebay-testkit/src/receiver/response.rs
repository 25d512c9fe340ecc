use super::{encoding::Encoding, grpc, payload::Signal};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, StatusCode,
    header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE},
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use prost::Message;
use serde_json::json;

/// How OTLP messages are written in a request, and so in its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Protobuf,
    Json,
    /// Protobuf, in the frames of gRPC.
    Grpc,
}

/// A response as the rules make it, before a fault changes it.
#[derive(Debug)]
pub(super) struct OtlpResponse {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The gRPC status that follows the body.
    pub(super) trailer: Option<i32>,
}

/// `google.rpc.Status`: what OTLP wants in the body of every 4xx and 5xx.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Status {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<prost_types::Any>,
}

// === impl Format ===

impl Format {
    /// The format of a request with these headers. Parameters such as a charset are passed over.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        match value.split(';').next()?.trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            "application/grpc" | "application/grpc+proto" => Some(Self::Grpc),
            _ => None,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
            Self::Grpc => "application/grpc",
        })
    }
}

// === impl OtlpResponse ===

impl OtlpResponse {
    pub(super) fn new(status: StatusCode, format: Format, body: Vec<u8>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, format.content_type())]);
        Self { status, headers, body: body.into(), trailer: None }
    }

    /// 200, with a partial success where there is something to say.
    pub(super) fn success(signal: Signal, format: Format, partial: Option<(i64, String)>) -> Self {
        let body = match format {
            Format::Protobuf => success_protobuf(signal, partial),
            Format::Json => success_json(signal, partial),
            Format::Grpc => return grpc::success(&success_protobuf(signal, partial)),
        };
        Self::new(StatusCode::OK, format, body)
    }

    /// `status`, and why. A request whose format is unknown gets a response in plain text.
    pub(super) fn failure(status: StatusCode, format: Option<Format>, why: &str) -> Self {
        let code = grpc_code(status);
        if format == Some(Format::Grpc) {
            return grpc::failure(code, why, None);
        }
        let mut response = match format {
            Some(Format::Protobuf) => {
                let message = Status { code, message: why.to_owned(), details: Vec::new() };
                Self::new(status, Format::Protobuf, message.encode_to_vec())
            }
            Some(Format::Json) => {
                Self::new(status, Format::Json, json!({ "code": code, "message": why }).to_string().into())
            }
            Some(Format::Grpc) | None => {
                let text = HeaderValue::from_static("text/plain; charset=utf-8");
                Self {
                    status,
                    headers: HeaderMap::from_iter([(CONTENT_TYPE, text)]),
                    body: why.to_owned().into(),
                    trailer: None,
                }
            }
        };
        // What RFC 9110 wants beside these statuses.
        match status {
            StatusCode::UNAUTHORIZED => response.set(WWW_AUTHENTICATE, "Bearer"),
            StatusCode::METHOD_NOT_ALLOWED => response.set(ALLOW, "POST"),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => response.set(ACCEPT_ENCODING, Encoding::ACCEPTED),
            _ => {}
        }
        response
    }

    fn set(&mut self, name: http::HeaderName, value: &'static str) {
        self.headers.insert(name, HeaderValue::from_static(value));
    }
}

fn success_protobuf(signal: Signal, partial_success: Option<(i64, String)>) -> Vec<u8> {
    match signal {
        Signal::Logs => {
            let partial = |(rejected_log_records, error_message)| ExportLogsPartialSuccess {
                rejected_log_records,
                error_message,
            };
            ExportLogsServiceResponse { partial_success: partial_success.map(partial) }.encode_to_vec()
        }
        Signal::Traces => {
            let partial = |(rejected_spans, error_message)| ExportTracePartialSuccess { rejected_spans, error_message };
            ExportTraceServiceResponse { partial_success: partial_success.map(partial) }.encode_to_vec()
        }
        Signal::Metrics => {
            let partial = |(rejected_data_points, error_message)| ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message,
            };
            ExportMetricsServiceResponse { partial_success: partial_success.map(partial) }.encode_to_vec()
        }
    }
}

fn success_json(signal: Signal, partial: Option<(i64, String)>) -> Vec<u8> {
    let Some((rejected, message)) = partial else { return b"{}".to_vec() };
    let key = match signal {
        Signal::Logs => "rejectedLogRecords",
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
    };
    // A 64-bit integer is text in JSON.
    json!({ "partialSuccess": { key: rejected.to_string(), "errorMessage": message } }).to_string().into()
}

/// The gRPC code that stands for the same, as far as there is one.
pub(super) fn grpc_code(status: StatusCode) -> i32 {
    match status.as_u16() {
        400 | 415 => 3,
        401 => 16,
        403 => 7,
        404 | 405 => 12,
        408 | 504 => 4,
        413 | 429 => 8,
        500 => 13,
        502 | 503 => 14,
        _ => 2,
    }
}
