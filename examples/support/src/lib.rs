//! What several of the examples share, each small enough to be read beside them.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

pub mod client;
#[cfg(feature = "server")]
pub mod server;
pub mod stop;
#[cfg(feature = "story")]
pub mod story;
pub mod usage;
