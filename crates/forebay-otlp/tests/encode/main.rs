//! Everything that is encoded is checked against `opentelemetry-proto`.

#![expect(clippy::unwrap_used, reason = "test code")]

mod any;
mod body;
mod depth;
mod json_rules;
mod order;
mod origins;
mod round_trip;
