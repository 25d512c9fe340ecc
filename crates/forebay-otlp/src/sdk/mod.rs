//! Drop-ins for the OpenTelemetry SDK of Rust.
//!
//! | in place of | | what goes over to the sending thread |
//! | --- | --- | --- |
//! | `BatchLogProcessor` | [`ForebayLogProcessor`] | the record, encoded; or the record itself |
//! | `BatchSpanProcessor` | [`ForebaySpanProcessor`] | the span |
//! | `MetricExporter` of opentelemetry-otlp | [`ForebayMetricExporter`] | the metrics, and what could not be sent before |
//! | the HTTP client of opentelemetry-otlp | `ForebayHttpClient` | the request |
//!
//! # Logs of `tracing`
//!
//! They come here through `opentelemetry-appender-tracing`, and not through a layer of our own: that layer is kept in step
//! with the SDK, fills the records that [`ForebayLogProcessor`] encodes in one pass, and asks the SDK whether telemetry is
//! suppressed before it does so. A second one would have to do the same, and could not be faster than it by more than the
//! record that the SDK builds on the stack. So what is left to us is to suppress: see [`ForebayLogProcessor`].

mod background;
mod builder;
mod convert;
mod encode;
mod exponential;
#[cfg(feature = "opentelemetry-http")]
mod http_client;
mod logs;
mod merge;
mod metrics;
mod origin;
mod pen;
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
