#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod answer;
mod batching;
mod builder;
mod callers;
mod delivery;
mod describe;
mod desk;
mod error;
mod fates;
mod flight;
pub mod future;
mod handle;
mod items;
mod layer;
mod lookup;
mod lot;
mod open;
mod pack;
mod recovery;
mod service;
mod shared;
mod sizes;
mod split;
mod state;
mod trace;
mod trouble;
mod worker;

#[doc(inline)]
pub use forebay_intake::{
    Abandoned, AllNormal, DrainReport, Evicted, Expired, Flush, IntakeHandle, Limits, Offer, Overflow, Panicked,
    PriorityOf, Rejected,
};

pub use self::{
    answer::{Answer, Around, Elements, Fates, Scattered, ScatteredBy, Shared},
    batching::Batching,
    builder::BatchBuilder,
    error::{BatchFailed, Discarded, Misaligned, NotReady, Unmatched},
    future::{EmitOrWait, ResponseFuture},
    handle::BatchHandle,
    items::Items,
    layer::BatchLayer,
    lookup::{Lookup, LookupFuture},
    pack::{ByValue, Kept, Pack},
    service::Batch,
    worker::Worker,
};
