//! forebay against the real OpenTelemetry Collector: `just interop` builds it, and runs this.
//!
//! No part of `cargo test`, because it needs Go and the modules of the Collector. `FOREBAY_COLLECTOR` names the Collector,
//! `FOREBAY_SHIP`, `FOREBAY_REPORTER` and `FOREBAY_GATEWAY` the examples.
#![expect(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "test code")]

#[path = "../../crates/forebay-otlp/tests/encode/any/mod.rs"]
mod any;
mod collector;
mod contents;
mod lifecycle;
mod normal;
mod sdk;
mod ship;
mod systems;
mod tee;
