//! The gateway as its users meet it: over HTTP and gRPC, with a sink that is slow, fails, panics or hangs.

#![expect(clippy::unwrap_used, reason = "test code")]

mod admission;
mod alerts;
mod crash;
mod durable;
mod durations;
mod json;
mod knobs;
mod letters;
mod lifetime;
mod process;
mod responses;
mod retention;
mod sinks;
mod support;
mod tls;
