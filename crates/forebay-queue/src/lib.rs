#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod call;
mod caller;
mod channel;
mod control;
mod drained;
mod emit;
mod entry;
mod fifo;
pub mod future;
mod in_hand;
mod lanes;
mod layer;
#[cfg(not(loom))]
mod own_service;
mod parked;
mod pass;
mod receive;
mod replies;
mod routed;
mod runs;
mod service;
mod shared;
mod shared_queue;
mod slots;
mod state;
mod trace;
mod worker;

#[doc(no_inline)]
pub use forebay_core::adaptive::{Adaptive, AdaptiveBuilder};
#[doc(no_inline)]
pub use forebay_core::{
    BoxError, ByFootprint, ConfigError, Deadline, DeadlineOf, DropReason, Fate, Footprint, KeyOf, Priority, Settle,
    SettleByVerdict, Settlement, Totals, Unkeyed, Verdict, Weigh,
};
#[doc(inline)]
pub use forebay_intake::{
    Abandoned, AllNormal, ByteBudget, DrainReport, Evicted, Expired, Flush, IntakeHandle as QueueHandle, Limits, Offer,
    Overflow, Panicked, PriorityOf, Rejected, Shed,
};

pub use self::{
    channel::{ChannelBuilder, Received, Receiver, Sender, SlotGuard, channel},
    drained::Drained,
    emit::EmitOrWait,
    future::{ResponseFuture, SharedResponseFuture},
    layer::{QueueBuilder, QueueLayer},
    pass::Workers,
    service::Queue,
    shared_queue::{SharedQueue, SharedQueueLayer},
    worker::Worker,
};
