//! The gateway as its users meet it: over HTTP and gRPC, with a sink that is slow, fails, panics or hangs.

#![expect(clippy::unwrap_used, reason = "test code")]

mod admission;
mod answers;
mod durations;
mod json;
mod letters;
mod lifetime;
mod process;
mod sinks;
mod support;
