//! Drop-ins for the OpenTelemetry SDK of Rust.

mod background;
mod builder;
mod convert;
mod encode;
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
    logs::{ForebayLogProcessor, SdkLog},
    metrics::{ForebayMetricExporter, SdkMetric},
    spans::{ForebaySpanProcessor, SdkSpan},
};
