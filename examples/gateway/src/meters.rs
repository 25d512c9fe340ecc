//! Counts that are not in the ledgers.

use super::ledgers::{SIGNALS, signal_name};
use forebay::otlp::Signal;
use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

/// What the gateway counts beside the fates of batches.
#[derive(Debug)]
pub(super) struct Meters {
    /// Responses by protocol (`http`, `grpc`) that asked a sender to wait.
    throttled: Mutex<BTreeMap<&'static str, u64>>,
    /// What happened to dead letters, by signal and result.
    dead_letters: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    panics: AtomicU64,
    malformed: AtomicU64,
    unreadable: AtomicU64,
    unreadable_batches: AtomicU64,
    handshakes_failed: AtomicU64,
}

/// What can happen to a batch in the spool, or to what should have come there.
pub(super) const RESULTS: [&str; 7] =
    ["enqueued", "enqueue_failed", "no_sink", "replayed", "replay_failed", "evicted", "given_up"];

const PROTOCOLS: [&str; 2] = ["http", "grpc"];

// === impl Meters ===

impl Default for Meters {
    /// Each series is there from the start: a counter that first shows up at 1 has no increase in the eyes of Prometheus.
    fn default() -> Self {
        let names = SIGNALS.into_iter().map(signal_name);
        let results = names.flat_map(|signal| RESULTS.into_iter().map(move |result| ((signal, result), 0)));
        Self {
            throttled: Mutex::new(PROTOCOLS.into_iter().map(|protocol| (protocol, 0)).collect()),
            dead_letters: Mutex::new(results.collect()),
            panics: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            unreadable: AtomicU64::new(0),
            unreadable_batches: AtomicU64::new(0),
            handshakes_failed: AtomicU64::new(0),
        }
    }
}

impl Meters {
    /// A client that wanted to speak TLS did not get so far.
    pub(super) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Relaxed);
    }

    /// TLS handshakes that failed, or took too long.
    #[must_use]
    pub(super) fn all_failed_handshakes(&self) -> u64 {
        self.handshakes_failed.load(Relaxed)
    }

    /// A sender was asked to wait.
    pub(super) fn throttled(&self, protocol: &'static str) {
        *self.throttled.lock().unwrap_or_else(PoisonError::into_inner).entry(protocol).or_default() += 1;
    }

    /// Something happened to a dead letter, or to what should have become one.
    pub(super) fn dead_letter(&self, signal: Signal, result: &'static str) {
        debug_assert!(RESULTS.contains(&result), "{result}");
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

    /// A record of the spool is no batch.
    pub(super) fn unreadable_batch(&self) {
        self.unreadable_batches.fetch_add(1, Relaxed);
    }

    /// Records of the spool that are no batches.
    #[must_use]
    pub(super) fn all_unreadable_batches(&self) -> u64 {
        self.unreadable_batches.load(Relaxed)
    }

    /// Records that could not be read, in requests that were.
    #[must_use]
    pub(super) fn all_unreadable(&self) -> u64 {
        self.unreadable.load(Relaxed)
    }

    /// Responses that asked a sender to wait, by protocol.
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
