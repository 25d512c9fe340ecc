#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod answers;
mod channel;
mod charges;
mod control;
mod drained;
mod emit;
mod fifo;
pub mod future;
mod in_hand;
mod job;
mod lanes;
mod layer;
mod parked;
mod receive;
mod runs;
mod service;
mod shared;
mod state;
mod trace;
mod worker;

#[doc(inline)]
pub use forebay_intake::{
    Abandoned, AllNormal, DrainReport, Evicted, Expired, Flush, IntakeHandle as QueueHandle, Limits, Offer, Overflow,
    Panicked, PriorityOf, Rejected,
};

pub use self::{
    channel::{ChannelBuilder, Received, Receiver, Sender, Slot, channel},
    drained::Drained,
    emit::EmitOrWait,
    future::ResponseFuture,
    layer::{QueueBuilder, QueueLayer},
    service::Queue,
    worker::Worker,
};
