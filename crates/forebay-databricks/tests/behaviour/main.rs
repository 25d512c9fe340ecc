//! What a driver sees of its telemetry, by subject.

mod close;
#[path = "../common/mod.rs"]
mod common;
mod export;
mod flag;
mod hosts;
mod keys;
mod service;
mod sockets;
mod wire;
