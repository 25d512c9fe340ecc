//! Processors and exporters for the OpenTelemetry SDK of Rust.
//!
//! | in place of | use | what is handed to the sending thread |
//! | --- | --- | --- |
//! | `BatchLogProcessor` | [`ForebayLogProcessor`] | the record, encoded; or the record itself |
//! | `BatchSpanProcessor` | [`ForebaySpanProcessor`] | the span |
//! | `MetricExporter` of opentelemetry-otlp | [`ForebayMetricExporter`] | the metrics, and those that could not be sent before |
//! | the HTTP client of opentelemetry-otlp | `ForebayHttpClient` | the request |
//!
//! # Logs of `tracing`
//!
//! They arrive through `opentelemetry-appender-tracing`, and not through a layer of this crate: that layer follows the SDK, fills
//! the records that [`ForebayLogProcessor`] encodes in one pass, and asks the SDK first whether telemetry is suppressed. A second
//! layer would have to do the same, and could save only the record that the SDK builds on the stack. This crate suppresses the
//! telemetry of its own thread: see [`ForebayLogProcessor`].

mod background;
mod builder;
mod convert;
mod encode;
mod environment;
mod exponential;
#[cfg(feature = "opentelemetry-http")]
mod http_client;
mod logs;
mod merge;
mod metrics;
mod origin;
mod record_writer;
mod spans;
mod thread;
mod values;

#[cfg(feature = "opentelemetry-http")]
#[cfg_attr(docsrs, doc(cfg(feature = "opentelemetry-http")))]
pub use self::http_client::ForebayHttpClient;
pub use self::{
    builder::ProcessorBuilder,
    logs::{ForebayLogProcessor, SdkLog, TakenSdkLog},
    metrics::{ForebayMetricExporter, SdkMetric},
    spans::{ForebaySpanProcessor, SdkSpan},
};
