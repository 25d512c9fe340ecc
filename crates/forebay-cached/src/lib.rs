#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod builder;
mod cached;
mod clock;
mod error;
mod fetch;
mod state;

pub use self::{
    builder::CachedBuilder,
    cached::{Cached, Fetched, Reading},
    error::{RefreshError, RefreshErrorKind},
};
