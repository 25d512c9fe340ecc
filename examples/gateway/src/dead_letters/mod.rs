//! Where batches go that the sink did not take: a bounded folder, from which they are replayed.

mod file;
mod folder;
mod index;
mod name;
mod replay;

pub(super) use self::{folder::DeadLetters, replay::Replay};
pub use self::{
    folder::{Drained, Level},
    index::Caps,
    replay::Pace,
};
