// The programs of the page need what the page says that they need; they are tested where that is there.
#![cfg_attr(any(not(doctest), feature = "receiver"), doc = include_str!("../README.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![expect(clippy::panic, clippy::expect_used, reason = "a broken law panics: this crate is test code")]

pub mod breaker;
#[cfg(feature = "databricks")]
#[cfg_attr(docsrs, doc(cfg(feature = "databricks")))]
pub mod databricks;
#[cfg(feature = "events")]
#[cfg_attr(docsrs, doc(cfg(feature = "events")))]
pub mod events;
#[cfg(feature = "kafka")]
#[cfg_attr(docsrs, doc(cfg(feature = "kafka")))]
pub mod kafka;
pub mod laws;
pub mod load;
mod probe;
#[cfg(feature = "receiver")]
#[cfg_attr(docsrs, doc(cfg(feature = "receiver")))]
pub mod receiver;
mod reentrant;
mod stats;

pub use self::{
    probe::{Probe, ProbeFuture, Watch},
    reentrant::Reentrant,
    stats::Histogram,
};

/// A boxed error, as the rest of the Tower ecosystem spells it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
