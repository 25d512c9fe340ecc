//! Counts that are not in the books.

use super::books::signal_name;
use forebay::otlp::Signal;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What the gateway counts beside the fates of batches.
#[derive(Debug, Default)]
pub(super) struct Meters {
    /// Answers by protocol (`http`, `grpc`) that told a sender to come again later.
    throttled: Mutex<BTreeMap<&'static str, u64>>,
    /// What happened to dead letters, by signal and result.
    dead_letters: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    panics: AtomicU64,
    malformed: AtomicU64,
    unreadable: AtomicU64,
}

// === impl Meters ===

impl Meters {
    /// A sender was told to come again later.
    pub(super) fn throttled(&self, protocol: &'static str) {
        *self.throttled.lock().unwrap_or_else(PoisonError::into_inner).entry(protocol).or_default() += 1;
    }

    /// Something happened to a dead letter, or to what should have become one.
    pub(super) fn dead_letter(&self, signal: Signal, result: &'static str) {
        let mut counts = self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((signal_name(signal), result)).or_default() += 1;
    }

    /// The sink panicked.
    pub(super) fn panicked(&self) {
        self.panics.fetch_add(1, Relaxed);
    }

    /// A request was no OTLP, or more than may be received; it was never a batch.
    pub(super) fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    /// So many records of a request could not be read; the others were taken.
    pub(super) fn unreadable(&self, records: u64) {
        self.unreadable.fetch_add(records, Relaxed);
    }

    /// Records that could not be read, in requests that were.
    #[must_use]
    pub(super) fn all_unreadable(&self) -> u64 {
        self.unreadable.load(Relaxed)
    }

    /// Answers that told a sender to come again later, by protocol.
    #[must_use]
    pub(super) fn all_throttled(&self) -> BTreeMap<&'static str, u64> {
        self.throttled.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What happened to dead letters, by signal and result.
    #[must_use]
    pub(super) fn all_dead_letters(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How often the sink panicked.
    #[must_use]
    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Relaxed)
    }

    /// Requests that never became a batch.
    #[must_use]
    pub(super) fn all_malformed(&self) -> u64 {
        self.malformed.load(Relaxed)
    }
}
