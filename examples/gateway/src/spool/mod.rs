//! Where batches wait on disk for the sink: those that it did not take, and with a durable intake all of them.
//!
//! The spool is one of `forebay-spool`, so its program `forebay-spool` looks into it, exports it, and requeues dead letters.

mod batches;
mod books;
mod probe;
mod record;
mod replay;

pub use self::{
    batches::Level,
    books::Recovered,
    replay::{Drained, Pace},
};
pub(super) use self::{
    batches::{BatchSpool, NotKept},
    replay::Replay,
};
