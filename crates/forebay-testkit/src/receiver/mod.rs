//! A real OTLP server, HTTP and gRPC, that decodes, records, and misbehaves on demand.
//!
//! ```text
//!            ┌───────────────────────── Receiver ──────────────────────────┐
//!  request ─►│ n-th to arrive ─► n-th draw ─► read ─► rules ─► records kept │─► response, or what a Fault makes of it
//!            │                   (Faults)             401 404 405 400       │
//!            │                                        413 415 partial       │
//!            └──────────────┬──────────────────────────────┬────────────────┘
//!                    script, seed, set_faults        requests, logs, count, audit
//! ```

mod body;
mod bomb;
mod builder;
mod connection;
mod encoding;
mod exchange;
mod fault;
mod faults;
mod grpc;
mod handle;
mod json;
mod log;
mod names;
mod payload;
mod plan;
mod received;
mod response;
mod rules;
mod schema;
mod server;
mod store;
mod tally;
mod ticket;
mod wire;
mod words;

/// The messages of OTLP, as `opentelemetry-proto` generates them.
pub use self::json::{Read, read_json};
pub use self::{
    builder::ReceiverBuilder,
    fault::{Fault, ResetWhen, RetryAfter},
    faults::{Faults, FaultsError},
    handle::Receiver,
    log::Log,
    payload::{Payload, Signal},
    received::{Disposition, Received},
    store::{Keep, Totals},
    tally::{Audit, Count},
};
pub use opentelemetry_proto::tonic as proto;
