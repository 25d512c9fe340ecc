#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod attempt;
mod attempts;
mod backoff;
mod budget;
mod builder;
mod error;
mod event;
pub mod future;
#[cfg(feature = "grpc")]
#[cfg_attr(docsrs, doc(cfg(feature = "grpc")))]
pub mod grpc;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod layer;
#[cfg(not(feature = "grpc"))]
mod missing_feature;
pub mod policy;
mod rules;
mod run;
mod service;
mod session;
mod throttle;
mod trace;

pub use self::{
    attempt::Attempt,
    backoff::{Backoff, Delays, Jitter},
    budget::{Budget, BudgetBuilder, Withdrawal},
    builder::RetryBuilder,
    error::{AnotherServer, GaveUp, RetriesExhausted, StopReason, Throttled},
    event::RetryEvent,
    layer::RetryLayer,
    policy::Policy,
    service::Retry,
    throttle::{Throttle, ThrottleBuilder},
};
/// What the builders take and the errors are, so that this crate is one line in a `Cargo.toml`.
pub use forebay_core::{
    BoxError, Boxed, ByCause, ByError, Classify, ConfigError, Deadline, KeyOf, Observe, Outcome, Seen, Unkeyed,
    Verdict, by_cause,
};
