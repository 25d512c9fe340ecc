//! What the crates of this family share and no user calls: locks and a clock that a model checker can replace, events that vanish
//! without `tracing`, and the layout of what several threads write. No part of it is covered by the version of the crate.

#[cfg(feature = "clock")]
pub mod clock;
mod events;
pub mod lock;
mod padded;
pub mod sync;
mod thread;

pub use self::{padded::CachePadded, thread::thread_number};
