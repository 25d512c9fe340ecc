#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod adaptive;
mod error;
pub mod future;
mod gate;
mod handle;
mod layer;
mod limiter;
mod service;
mod window;

pub use self::{
    adaptive::{Adaptive, AdaptiveBuilder},
    error::LimitReached,
    handle::LimitHandle,
    layer::{ByDefault, Chosen, LimitBuilder, LimitLayer},
    limiter::{Limiter, Sample},
    service::Limit,
};
