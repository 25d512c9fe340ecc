#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod append;
mod builder;
mod connection;
mod dead;
mod destination;
mod error;
mod leases;
mod message;
mod settle;
mod spool;
mod streams;

pub use self::{builder::JetStreamBuilder, spool::JetStreamSpool};
pub use async_nats;
pub use forebay_spool::{
    Appended, DeadLetter, Disposition, Group, Lease, Limit, NewRecord, Order, Record, Settled, Spool, SpoolError,
    SpoolErrorKind, Stats, Verified, Want,
};
