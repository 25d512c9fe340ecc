//! Arbitrary items, and what `opentelemetry-proto` makes of the same.

pub(crate) mod logs;
pub(crate) mod metrics;
pub(crate) mod traces;
pub(crate) mod values;
