//! The name of a dead letter's file says all that must be known without opening it.

use crate::{
    batch::BatchId,
    ledgers::{SIGNALS, signal_name},
};
use forebay::otlp::Signal;
use std::fmt;

/// `<received>-<id>-<signal>-<records>-<attempts>.otlp`: sorted by name, the oldest is first; no two batches share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) received: u64,
    pub(super) id: BatchId,
    pub(super) signal: Signal,
    pub(super) records: u64,
    pub(super) attempts: u32,
}

// === impl Name ===

impl Name {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_suffix(".otlp")?.split('-');
        let mut next = || parts.next();
        let name = Self {
            received: next()?.parse().ok()?,
            id: BatchId(u128::from_str_radix(next()?, 16).ok()?),
            signal: {
                let word = next()?;
                SIGNALS.into_iter().find(|signal| signal_name(*signal) == word)?
            },
            records: next()?.parse().ok()?,
            attempts: next()?.parse().ok()?,
        };
        // Written in another way it would be another file.
        (name.to_string() == text).then_some(name)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, id, signal, records, attempts } = self;
        write!(f, "{received:020}-{id}-{}-{records}-{attempts}.otlp", signal_name(*signal))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written_and_nothing_else_is() {
        let name = Name { received: 17, id: BatchId(u128::MAX), signal: Signal::Metrics, records: 9, attempts: 2 };
        assert_eq!(Name::parse(&name.to_string()), Some(name));
        for text in ["", ".otlp", "17-ff-metrics-9-2.otlp", "notes.txt", "../x.otlp", "a-b-c-d-e.otlp"] {
            assert_eq!(Name::parse(text), None, "{text}");
        }
    }
}
