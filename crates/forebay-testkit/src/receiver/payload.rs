use super::proto::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    logs::v1::LogRecord,
    metrics::v1::{Metric, metric::Data},
    trace::v1::Span,
};
use prost::{DecodeError, Message};

/// One of the signals of OTLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Signal {
    /// `/v1/logs`
    Logs,
    /// `/v1/traces`
    Traces,
    /// `/v1/metrics`
    Metrics,
}

/// The decoded body of an OTLP request.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Payload {
    /// Log records.
    Logs(ExportLogsServiceRequest),
    /// Spans.
    Traces(ExportTraceServiceRequest),
    /// Metrics; their data points are the records.
    Metrics(ExportMetricsServiceRequest),
}

// === impl Signal ===

impl Signal {
    pub(super) fn at(path: &str) -> Option<Self> {
        [Self::Logs, Self::Traces, Self::Metrics].into_iter().find(|signal| signal.path() == path)
    }

    /// Where requests for it go.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    pub(super) fn of_grpc(path: &str) -> Option<Self> {
        [Self::Logs, Self::Traces, Self::Metrics].into_iter().find(|signal| signal.grpc_path() == path)
    }

    /// Where requests for it go over gRPC.
    #[must_use]
    pub const fn grpc_path(self) -> &'static str {
        match self {
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    /// The full name of the message that a request carries.
    pub(super) const fn message(self) -> &'static str {
        match self {
            Self::Logs => ".opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
            Self::Traces => ".opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
            Self::Metrics => ".opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
        }
    }
}

// === impl Payload ===

impl Payload {
    pub(super) fn decode(signal: Signal, protobuf: &[u8]) -> Result<Self, DecodeError> {
        Ok(match signal {
            Signal::Logs => Self::Logs(Message::decode(protobuf)?),
            Signal::Traces => Self::Traces(Message::decode(protobuf)?),
            Signal::Metrics => Self::Metrics(Message::decode(protobuf)?),
        })
    }

    /// Which signal it belongs to.
    #[must_use]
    pub fn signal(&self) -> Signal {
        match self {
            Self::Logs(_) => Signal::Logs,
            Self::Traces(_) => Signal::Traces,
            Self::Metrics(_) => Signal::Metrics,
        }
    }

    /// How many records it has: log records, spans, data points.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Logs(_) => self.log_records().count(),
            Self::Traces(_) => self.spans().count(),
            Self::Metrics(_) => self.metrics().map(points).sum(),
        }
    }

    /// Whether it has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its log records, none for another signal.
    pub fn log_records(&self) -> impl Iterator<Item = &LogRecord> {
        let logs = if let Self::Logs(logs) = self { logs.resource_logs.as_slice() } else { &[] };
        logs.iter().flat_map(|resource| &resource.scope_logs).flat_map(|scope| &scope.log_records)
    }

    /// Its spans, none for another signal.
    pub fn spans(&self) -> impl Iterator<Item = &Span> {
        let spans = if let Self::Traces(traces) = self { traces.resource_spans.as_slice() } else { &[] };
        spans.iter().flat_map(|resource| &resource.scope_spans).flat_map(|scope| &scope.spans)
    }

    /// Its metrics, none for another signal.
    pub fn metrics(&self) -> impl Iterator<Item = &Metric> {
        let metrics = if let Self::Metrics(metrics) = self { metrics.resource_metrics.as_slice() } else { &[] };
        metrics.iter().flat_map(|resource| &resource.scope_metrics).flat_map(|scope| &scope.metrics)
    }

    /// Leaves out the log records that `rejected` names.
    pub(super) fn reject_logs(&mut self, mut rejected: impl FnMut(&LogRecord) -> bool) {
        if let Self::Logs(logs) = self {
            let scopes = logs.resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs);
            scopes.for_each(|scope| scope.log_records.retain(|record| !rejected(record)));
        }
    }

    /// Leaves out all but the first `count` records.
    pub(super) fn keep_first(&mut self, count: usize) {
        let mut left = count;
        match self {
            Self::Logs(logs) => {
                let scopes = logs.resource_logs.iter_mut().flat_map(|resource| &mut resource.scope_logs);
                scopes.for_each(|scope| keep(&mut scope.log_records, &mut left));
            }
            Self::Traces(traces) => {
                let scopes = traces.resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans);
                scopes.for_each(|scope| keep(&mut scope.spans, &mut left));
            }
            Self::Metrics(metrics) => {
                let scopes = metrics.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
                scopes.flat_map(|scope| &mut scope.metrics).for_each(|metric| match &mut metric.data {
                    Some(Data::Gauge(gauge)) => keep(&mut gauge.data_points, &mut left),
                    Some(Data::Sum(sum)) => keep(&mut sum.data_points, &mut left),
                    Some(Data::Histogram(histogram)) => keep(&mut histogram.data_points, &mut left),
                    Some(Data::ExponentialHistogram(histogram)) => keep(&mut histogram.data_points, &mut left),
                    Some(Data::Summary(summary)) => keep(&mut summary.data_points, &mut left),
                    None => {}
                });
            }
        }
    }
}

fn keep<T>(records: &mut Vec<T>, left: &mut usize) {
    records.truncate(*left);
    *left -= records.len();
}

fn points(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    }
}
