//! Requests as bytes, and bytes as answers.

use super::{
    error::TransportError,
    versions::{Versions, varint},
};
use crate::wire::{
    ErrorCode, GetTelemetrySubscriptionsResponse, InstanceId, PushTelemetryResponse, TelemetryRequest,
    TelemetryResponse,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        GetTelemetrySubscriptionsRequest as GetRequest, GetTelemetrySubscriptionsResponse as GetResponse,
        PushTelemetryRequest as PushRequest, PushTelemetryResponse as PushResponse, RequestHeader, ResponseHeader,
        SaslAuthenticateResponse, SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};

/// API keys.
pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const API_VERSIONS: i16 = 18;
pub(super) const SASL_AUTHENTICATE: i16 = 36;
pub(super) const GET_TELEMETRY_SUBSCRIPTIONS: i16 = 71;
pub(super) const PUSH_TELEMETRY: i16 = 72;

/// Which request a frame holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) key: i16,
    pub(super) version: i16,
    pub(super) correlation: i32,
    pub(super) client_id: &'a str,
}

/// One request, with its length before it.
pub(super) fn encode<R: Encodable + HeaderVersion>(head: Head<'_>, request: &R) -> Result<Bytes, TransportError> {
    let cannot = |error| TransportError::malformed(format_args!("the request cannot be written: {error:#}"));
    let header = RequestHeader::default()
        .with_request_api_key(head.key)
        .with_request_api_version(head.version)
        .with_correlation_id(head.correlation)
        .with_client_id(Some(StrBytes::from_string(head.client_id.to_owned())));
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header.encode(&mut frame, R::header_version(head.version)).map_err(cannot)?;
    request.encode(&mut frame, head.version).map_err(cannot)?;
    let length =
        i32::try_from(frame.len() - 4).map_err(|_long| TransportError::malformed("the request is too long"))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame.freeze())
}

/// One request for telemetry.
pub(super) fn encode_telemetry(
    correlation: i32,
    client_id: &str,
    request: &TelemetryRequest,
) -> Result<Bytes, TransportError> {
    match request {
        TelemetryRequest::GetSubscriptions(request) => {
            let head = Head { key: GET_TELEMETRY_SUBSCRIPTIONS, version: 0, correlation, client_id };
            let id = uuid(request.client_instance_id);
            encode(head, &GetRequest::default().with_client_instance_id(id))
        }
        TelemetryRequest::Push(request) => {
            let head = Head { key: PUSH_TELEMETRY, version: 0, correlation, client_id };
            let push = PushRequest::default()
                .with_client_instance_id(uuid(request.client_instance_id))
                .with_subscription_id(request.subscription_id)
                .with_terminating(request.terminating)
                .with_compression_type(request.compression_type)
                .with_metrics(request.metrics.clone());
            encode(head, &push)
        }
    }
}

/// Takes the header off an answer; its correlation id.
pub(super) fn take_header(frame: &mut Bytes, version: i16) -> Result<i32, TransportError> {
    let header = ResponseHeader::decode(frame, version).map_err(not_an_answer)?;
    Ok(header.correlation_id)
}

/// The body of the answer to a request for telemetry.
pub(super) fn decode_telemetry(key: i16, body: &mut Bytes) -> Result<TelemetryResponse, TransportError> {
    match key {
        GET_TELEMETRY_SUBSCRIPTIONS => {
            check_arrays(body.clone()).ok_or_else(|| TransportError::malformed("a list is longer than the answer"))?;
            let response = GetResponse::decode(body, 0).map_err(not_an_answer)?;
            Ok(TelemetryResponse::GetSubscriptions(GetTelemetrySubscriptionsResponse {
                throttle_time_ms: response.throttle_time_ms,
                error_code: ErrorCode(response.error_code),
                client_instance_id: InstanceId::from_bytes(*response.client_instance_id.as_bytes()),
                subscription_id: response.subscription_id,
                accepted_compression_types: response.accepted_compression_types,
                push_interval_ms: response.push_interval_ms,
                telemetry_max_bytes: response.telemetry_max_bytes,
                delta_temporality: response.delta_temporality,
                requested_metrics: response.requested_metrics.iter().map(|name| name.as_str().to_owned()).collect(),
            }))
        }
        _ => {
            let response = PushResponse::decode(body, 0).map_err(not_an_answer)?;
            Ok(TelemetryResponse::Push(PushTelemetryResponse {
                throttle_time_ms: response.throttle_time_ms,
                error_code: ErrorCode(response.error_code),
            }))
        }
    }
}

/// The body of the answer to a `SaslHandshake` of version 1: whether the mechanism is taken.
pub(super) fn decode_handshake(body: &mut Bytes) -> Result<ErrorCode, TransportError> {
    // The list of mechanisms behind the code is for people.
    let code = body.try_get_i16().map_err(not_an_answer)?;
    Ok(ErrorCode(code))
}

/// The body of the answer to a `SaslAuthenticate`.
pub(super) fn decode_authenticate(version: i16, body: &mut Bytes) -> Result<SaslAuthenticateResponse, TransportError> {
    SaslAuthenticateResponse::decode(body, version).map_err(not_an_answer)
}

/// The version of the header of the answer.
pub(super) fn answer_header(key: i16, version: i16) -> i16 {
    match key {
        GET_TELEMETRY_SUBSCRIPTIONS => GetResponse::header_version(version),
        PUSH_TELEMETRY => PushResponse::header_version(version),
        SASL_AUTHENTICATE => SaslAuthenticateResponse::header_version(version),
        SASL_HANDSHAKE => SaslHandshakeResponse::header_version(version),
        // That of ApiVersions is always the oldest, so that every client can read it.
        _ => 0,
    }
}

pub(super) fn decode_all(bytes: &[u8]) -> usize {
    let frame = || Bytes::copy_from_slice(bytes);
    let mut read = 0;
    for (key, version) in [(GET_TELEMETRY_SUBSCRIPTIONS, 0), (PUSH_TELEMETRY, 0)] {
        let mut frame = frame();
        let header = take_header(&mut frame, answer_header(key, version));
        read += usize::from(header.and_then(|_correlation| decode_telemetry(key, &mut frame)).is_ok());
    }
    for version in 0..=3 {
        read += usize::from(Versions::decode(version, &mut frame()).is_ok());
    }
    for version in 0..=2 {
        read += usize::from(decode_authenticate(version, &mut frame()).is_ok());
    }
    read + usize::from(decode_handshake(&mut frame()).is_ok())
}

/// Whether the lists of an answer can be as long as they say.
///
/// CORRECTNESS: the decoder reserves room for as many elements as a list claims to have, before it reads any of them. A
/// claim of four billion would end the process.
fn check_arrays(mut body: Bytes) -> Option<()> {
    let mut list = |fixed: usize| {
        if body.remaining() < fixed {
            return None;
        }
        body.advance(fixed);
        let length = usize::try_from(varint(&mut body)?.saturating_sub(1)).ok()?;
        // Each element has a byte at least.
        (length <= body.remaining()).then_some(length)
    };
    // Throttle time, code, instance id, subscription id; then the compression types, of a byte each.
    let types = list(4 + 2 + 16 + 4)?;
    // Interval, size, temporality; then the names.
    list(types + 4 + 4 + 1)?;
    Some(())
}

fn uuid(id: InstanceId) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*id.as_bytes())
}

fn not_an_answer(error: impl std::fmt::Display) -> TransportError {
    TransportError::malformed(format_args!("{error:#}"))
}
