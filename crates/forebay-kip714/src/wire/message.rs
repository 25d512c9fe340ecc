use super::{ErrorCode, InstanceId};
use bytes::Bytes;

/// What a client asks of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TelemetryRequest {
    /// What do you want to know? API key 71.
    GetSubscriptions(GetTelemetrySubscriptionsRequest),
    /// Here it is. API key 72.
    Push(PushTelemetryRequest),
}

/// The response of a broker; the kind is that of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TelemetryResponse {
    /// The response to [`GetSubscriptions`](TelemetryRequest::GetSubscriptions).
    GetSubscriptions(GetTelemetrySubscriptionsResponse),
    /// The response to [`Push`](TelemetryRequest::Push).
    Push(PushTelemetryResponse),
}

/// `GetTelemetrySubscriptions` request, version 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GetTelemetrySubscriptionsRequest {
    /// The client's id; nil the first time.
    pub client_instance_id: InstanceId,
}

/// `GetTelemetrySubscriptions` response, version 0; as it came, nothing is checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GetTelemetrySubscriptionsResponse {
    /// For how many milliseconds the broker wants no request.
    pub throttle_time_ms: i32,
    /// Whether it went well.
    pub error_code: ErrorCode,
    /// The client's id, assigned if the request had none.
    pub client_instance_id: InstanceId,
    /// Names what is asked for here; to be sent with each push.
    pub subscription_id: i32,
    /// Compression types, the preferred one first.
    pub accepted_compression_types: Vec<i8>,
    /// Milliseconds between two pushes.
    pub push_interval_ms: i32,
    /// The largest payload the broker takes, in bytes after compression.
    pub telemetry_max_bytes: i32,
    /// Whether sums are to be sent as what was added since the last push.
    pub delta_temporality: bool,
    /// Prefixes of the names of the metrics that are wanted.
    pub requested_metrics: Vec<String>,
}

/// `PushTelemetry` request, version 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PushTelemetryRequest {
    /// The client's id.
    pub client_instance_id: InstanceId,
    /// The subscription that this push serves.
    pub subscription_id: i32,
    /// Whether it is the last one.
    pub terminating: bool,
    /// How `metrics` is compressed.
    pub compression_type: i8,
    /// A `MetricsData` of OTLP, compressed; empty if nothing matched.
    pub metrics: Bytes,
}

/// `PushTelemetry` response, version 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushTelemetryResponse {
    /// For how many milliseconds the broker wants no request.
    pub throttle_time_ms: i32,
    /// Whether it went well.
    pub error_code: ErrorCode,
}
