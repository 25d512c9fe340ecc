#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod acquire;
mod bounds;
mod builder;
mod cached;
mod circle;
mod close;
mod edge;
mod error;
mod event;
mod flight;
mod hub;
mod key;
mod lease;
mod make;
mod panics;
mod registry;
mod service;
mod snapshot;
mod sweep;
mod sync;
mod table;
mod trace;
mod wait;

pub use self::{
    acquire::{Acquire, Replace},
    builder::{ClientMaker, RegistryBuilder, WhenFull},
    cached::{Cached, CachedBuilder, Fetched, Reading, RefreshError, RefreshErrorKind},
    error::{AcquireError, AcquireErrorKind, CloseEnd, CloseOutput, Declined},
    event::{CloseReason, Event},
    key::{EndpointError, EndpointKey, Endpoints, EndpointsBuilder, Identity},
    lease::{Lease, LeaseEnd},
    make::{MakeFuture, RegistryLayer, RegistryMake},
    registry::Registry,
    service::{LeasedFuture, LeasedService},
    snapshot::{CloseReport, Counts, EntryInfo, EntryState, Snapshot},
};
