#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod answers;
mod channel;
mod describe;
mod drained;
pub mod future;
mod handle;
mod job;
mod lanes;
mod layer;
mod limits;
mod offer;
mod overflow;
#[cfg(feature = "http")]
mod refusal;
mod rejected;
mod service;
mod shared;
mod state;
mod sync;
mod wait;
mod worker;

pub use self::{
    admission::{Admission, Charge, Epoch},
    channel::{Channel, Received, Receiver, Sender, Sending, Slot, channel},
    describe::{AllNormal, Describe, Description, PriorityOf},
    drained::Drained,
    future::ResponseFuture,
    handle::{DrainReport, Flush, QueueHandle},
    lanes::Turn,
    layer::{QueueBuilder, QueueLayer},
    limits::Limits,
    offer::Offer,
    overflow::Overflow,
    rejected::{Abandoned, Evicted, Expired, Panicked, Rejected},
    service::Queue,
    wait::{Ticket, WaitLine},
    worker::Worker,
};
