//! What the crates of this family share and no user calls: locks that a model checker can replace, events that vanish without
//! `tracing`, and the layout of what several threads write. No part of it is covered by the version of the crate.

mod events;
pub mod lock;
mod padded;
pub mod sync;
mod thread;

pub use self::{padded::CachePadded, thread::thread_number};
