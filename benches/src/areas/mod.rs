//! What is compared, by area.

mod batch;
mod inner;
mod queue;

use crate::runner::Session;

/// Runs the tables of an area.
pub type Tables = fn(&mut Session<'_>);

/// Every area, in the order of the stack.
pub const AREAS: &[(&str, Tables)] = &[("queue", queue::tables), ("batch", batch::tables)];
