//! The drop-ins for the OpenTelemetry SDK, against a receiver that checks every request.
#![cfg(feature = "opentelemetry")]
#![expect(clippy::cast_possible_truncation, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod budget;
mod durations;
mod environment;
mod logs;
mod metrics;
mod spans;
mod support;
