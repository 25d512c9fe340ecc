#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod admission;
mod admitted;
mod builder;
mod call;
mod check;
mod classify;
mod core;
mod decision;
mod directory;
mod emit;
mod env;
mod error;
mod event;
mod fast_path;
pub mod future;
mod gauge;
mod handle;
mod key;
mod knobs;
mod label;
mod layer;
#[cfg(not(feature = "http"))]
mod missing_feature;
mod observation;
mod open_for;
mod policy;
mod recent;
mod refusal;
mod ring;
mod rule;
mod run;
mod service;
mod settling;
mod slot;
mod snapshot;
mod state;
mod status;
mod trip;
mod window;
mod word;

#[cfg(test)]
mod tests;

#[cfg(feature = "http")]
pub use forebay_core::http::{Classifier, Preset};
/// What the builder takes and the errors are, so that this crate is one line in a `Cargo.toml`.
pub use forebay_core::{
    BoxError, ByCause, ByError, Classify, ConfigError, Deadline, DeadlineOf, KeyOf, Observe, Outcome, Unkeyed, Verdict,
    by_cause,
};

#[cfg(feature = "http")]
pub use self::builder::{ByAuthority, HttpBreakerBuilder, HttpKeys};
pub use self::{
    builder::{BreakerBuilder, ByDefault, Choice, Chosen},
    classify::{Cancelled, Excluding},
    error::CircuitOpen,
    event::{BreakerEvent, OVERFLOW},
    handle::BreakerHandle,
    key::{ByDeadline, ByKey, KeySource},
    label::KeyLabel,
    layer::BreakerLayer,
    open_for::{OpenFor, Ramp},
    run::RunError,
    service::Breaker,
    snapshot::{KeyStatus, Overflow, Snapshot, Status, WindowStatus},
    status::{Mode, Reason, State},
    trip::{RatioTrip, Trip},
};
