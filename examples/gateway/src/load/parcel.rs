//! What is sent.

use bytes::Bytes;
use forebay::otlp::Signal;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Healthy,
    Failed,
    Slow,
}

/// One batch, ready to be sent as often as it takes.
pub(crate) struct Parcel {
    pub(crate) kind: Kind,
    pub(crate) signal: Signal,
    pub(crate) body: Bytes,
}

/// Spans of a batch of traces.
const SPANS: u64 = 10;

// === impl Parcel ===

impl Parcel {
    /// After so many batches the kinds repeat.
    pub(crate) const ROUND: u64 = 40;

    /// The `n`-th batch of its sender; `id` is no other batch's.
    pub(crate) fn new(id: u64, n: u64) -> Self {
        let kind = match n % Self::ROUND {
            7 => Kind::Failed,
            27 => Kind::Slow,
            _ => Kind::Healthy,
        };
        let (signal, body) = match (kind, n % 5) {
            (Kind::Healthy, 3) => (Signal::Logs, logs()),
            (Kind::Healthy, 4) => (Signal::Metrics, metrics()),
            _ => (Signal::Traces, traces(kind, id)),
        };
        Self { kind, signal, body: body.into() }
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("service.name", "shop")], ..Resource::default() })
}

fn traces(kind: Kind, id: u64) -> Vec<u8> {
    const MILLISECOND: u64 = 1_000_000;
    let begin = 1_700_000_000_000 * MILLISECOND;
    let span = |n: u64| {
        // The first span is what its batch is about.
        let of = if n == 0 { kind } else { Kind::Healthy };
        let took = if of == Kind::Slow { 2_000 } else { 3 };
        Span {
            trace_id: (u128::from(id) << 8 | 1).to_be_bytes().to_vec(),
            span_id: (id << 8 | (n + 1)).to_be_bytes().to_vec(),
            name: "GET /basket/{id}".to_owned(),
            kind: 2,
            start_time_unix_nano: begin,
            end_time_unix_nano: begin + took * MILLISECOND,
            attributes: vec![attribute("http.request.method", "GET"), attribute("url.path", "/basket/4711")],
            status: (of == Kind::Failed).then(|| Status { code: 2, message: "the database is gone".to_owned() }),
            ..Span::default()
        }
    };
    let scope_spans = vec![ScopeSpans { spans: (0..SPANS).map(span).collect(), ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn logs() -> Vec<u8> {
    let body = Some(AnyValue { value: Some(Value::StringValue("GET /basket/4711 200 in 3 ms".to_owned())) });
    let record = LogRecord { severity_number: 9, body, time_unix_nano: 1, ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record; 10], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn metrics() -> Vec<u8> {
    let value = Some(number_data_point::Value::AsDouble(0.5));
    let point = NumberDataPoint { time_unix_nano: 1, value, ..NumberDataPoint::default() };
    let data = Some(Data::Gauge(Gauge { data_points: vec![point; 10] }));
    let metric = Metric { name: "process.cpu.utilization".to_owned(), data, ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}
