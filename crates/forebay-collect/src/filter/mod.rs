//! Filters metrics by name.

mod layer;
mod live;
mod patterns;

pub use self::{
    layer::{FilterLayer, Filtering, FilteringFuture},
    live::LiveFilter,
    patterns::{Anchoring, BadPattern, Filter, FilterBuilder, WhenUndecided},
};
