use super::{
    encoding::{Encoding, Undecodable},
    grpc, json,
    log::Body,
    payload::{Payload, Signal},
    response::{Format, OtlpResponse},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header::AUTHORIZATION, request::Parts};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use std::{borrow::Cow, collections::HashMap, fmt, sync::Arc};

/// Looks at the text of a log body.
pub(super) type BodyTest = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// Responds to a request to a path of the user's own.
pub(super) type Handler = Arc<dyn Fn(&Request<Bytes>) -> Response<Bytes> + Send + Sync>;

/// What a receiver takes in, and what it refuses.
pub(super) struct Rules {
    pub(super) most_bytes: usize,
    pub(super) most_records: usize,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) reject_if: Option<BodyTest>,
    pub(super) refuse_if: Option<BodyTest>,
    pub(super) routes: HashMap<String, Handler>,
}

/// A body as it was read.
pub(super) struct Arrived {
    pub(super) bytes: Bytes,
    /// It was longer than allowed, and what was beyond is lost.
    pub(super) too_long: bool,
}

/// What the rules say of a request.
pub(super) enum Ruling {
    Refused(OtlpResponse),
    TakenIn(Box<TakenIn>),
}

pub(super) struct TakenIn {
    pub(super) response: OtlpResponse,
    pub(super) decoded_length: usize,
    /// All records; `None` on a path of the user's own.
    pub(super) decoded: Option<Arc<Payload>>,
    /// Those that count; the same where all do.
    pub(super) accepted: Option<Arc<Payload>>,
    pub(super) rejected: u64,
}

/// A status, and why.
struct Refusal(StatusCode, Cow<'static, str>);

// === impl Rules ===

impl Rules {
    /// `partial` is what a fault reports in place of a plain success.
    pub(super) fn rule(&self, head: &Parts, body: &Arrived, partial: Option<(i64, String)>) -> Ruling {
        self.weigh(head, body, partial).unwrap_or_else(|Refusal(status, why)| {
            Ruling::Refused(OtlpResponse::failure(status, Format::of(&head.headers), &why))
        })
    }

    fn weigh(&self, head: &Parts, body: &Arrived, partial: Option<(i64, String)>) -> Result<Ruling, Refusal> {
        if self.authorization.is_some() && self.authorization.as_ref() != head.headers.get(AUTHORIZATION) {
            return Err(Refusal(StatusCode::UNAUTHORIZED, "the Authorization header is missing or wrong".into()));
        }
        if let Some(handler) = self.routes.get(head.uri.path()) {
            return Ok(called(handler, head, self.decode(&head.headers, body)?));
        }
        let signal = match Format::of(&head.headers) {
            Some(Format::Grpc) => Signal::of_grpc(head.uri.path()),
            _ => Signal::at(head.uri.path()),
        };
        let Some(signal) = signal else {
            return Err(Refusal(StatusCode::NOT_FOUND, "no such path".into()));
        };
        if head.method != Method::POST {
            return Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "only POST".into()));
        }
        let Some(format) = Format::of(&head.headers) else {
            let why = "the content type is none of application/x-protobuf, application/json, application/grpc";
            return Err(Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, why.into()));
        };
        let bytes = match format {
            Format::Grpc => self.unframe(&head.headers, body)?,
            Format::Protobuf | Format::Json => self.decode(&head.headers, body)?,
        };
        let payload = decode(signal, format, &bytes).map_err(|why| Refusal(StatusCode::BAD_REQUEST, why.into()))?;
        self.take_in(payload, format, bytes.len(), partial).map(|taken| Ruling::TakenIn(Box::new(taken)))
    }

    fn decode(&self, headers: &HeaderMap, body: &Arrived) -> Result<Bytes, Refusal> {
        self.decode_as(Encoding::of(headers), body.too_long, &body.bytes)
    }

    /// The one message of a gRPC request.
    fn unframe(&self, headers: &HeaderMap, body: &Arrived) -> Result<Bytes, Refusal> {
        let message = grpc::Message::of(&body.bytes).ok_or_else(|| {
            let why = if body.too_long { "message too long" } else { "the body is not one gRPC message" };
            Refusal(if body.too_long { StatusCode::PAYLOAD_TOO_LARGE } else { StatusCode::BAD_REQUEST }, why.into())
        })?;
        let encoding =
            if message.is_compressed { Encoding::named(headers, &grpc::ENCODING) } else { Ok(Encoding::Identity) };
        self.decode_as(encoding, body.too_long, &message.bytes)
    }

    fn decode_as(&self, encoding: Result<Encoding, String>, too_long: bool, bytes: &Bytes) -> Result<Bytes, Refusal> {
        let too_large =
            || Refusal(StatusCode::PAYLOAD_TOO_LARGE, format!("more than {} bytes", self.most_bytes).into());
        let encoding = encoding.map_err(|unknown| {
            let why = format!("the content encoding is unknown: {unknown}");
            Refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, why.into())
        })?;
        if too_long {
            return Err(too_large());
        }
        encoding.decode(bytes, self.most_bytes).map_err(|undecodable| match undecodable {
            Undecodable::TooLarge => too_large(),
            Undecodable::Malformed(error) => {
                Refusal(StatusCode::BAD_REQUEST, format!("the body is malformed: {error}").into())
            }
        })
    }

    fn take_in(
        &self,
        decoded: Payload,
        format: Format,
        decoded_length: usize,
        partial: Option<(i64, String)>,
    ) -> Result<TakenIn, Refusal> {
        let (signal, records) = (decoded.signal(), decoded.len());
        if records > self.most_records {
            let why = format!("more than {} records", self.most_records);
            return Err(Refusal(StatusCode::PAYLOAD_TOO_LARGE, why.into()));
        }
        if let Some(refuse_if) = &self.refuse_if
            && decoded.log_records().any(|record| holds(refuse_if, record))
        {
            return Err(Refusal(StatusCode::BAD_REQUEST, "a record is malformed".into()));
        }
        let decoded = Arc::new(decoded);
        let mut accepted = Arc::clone(&decoded);
        let mut partial_success = None;
        if let Some(reject_if) = &self.reject_if
            && decoded.log_records().any(|record| holds(reject_if, record))
        {
            Arc::make_mut(&mut accepted).reject_logs(|record| holds(reject_if, record));
            let rejected = i64::try_from(records - accepted.len()).unwrap_or(i64::MAX);
            partial_success = Some((rejected, "records were rejected".to_owned()));
        }
        if let Some((rejected, message)) = partial {
            let kept = accepted.len().saturating_sub(usize::try_from(rejected).unwrap_or_default());
            Arc::make_mut(&mut accepted).keep_first(kept);
            let before = partial_success.map_or(0, |(before, _)| before);
            partial_success = Some((rejected.saturating_add(before), message));
        }
        let rejected = (records - accepted.len()) as u64;
        let response = OtlpResponse::success(signal, format, partial_success);
        Ok(TakenIn { response, decoded_length, decoded: Some(decoded), accepted: Some(accepted), rejected })
    }
}

fn holds(test: &BodyTest, record: &LogRecord) -> bool {
    test(&String::from_utf8_lossy(&Body::of(record).bytes()))
}

fn decode(signal: Signal, format: Format, bytes: &[u8]) -> Result<Payload, String> {
    match format {
        Format::Protobuf | Format::Grpc => Payload::decode(signal, bytes).map_err(|error| error.to_string()),
        Format::Json => {
            let protobuf = json::to_protobuf(signal.message(), bytes).map_err(|error| error.to_string())?;
            Payload::decode(signal, &protobuf).map_err(|error| error.to_string())
        }
    }
}

/// The user's own path: what its handler calls a success is taken in, with no records that can be counted.
fn called(handler: &Handler, head: &Parts, body: Bytes) -> Ruling {
    let decoded_length = body.len();
    let (head, body) = handler(&Request::from_parts(head.clone(), body)).into_parts();
    let response = OtlpResponse { status: head.status, headers: head.headers, body, trailer: None };
    if !response.status.is_success() {
        return Ruling::Refused(response);
    }
    Ruling::TakenIn(Box::new(TakenIn { response, decoded_length, decoded: None, accepted: None, rejected: 0 }))
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rules")
            .field("most_bytes", &self.most_bytes)
            .field("most_records", &self.most_records)
            .field("routes", &self.routes.keys())
            .finish_non_exhaustive()
    }
}
