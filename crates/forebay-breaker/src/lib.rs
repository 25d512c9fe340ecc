#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod builder;
mod check;
mod classify;
mod clock;
mod core;
mod directory;
mod error;
mod event;
pub mod future;
mod handle;
mod key;
mod label;
mod layer;
mod open_for;
mod policy;
mod recent;
mod ring;
mod service;
mod slot;
mod snapshot;
mod state;
mod status;
mod stripe;
mod sync;
mod trace;
mod trip;
mod window;
mod word;

#[cfg(test)]
mod tests;

#[cfg(feature = "http")]
pub use self::builder::{ByAuthority, HttpBreakerBuilder};
pub use self::{
    builder::{BreakerBuilder, ByDefault, Chosen},
    classify::{Cancelled, Excluding, ExcludingTerminal},
    error::CircuitOpen,
    event::{BreakerEvent, OVERFLOW},
    handle::BreakerHandle,
    key::{ByKey, KeySource},
    label::KeyLabel,
    layer::BreakerLayer,
    open_for::{OpenFor, Ramp},
    service::Breaker,
    snapshot::{KeyStatus, Overflow, Snapshot, Status, WindowStatus},
    status::{Mode, Reason, State},
    trip::{RatioTrip, Trip},
};
