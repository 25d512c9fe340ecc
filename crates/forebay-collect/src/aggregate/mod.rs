//! Aggregates events by key into items.

mod builder;
mod event;
mod fold;
mod handle;
mod shared;
mod state;
mod timer;

pub use self::{
    builder::AggregatorBuilder,
    event::{CollectEvent, Emission, IntoFate, Refused},
    fold::{End, Fold, FoldFn, Folded, Gathered, Place},
    handle::Aggregator,
    timer::Ticker,
};
