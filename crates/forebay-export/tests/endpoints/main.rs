//! An exporter with several endpoints: what moves, what stays, and what no endpoint learns of another.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test code")]

mod balance;
mod config;
mod dns;
mod failover;
mod isolation;
mod live;
mod outage;
mod servers;
mod spooled;
mod tuned;
