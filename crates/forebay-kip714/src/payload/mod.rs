//! What goes into a push: which series, as which values, in how many bytes.

mod assemble;
mod group;
mod key;
mod point;
mod series_cache;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    assemble::{Assembler, Payload, Rank},
    series_cache::SeriesCache,
};
