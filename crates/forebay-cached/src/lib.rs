#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod builder;
mod cached;
mod error;
mod fetch;
mod state;

pub use self::{
    builder::CachedBuilder,
    cached::{Cached, Fetched, Reading},
    error::{RefreshError, RefreshErrorKind},
};
/// What the builder takes and the errors are, so that this crate is one line in a `Cargo.toml`.
pub use forebay_core::{BoxError, ConfigError, Verdict};
