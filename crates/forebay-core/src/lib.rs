#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

pub mod adaptive;
mod by_cause;
pub mod chance;
mod config;
mod deadline;
mod error;
mod fate;
mod footprint;
#[cfg(feature = "http")]
pub mod http;
mod key;
mod ledger;
#[cfg(feature = "limit")]
#[cfg_attr(docsrs, doc(cfg(feature = "limit")))]
pub mod limit;
mod observe;
mod outcome;
pub mod panic;
mod priority;
mod settle;
#[doc(hidden)]
pub mod single_flight;
#[doc(hidden)]
pub mod support;
pub mod time;
mod verdict;
mod weigh;

pub use self::{
    by_cause::{ByCause, by_cause},
    config::ConfigError,
    deadline::{Deadline, DeadlineOf},
    error::{AsError, BoxError, Boxed, Concrete, cause_ref, is_caused_by},
    fate::{DropReason, Fate},
    footprint::{Footprint, heap_block},
    key::{KeyOf, Unkeyed},
    ledger::{Drops, Ledger, Totals},
    observe::Observe,
    outcome::{ByError, Classify, Outcome},
    priority::Priority,
    settle::{ItemFate, Settle, SettleByVerdict, Settlement, SplitCause},
    verdict::{Advice, Seen, Verdict},
    weigh::{ByFootprint, SizeOf, Weigh},
};
