//! What is compared, by area.

mod batch;
mod breaker;
mod calls;
mod e2e;
mod inner;
mod keyed;
mod otel;
mod queue;
mod registry;
mod retry;
mod rivals;

use crate::runner::Session;

/// Runs the tables of an area.
pub type Tables = fn(&mut Session<'_>);

/// Every area, in the order of the stack.
pub const AREAS: &[(&str, Tables)] = &[
    ("queue", queue::tables),
    ("batch", batch::tables),
    ("breaker", breaker::tables),
    ("keyed", keyed::tables),
    ("retry", retry::tables),
    ("registry", registry::tables),
    ("otel", otel::tables),
    ("e2e", e2e::tables),
];
