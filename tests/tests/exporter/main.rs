//! The whole exporter against a real server that misbehaves, and against a client that is a function.

#![expect(clippy::unwrap_used, reason = "test code")]

mod auth;
mod control;
mod delivery;
mod hints;
mod host;
mod limits;
mod refused;
mod shutdown;
mod statuses;
mod support;
