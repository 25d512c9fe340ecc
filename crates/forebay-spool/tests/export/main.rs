//! An exporter with a spool: what could not be delivered survives, and what it counts is true. In virtual time, on a disk that
//! is simulated, so that no test waits for a thread.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

mod harness;
mod overflow;
mod replay;
#[expect(clippy::allow_attributes, reason = "what one test leaves unused another uses")]
#[path = "../support/mod.rs"]
mod support;
mod write_ahead;
