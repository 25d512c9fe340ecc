//! An OTLP gateway: takes telemetry from many senders, keeps what matters when there is too much, and never loses any of it
//! without saying so.
//!
//! ```text
//!  OTLP/HTTP ─┐                                    ┌─ panics and errors ─► spool ───────► replay ─┐
//!             ├─► decode ─► priority ─► Queue ─► workers ─► sink: SQLite, or another OTLP endpoint ◄┘
//!  OTLP/gRPC ─┘                           │
//!        ◄── 200, partial success, 429 ◄──┘ soft limit, share of a tenant, full
//! ```

mod batch;
mod clock;
mod config;
mod connections;
mod expansion;
mod guarded;
mod inspect;
mod intake;
mod ledgers;
pub mod load;
pub mod measure;
mod meters;
mod metrics;
pub mod options;
mod receive;
pub mod run;
mod server;
pub mod sink;
mod spool;
mod summary;

pub use self::{
    batch::{Batch, BatchId, Facts},
    config::{Config, SoftRefusal, SpoolConfig},
    ledgers::{Page, SIGNALS, signal_name},
    server::{Gateway, StartError},
    spool::{Drained, Level, Pace, Recovered},
    summary::Summary,
};
