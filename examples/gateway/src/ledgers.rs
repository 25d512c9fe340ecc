//! What became of every batch, and of every record in it, per signal.

use forebay::{
    core::{DropReason, Fate, Ledger, Totals},
    otlp::Signal,
};
use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// The gateway's own ledgers. The queue has one too, of batches, and both agree whenever nothing moves; these also know
/// the signal, the records, and what becomes of what is spooled.
#[derive(Debug, Default)]
pub(super) struct Ledgers(Mutex<[Page; 3]>);

/// The ledgers of one signal.
#[derive(Clone, Debug, Default)]
pub struct Page {
    batches: Ledger,
    records: Ledger,
}

/// The entry of one batch: open until it is settled. Dropped before, the batch was lost on the way: by a panic, or because
/// the gateway ended.
pub(super) struct Entry {
    ledgers: Arc<Ledgers>,
    signal: Signal,
    records: u64,
    settled: bool,
}

/// The signals, in the order of the tables.
pub const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Logs, Signal::Metrics];

/// The word for a signal in labels and file names.
#[must_use]
pub const fn signal_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "traces",
        Signal::Logs => "logs",
        Signal::Metrics => "metrics",
    }
}

// === impl Ledgers ===

impl Ledgers {
    fn lock(&self) -> MutexGuard<'_, [Page; 3]> {
        // Counting does not panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A batch was offered.
    #[must_use]
    pub(super) fn open(self: &Arc<Self>, signal: Signal, records: u64) -> Entry {
        let mut pages = self.lock();
        let page = page(&mut pages, signal);
        page.batches.accept(1);
        page.records.accept(records);
        Entry { ledgers: Arc::clone(self), signal, records, settled: false }
    }

    /// A batch has left the spool.
    pub(super) fn settle_spooled(&self, signal: Signal, records: u64, fate: Fate) {
        let mut pages = self.lock();
        let page = page(&mut pages, signal);
        page.batches.settle_spooled(fate, 1);
        page.records.settle_spooled(fate, records);
    }

    /// The pages of [`SIGNALS`], all of one instant.
    #[must_use]
    pub(super) fn read(&self) -> [Page; 3] {
        self.lock().clone()
    }
}

fn page(pages: &mut [Page; 3], signal: Signal) -> &mut Page {
    let [traces, logs, metrics] = pages;
    match signal {
        Signal::Traces => traces,
        Signal::Logs => logs,
        Signal::Metrics => metrics,
    }
}

// === impl Page ===

impl Page {
    /// What became of the batches.
    #[must_use]
    pub fn batches(&self) -> Totals {
        self.batches.totals()
    }

    /// What became of the spans, log records or data points.
    #[must_use]
    pub fn records(&self) -> Totals {
        self.records.totals()
    }

    fn settle(&mut self, fate: Fate, records: u64) {
        self.batches.settle(fate, 1);
        self.records.settle(fate, records);
    }
}

// === impl Entry ===

impl Entry {
    /// The batch has met its fate.
    pub(super) fn settle(mut self, fate: Fate) {
        self.settle_once(fate);
    }

    fn settle_once(&mut self, fate: Fate) {
        if !std::mem::replace(&mut self.settled, true) {
            page(&mut self.ledgers.lock(), self.signal).settle(fate, self.records);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let reason = if std::thread::panicking() { DropReason::Panicked } else { DropReason::Shutdown };
        self.settle_once(Fate::Dropped(reason));
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("signal", &self.signal).field("records", &self.records).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_settled_once_wherever_it_is_dropped() {
        let ledgers = Arc::<Ledgers>::default();
        ledgers.open(Signal::Logs, 5).settle(Fate::Delivered);
        ledgers.open(Signal::Logs, 7).settle(Fate::Spooled);
        drop(ledgers.open(Signal::Traces, 2));
        let open = ledgers.open(Signal::Metrics, 3);
        ledgers.settle_spooled(Signal::Logs, 7, Fate::Delivered);

        let [traces, logs, metrics] = ledgers.read();
        assert_eq!(traces.batches().dropped.get(DropReason::Shutdown), 1);
        assert_eq!((logs.batches().delivered, logs.records().delivered, logs.records().spooled), (2, 12, 0));
        assert_eq!((metrics.records().pending, metrics.records().spooled), (3, 0));
        assert!(ledgers.read().iter().all(|page| page.batches().balance() && page.records().balance()));
        drop(open);
        assert_eq!(ledgers.read()[2].records().pending, 0);
    }
}
