//! Requests as bytes, and bytes as responses.

use super::{
    error::TransportError,
    versions::{Versions, skip_tags, varint},
};
use crate::wire::{
    ErrorCode, GetTelemetrySubscriptionsResponse, InstanceId, PushTelemetryResponse, TelemetryRequest,
    TelemetryResponse,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::{
    messages::{
        GetTelemetrySubscriptionsRequest as GetRequest, GetTelemetrySubscriptionsResponse as GetResponse,
        MetadataResponse, PushTelemetryRequest as PushRequest, PushTelemetryResponse as PushResponse, RequestHeader,
        ResponseHeader, SaslAuthenticateResponse, SaslHandshakeResponse,
    },
    protocol::{Decodable, Encodable, HeaderVersion, StrBytes},
};

/// API keys.
pub(super) const METADATA: i16 = 3;
pub(super) const SASL_HANDSHAKE: i16 = 17;
pub(super) const API_VERSIONS: i16 = 18;
pub(super) const SASL_AUTHENTICATE: i16 = 36;
pub(super) const GET_TELEMETRY_SUBSCRIPTIONS: i16 = 71;
pub(super) const PUSH_TELEMETRY: i16 = 72;

/// The first version of `Metadata` whose lists and texts are compact.
const FLEXIBLE_METADATA: i16 = 9;

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

/// Takes the header off a response; its correlation id.
pub(super) fn take_header(frame: &mut Bytes, version: i16) -> Result<i32, TransportError> {
    let header = ResponseHeader::decode(frame, version).map_err(not_a_response)?;
    Ok(header.correlation_id)
}

/// The body of the response to a request for telemetry.
pub(super) fn decode_telemetry(key: i16, body: &mut Bytes) -> Result<TelemetryResponse, TransportError> {
    match key {
        GET_TELEMETRY_SUBSCRIPTIONS => decode_subscriptions(body).map(TelemetryResponse::GetSubscriptions),
        _ => {
            let response = PushResponse::decode(body, 0).map_err(not_a_response)?;
            Ok(TelemetryResponse::Push(PushTelemetryResponse {
                throttle_time_ms: response.throttle_time_ms,
                error_code: ErrorCode(response.error_code),
            }))
        }
    }
}

/// The body of the response to a `GetTelemetrySubscriptions` of version 0.
///
/// Read by hand: a broker may write a list that is null where the schema allows none, and that means an empty list. The
/// generated decoder refuses it, and reserves room for as many elements as a list claims to have before it reads any.
fn decode_subscriptions(body: &mut Bytes) -> Result<GetTelemetrySubscriptionsResponse, TransportError> {
    let mut id = [0; 16];
    let throttle_time_ms = body.try_get_i32().map_err(not_a_response)?;
    let error_code = ErrorCode(body.try_get_i16().map_err(not_a_response)?);
    body.try_copy_to_slice(&mut id).map_err(not_a_response)?;
    let subscription_id = body.try_get_i32().map_err(not_a_response)?;
    let types = list_length(body)?;
    let mut accepted_compression_types = Vec::with_capacity(types);
    for _ in 0..types {
        accepted_compression_types.push(body.try_get_i8().map_err(not_a_response)?);
    }
    let push_interval_ms = body.try_get_i32().map_err(not_a_response)?;
    let telemetry_max_bytes = body.try_get_i32().map_err(not_a_response)?;
    let delta_temporality = body.try_get_u8().map_err(not_a_response)? != 0;
    let mut requested_metrics = Vec::new();
    for _ in 0..list_length(body)? {
        requested_metrics.push(compact_text(body)?);
    }
    skip_tags(body).ok_or_else(|| TransportError::malformed("the tags of a subscription end too soon"))?;
    Ok(GetTelemetrySubscriptionsResponse {
        throttle_time_ms,
        error_code,
        client_instance_id: InstanceId::from_bytes(id),
        subscription_id,
        accepted_compression_types,
        push_interval_ms,
        telemetry_max_bytes,
        delta_temporality,
        requested_metrics,
    })
}

/// The length of a compact list; null counts as empty. Each element has one byte at least, so a longer claim is refused.
fn list_length(body: &mut Bytes) -> Result<usize, TransportError> {
    let length = varint(body).and_then(|length| usize::try_from(length.saturating_sub(1)).ok());
    length
        .filter(|length| *length <= body.remaining())
        .ok_or_else(|| TransportError::malformed("a list is longer than the response"))
}

/// A compact string, which is not null.
fn compact_text(body: &mut Bytes) -> Result<String, TransportError> {
    let length = varint(body).and_then(|length| usize::try_from(length.checked_sub(1)?).ok());
    let length = length.filter(|length| *length <= body.remaining());
    let length = length.ok_or_else(|| TransportError::malformed("a text is longer than the response"))?;
    String::from_utf8(body.split_to(length).into()).map_err(not_a_response)
}

/// The addresses of the brokers in the body of the response to a `Metadata` request of version 1 to 12.
///
/// Read by hand, and only as far as it is needed: the brokers stand before the topics, which were not asked for.
pub(super) fn decode_brokers(version: i16, body: &mut Bytes) -> Result<Vec<String>, TransportError> {
    let flexible = version >= FLEXIBLE_METADATA;
    if version >= 3 {
        // The throttle time. A client has one such request per connection, so there is nothing to hold back.
        body.try_get_i32().map_err(not_a_response)?;
    }
    let brokers = if flexible {
        list_length(body)?
    } else {
        let length = body.try_get_i32().map_err(not_a_response)?;
        usize::try_from(length).unwrap_or_default().min(body.remaining())
    };
    let mut addresses = Vec::new();
    for _ in 0..brokers {
        body.try_get_i32().map_err(not_a_response)?;
        let host = if flexible { compact_text(body)? } else { short_text(body)?.unwrap_or_default() };
        let port = body.try_get_i32().map_err(not_a_response)?;
        if flexible {
            // The rack, which may be null.
            let length = varint(body).and_then(|length| usize::try_from(length.saturating_sub(1)).ok());
            let length = length.filter(|length| *length <= body.remaining());
            body.advance(length.ok_or_else(|| TransportError::malformed("a rack is longer than the response"))?);
            skip_tags(body).ok_or_else(|| TransportError::malformed("the tags of a broker end too soon"))?;
        } else {
            short_text(body)?;
        }
        let Ok(port) = u16::try_from(port) else { continue };
        if !host.is_empty() && port > 0 {
            // An IPv6 address stands in brackets before a port.
            let bare_v6 = host.contains(':') && !host.starts_with('[');
            addresses.push(if bare_v6 { format!("[{host}]:{port}") } else { format!("{host}:{port}") });
        }
    }
    Ok(addresses)
}

/// A string of the older form, with a length of two bytes; `None` for null.
fn short_text(body: &mut Bytes) -> Result<Option<String>, TransportError> {
    let length = body.try_get_i16().map_err(not_a_response)?;
    let Ok(length) = usize::try_from(length) else { return Ok(None) };
    if length > body.remaining() {
        return Err(TransportError::malformed("a text is longer than the response"));
    }
    String::from_utf8(body.split_to(length).into()).map(Some).map_err(not_a_response)
}

/// The body of the response to a `SaslHandshake` of version 1: whether the mechanism is taken.
pub(super) fn decode_handshake(body: &mut Bytes) -> Result<ErrorCode, TransportError> {
    // The list of mechanisms behind the code is for people.
    let code = body.try_get_i16().map_err(not_a_response)?;
    Ok(ErrorCode(code))
}

/// The body of the response to a `SaslAuthenticate`.
pub(super) fn decode_authenticate(version: i16, body: &mut Bytes) -> Result<SaslAuthenticateResponse, TransportError> {
    SaslAuthenticateResponse::decode(body, version).map_err(not_a_response)
}

/// The version of the header of the response.
pub(super) fn response_header(key: i16, version: i16) -> i16 {
    match key {
        GET_TELEMETRY_SUBSCRIPTIONS => GetResponse::header_version(version),
        PUSH_TELEMETRY => PushResponse::header_version(version),
        METADATA => MetadataResponse::header_version(version),
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
        let header = take_header(&mut frame, response_header(key, version));
        read += usize::from(header.and_then(|_correlation| decode_telemetry(key, &mut frame)).is_ok());
    }
    for version in 0..=3 {
        read += usize::from(Versions::decode(version, &mut frame()).is_ok());
    }
    read += usize::from((1..=12).filter(|version| decode_brokers(*version, &mut frame()).is_ok()).count() > 0);
    for version in 0..=2 {
        read += usize::from(decode_authenticate(version, &mut frame()).is_ok());
    }
    read + usize::from(decode_handshake(&mut frame()).is_ok())
}

fn uuid(id: InstanceId) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*id.as_bytes())
}

fn not_a_response(error: impl std::fmt::Display) -> TransportError {
    TransportError::malformed(format_args!("{error:#}"))
}
