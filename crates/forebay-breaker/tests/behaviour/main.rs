//! What the breaker does, by tokio's paused clock. The ids in the names are those of the family's conformance list.

#![expect(clippy::panic, clippy::unwrap_used, reason = "test code")]

mod far;

mod durations;
mod handle;
#[cfg(feature = "http")]
mod http;
mod keys;
mod knobs;
mod probes;
#[cfg(feature = "reqwest")]
mod reqwest;
mod results;
mod rivals;
mod run;
mod spread;
mod states;
mod windows;
