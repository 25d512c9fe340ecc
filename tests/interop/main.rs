//! forebay against the real OpenTelemetry Collector: `just interop` builds it, and runs this.
//!
//! No part of `cargo test`, because it needs Go and the modules of the Collector. `FOREBAY_COLLECTOR` names the Collector,
//! and `FOREBAY_SHIP` the example that ships files.
#![expect(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "test code")]

#[path = "../../crates/forebay-otlp/tests/encode/any/mod.rs"]
mod any;
mod collector;
mod contents;
mod lifecycle;
mod normal;
mod sdk;
mod ship;
mod tee;
