//! Runnable stories of forebay; what several of them share, and what is worth a test, stands here.

#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

pub mod client;
pub mod driver;
pub mod export_story;
pub mod gateway;
pub mod kafka;
pub mod reporter;
pub mod server;
pub mod ship;
pub mod stop;
pub mod usage;
