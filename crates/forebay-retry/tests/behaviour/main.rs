//! What a caller of the retry layer sees, by subject.

mod backoff;
mod cost;
mod differential;
mod durations;
mod fleet;
mod foreign;
#[cfg(feature = "grpc")]
mod grpc;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "grpc")]
mod idempotent;
mod laws;
mod reentrant;
#[cfg(feature = "http")]
mod replay;
#[cfg(feature = "reqwest")]
mod reqwest;
mod retry;
mod rivals;
mod run;
mod support;
mod throttle;
