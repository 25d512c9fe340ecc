#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod admission;
#[cfg(not(loom))]
mod alarm;
mod byte_budget;
mod clock;
mod control;
mod deadline;
mod delay;
mod describe;
mod draw;
mod handle;
mod intake;
mod lane_scheduler;
mod limits;
mod offer;
mod overflow;
#[cfg(feature = "http")]
mod refusal;
mod registration;
mod rejected;
mod sender_lines;
mod sync;
mod trace;
mod wait;
mod wakers;

#[cfg(loom)]
pub use self::clock::advance;
#[cfg(not(loom))]
pub use self::clock::within;
#[doc(no_inline)]
pub use forebay_core::{ConfigError, DropReason, Fate, Priority, Totals};

pub use self::{
    admission::{Admission, Charge, Epoch},
    byte_budget::ByteBudget,
    clock::{Timer, now},
    control::{Control, IntakeOwner},
    deadline::DeadlineRule,
    delay::DelayControl,
    describe::{AllNormal, ClosurePanics, Describe, Description, PriorityOf},
    handle::{DrainReport, Flush, IntakeHandle},
    intake::{AdmitError, Intake, Lifecycle, OfferMeta, Slot},
    lane_scheduler::LaneScheduler,
    limits::Limits,
    offer::Offer,
    overflow::Overflow,
    registration::Registration,
    rejected::{Abandoned, Evicted, Expired, Panicked, Rejected, Shed},
    sync::{Mutex, MutexGuard, lock},
    wait::{Ticket, WaitLine},
    wakers::{WakerSet, wake},
};
