//! Ready-made sources.

#[cfg(feature = "opentelemetry")]
mod opentelemetry;
#[cfg(feature = "metrics")]
mod recorder;

#[cfg(feature = "opentelemetry")]
pub use self::opentelemetry::OpenTelemetrySource;
#[cfg(feature = "metrics")]
pub use self::recorder::{Recorder, RecorderBuilder};
