#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod admission;
#[cfg(not(loom))]
mod alarm;
mod answers;
mod channel;
mod charges;
mod clock;
mod describe;
mod drained;
mod fifo;
pub mod future;
mod handle;
mod hands;
mod intake;
mod job;
mod lanes;
mod layer;
mod limits;
mod offer;
mod overflow;
mod parked;
#[cfg(feature = "http")]
mod refusal;
mod registration;
mod rejected;
mod runs;
mod service;
mod shared;
mod state;
mod sync;
mod trace;
mod wait;
mod wakes;
mod worker;

pub use self::{
    channel::{Channel, Received, Receiver, Sender, Sending, Slot, channel},
    drained::Drained,
    future::ResponseFuture,
    handle::{DrainReport, Flush, QueueHandle},
    layer::{QueueBuilder, QueueLayer},
    limits::Limits,
    offer::Offer,
    overflow::Overflow,
    rejected::{Abandoned, Evicted, Expired, Panicked, Rejected},
    service::Queue,
    worker::Worker,
};

/// The parts of a queue that are pure state, for whoever builds an intake of another shape; `forebay-batch` does.
pub mod parts {
    #[cfg(loom)]
    pub use crate::clock::advance;
    #[cfg(not(loom))]
    pub use crate::clock::within;
    pub use crate::{
        admission::{Admission, Charge, Epoch},
        clock::{Timer, now},
        describe::{AllNormal, ClosurePanics, Describe, Description, PriorityOf},
        handle::Control,
        intake::{Candidate, Held, Intake, NotNow, Phase},
        lanes::Turn,
        registration::Registration,
        sync::{Mutex, MutexGuard, lock},
        wait::{Ticket, WaitLine},
        wakes::{Wakes, wake},
    };
}
