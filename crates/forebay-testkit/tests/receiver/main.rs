//! The receiver over real loopback HTTP: what it decodes, what it records, and how it misbehaves.

#![expect(clippy::unwrap_used, reason = "test code")]

mod ambiguity;
mod below_http;
mod grammar;
mod grpc;
mod lifetime;
mod malformed;
mod otlp;
mod refusals;
mod support;
