//! Values of attributes and bodies, and the traits that write them.

mod any;
mod impls;
mod visit;

pub use self::{
    any::{AnyValue, KeyValue},
    visit::{ArrayWriter, AsValue, AttributesWriter, ValueWriter},
};

/// The greatest depth of lists in a value: a plain value has depth 0, a list of plain values 1.
///
/// A record with a deeper one is left out and listed in [`Skipped`](forebay_export::Skipped). At this depth, at every
/// position in a message, at most 100 protobuf messages and 127 levels of JSON are nested, which protobuf libraries and
/// `serde_json` accept by default.
pub const MAX_DEPTH: usize = 28;
