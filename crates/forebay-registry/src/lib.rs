#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod acquire;
mod bounds;
mod builder;
mod close;
mod error;
mod event;
mod inner;
mod lease;
mod make;
mod registry;
mod runtime;
mod service;
mod settings;
mod snapshot;
mod sweep;
mod table;
mod trace;
mod wait;

pub use self::{
    acquire::Acquire,
    builder::{ClientMaker, RegistryBuilder, WhenFull},
    error::{AcquireError, AcquireErrorKind, CloseEnd, CloseOutput, Declined},
    event::{CloseReason, RegistryEvent},
    lease::{Lease, LeaseEnd},
    make::{MakeFuture, RegistryLayer, RegistryMake},
    registry::Registry,
    service::{LeasedFuture, LeasedService},
    snapshot::{CloseReport, Counts, EntryInfo, EntryState, Snapshot},
};
/// What the builder takes and the errors are, so that this crate is one line in a `Cargo.toml`.
pub use forebay_core::{BoxError, ConfigError, Observe, Verdict, panic::Panic};
