//! From events to items: what belongs together goes on together.

mod builder;
mod event;
mod fold;
mod handle;
mod shared;
mod state;
mod timer;

pub use self::{
    builder::AggregatorBuilder,
    event::{AggregatorEvent, Emission, Handed, Refused},
    fold::{End, Fold, FoldFn, Folded, Gathered, Place},
    handle::Aggregator,
    timer::Ticker,
};
