use crate::{
    origin::{AsResource, AsScope},
    wire::{Field, Message},
};
use std::fmt;

/// One of the three kinds of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

/// Names a [`Signal`] in the type of an [`Encoder`](crate::Encoder); sealed.
pub trait SignalKind: sealed::Sealed + Send + Sync + 'static {
    /// Which one it is.
    const SIGNAL: Signal;
}

/// The kind of encoder whose items are log records.
#[derive(Clone, Copy, Debug)]
pub enum Logs {}

/// The kind of encoder whose items are spans.
#[derive(Clone, Copy, Debug)]
pub enum Traces {}

/// The kind of encoder whose items are metrics.
#[derive(Clone, Copy, Debug)]
pub enum Metrics {}

/// Writes a `T` as an item of this signal.
pub(crate) trait WriteItem<T>: SignalKind {
    /// The kind of message.
    type Item;

    fn write<M: Message<Kind = Self::Item>>(item: &T, message: &mut M);
    fn scope(item: &T) -> Option<impl AsScope>;
    fn resource(item: &T) -> Option<impl AsResource>;
}

/// The messages around the items of a request; all three signals number them alike.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    /// `ExportLogsServiceRequest.resource_logs`
    pub(crate) resources: Field,
    /// `ResourceLogs.scope_logs`
    pub(crate) scopes: Field,
    /// `ScopeLogs.log_records`
    pub(crate) items: Field,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Logs {}
    impl Sealed for super::Traces {}
    impl Sealed for super::Metrics {}
}

// === impl Kind ===

impl SignalKind for Logs {
    const SIGNAL: Signal = Signal::Logs;
}

impl SignalKind for Traces {
    const SIGNAL: Signal = Signal::Traces;
}

impl SignalKind for Metrics {
    const SIGNAL: Signal = Signal::Metrics;
}

// === impl Signal ===

impl Signal {
    /// The name of the signal, in lower case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Logs => "logs",
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }

    /// The path of the signal over HTTP, which is appended to that of the base endpoint.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Logs => "/v1/logs",
            Self::Traces => "/v1/traces",
            Self::Metrics => "/v1/metrics",
        }
    }

    /// The path of the gRPC method of the signal.
    #[must_use]
    pub const fn grpc_method(self) -> &'static str {
        match self {
            Self::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Self::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Self::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    pub(crate) const fn envelope(self) -> Envelope {
        let (resources, scopes, items) = match self {
            Self::Logs => (",\"resourceLogs\":", ",\"scopeLogs\":", ",\"logRecords\":"),
            Self::Traces => (",\"resourceSpans\":", ",\"scopeSpans\":", ",\"spans\":"),
            Self::Metrics => (",\"resourceMetrics\":", ",\"scopeMetrics\":", ",\"metrics\":"),
        };
        Envelope { resources: Field::new(1, resources), scopes: Field::new(2, scopes), items: Field::new(2, items) }
    }

    /// The member of a partial success that has the number of refused items.
    pub(crate) const fn rejected_key(self) -> &'static str {
        match self {
            Self::Logs => "rejectedLogRecords",
            Self::Traces => "rejectedSpans",
            Self::Metrics => "rejectedDataPoints",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
