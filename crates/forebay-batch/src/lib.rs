#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod batch_queue;
mod batching;
mod bisect;
mod builder;
mod error;
mod fates;
pub mod future;
mod handle;
mod in_flight;
mod items;
mod knobs;
mod layer;
mod limit;
mod lookup;
mod next;
mod open;
mod parking;
mod pending;
mod recovery;
mod request;
mod respond;
mod resting;
mod router;
mod scheduler;
mod service;
mod settle;
mod shared;
mod shutdown;
mod sizes;
mod spooling;
mod trace;
mod waiters;
mod waits;
mod worker;

#[doc(inline)]
pub use forebay_core::adaptive::{Adaptive, AdaptiveBuilder};
#[doc(inline)]
pub use forebay_core::{
    BoxError, ByFootprint, ConfigError, Deadline, DeadlineOf, DropReason, Fate, Footprint, Priority, Settle,
    SettleByVerdict, Settlement, SizeOf, Totals, Unkeyed, Verdict, Weigh,
};
#[doc(inline)]
pub use forebay_intake::{
    Abandoned, AllNormal, ByteBudget, Description, DrainReport, Evicted, Expired, Flush, IntakeHandle, Limits, Offer,
    Overflow, Panicked, PriorityOf, Rejected,
};

pub use self::{
    batching::{Batching, MaxInFlight},
    builder::BatchBuilder,
    error::{BatchFailed, Discarded, Misaligned, NotReady, Unmatched},
    future::{EmitOrWait, ResponseFuture},
    handle::BatchHandle,
    items::Items,
    layer::BatchLayer,
    lookup::{Lookup, LookupFuture},
    request::{IntoRequest, Owned, Retained},
    respond::{Elements, ItemFates, PerItem, PerKey, Respond, SharedResponse, WrapInner},
    service::Batch,
    spooling::{SpoolFuture, SpoolItems},
    worker::Worker,
};
