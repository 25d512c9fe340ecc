// The programs of the page need what the page says that they need; they are tested where that is there.
#![cfg_attr(any(not(doctest), feature = "opentelemetry"), doc = include_str!("../README.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod batch;
mod builder;
#[cfg(feature = "collect")]
mod collect;
mod encoder;
mod environment;
mod exporter_builder_ext;
mod footprint;
mod group;
mod json;
mod logs;
mod metrics;
mod origin;
mod protobuf;
mod protocol;
#[cfg(feature = "opentelemetry")]
#[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry")))]
pub mod sdk;
mod section;
mod settle;
mod signal;
mod size;
mod time;
mod traces;
mod value;
mod wire;

pub use self::{
    builder::EncoderBuilder,
    encoder::{Encoder, LogsEncoder, MetricsEncoder, NothingEncodable, TracesEncoder},
    environment::Environment,
    exporter_builder_ext::ExporterBuilderExt,
    logs::{AsLogRecord, LogRecord, LogRecordWriter, Severity},
    metrics::{
        AsMetric, Buckets, Exemplar, ExemplarWriter, ExponentialHistogramPoint, ExponentialHistogramPointWriter,
        ExponentialHistogramWriter, GaugeWriter, HistogramPoint, HistogramPointWriter, HistogramWriter, Metric,
        MetricData, MetricWriter, Number, NumberPoint, NumberPointWriter, Quantile, SumWriter, SummaryPoint,
        SummaryPointWriter, SummaryWriter, Temporality,
    },
    origin::{AsResource, AsScope, Resource, Scope},
    protocol::{Protocol, UnknownProtocol},
    settle::{OtlpEvent, Unreadable},
    signal::{Logs, Metrics, Signal, SignalKind, Traces},
    time::unix_nanos,
    traces::{
        AsSpan, Span, SpanEvent, SpanEventWriter, SpanKind, SpanLink, SpanLinkWriter, SpanStatus, SpanWriter,
        StatusCode, span_flags,
    },
    value::{AnyValue, ArrayWriter, AsValue, AttributesWriter, KeyValue, MAX_DEPTH, ValueWriter},
};
// What the builders take and what the events and errors contain, so that this crate is one line in a `Cargo.toml`.
pub use forebay_core::{BoxError, ConfigError, Observe, Settlement, Totals, Verdict};
pub use forebay_export::{
    BodyTooLarge, ByteBudget, Compression, Encode, Endpoint, Exporter, ExporterBuilder, Framing, ServerText, Skipped,
};
