#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod acquire;
mod bounds;
mod builder;
mod close;
mod edge;
mod error;
mod event;
mod flight;
mod hub;
mod lease;
mod panics;
mod registry;
mod snapshot;
mod sweep;
mod sync;
mod table;
mod wait;

pub use self::{
    acquire::{Acquire, Replace},
    builder::{RegistryBuilder, WhenFull},
    error::{AcquireError, AcquireErrorKind, CloseEnd, CloseOutput, Declined},
    event::{CloseReason, Event},
    lease::{Lease, LeaseEnd},
    registry::Registry,
    snapshot::{CloseReport, Counts, EntryInfo, EntryState, Snapshot},
};
