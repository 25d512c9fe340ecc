// The programs of the page need what the page says that they need; they are tested where that is there.
#![cfg_attr(any(not(doctest), feature = "export"), doc = include_str!("../README.md"))]
#![cfg_attr(docsrs, feature(doc_cfg))]
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

#[cfg(not(unix))]
compile_error!("forebay-spool builds on Unix only: a spool is a directory with the permissions and the locks of Unix");

mod backend;
mod builder;
mod disk;
mod durability;
mod engine;
mod envelope;
mod error;
#[cfg(feature = "export")]
mod export;
mod fault;
mod lease;
mod manifest;
mod record;
pub mod replay;
mod row;
mod segment;
mod spool;
mod stats;
pub mod storage;
mod worker;

#[cfg(feature = "export")]
#[cfg_attr(docsrs, doc(cfg(feature = "export")))]
pub use self::export::{Codec, ExporterSpool};
pub use self::{
    builder::{Overflow, SpoolBuilder},
    disk::DiskSpool,
    durability::{Durability, GroupCommit},
    engine::Engine,
    error::{Limit, SpoolError, SpoolErrorKind},
    lease::{Disposition, Lease, LeaseId, Order, ReleaseHook, Settled, Want},
    record::{Appended, DeadLetter, Group, Mark, NewRecord, Record},
    spool::{BoxFuture, Spool},
    stats::{DestinationStats, EvictReason, Evicted, Recovered, Stats, Verified},
};
