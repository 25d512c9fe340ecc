#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod attempt;
mod backoff;
mod budget;
mod deadline;
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
mod limits;
mod policy;
mod rules;
mod service;
mod session;
mod throttle;
mod trace;

pub use self::{
    attempt::Attempt,
    backoff::{Backoff, Delays, Jitter},
    budget::{Budget, BudgetBuilder},
    deadline::Deadline,
    error::{GaveUp, RetriesExhausted, Throttled, Why},
    event::Event,
    layer::RetryLayer,
    policy::{Cloned, Narrowing, Policy, Priced},
    service::Retry,
    throttle::{Gate, Keyed, Throttle, ThrottleBuilder},
};
