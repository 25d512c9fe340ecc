//! What goes into a push: which series, as which values, in how many bytes.

mod assemble;
mod book;
mod group;
mod key;
mod point;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    assemble::{Assembler, Payload, Rank},
    book::Book,
};
