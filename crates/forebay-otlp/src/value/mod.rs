//! Values of attributes and bodies: what can be one, and what takes one.

mod any;
mod impls;
mod visit;

pub use self::{
    any::{AnyValue, KeyValue},
    visit::{ArrayWriter, AsValue, AttributesWriter, ValueWriter},
};

/// How deep lists may be nested in a value: a plain value has depth 0, a list of plain values 1.
///
/// A record with a deeper one is left out and listed in [`Skipped`](forebay_export::Skipped). At this depth, wherever
/// in a message the value stands, no more than 100 protobuf messages and 127 levels of JSON lie in one another: what
/// protobuf libraries and `serde_json` accept without being configured.
pub const MAX_DEPTH: usize = 28;
