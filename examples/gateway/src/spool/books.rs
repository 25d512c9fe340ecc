//! Which batches the spool must hold, and whose they are. The spool says how many it holds, and the difference has left it without
//! having been replayed. No access to the disk.

use crate::{
    batch::{Batch, BatchId},
    ledgers::{Entry, Ledgers},
};
use forebay::{
    core::{DropReason, Fate, Priority},
    otlp::Signal,
};
use std::{collections::BTreeMap, sync::Arc};

/// The batches of this process, each with its line in the ledgers, and the number of all others.
#[derive(Debug)]
pub(super) struct Books {
    ledgers: Arc<Ledgers>,
    own: BTreeMap<Place, Own>,
    recovered: Recovered,
    /// Appends and settlements that have begun, and those among them that have ended. While the two differ, nothing follows from
    /// a count.
    begun: u64,
    ended: u64,
}

/// What an earlier process has left in the spool. It was offered to that one, and is not in the ledgers of this one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Batches that were found.
    pub found: u64,
    /// Of those, the ones that the sink has taken.
    pub delivered: u64,
    /// Those that left for another reason: they were given up, or made room.
    pub dropped: u64,
}

/// The order in which the spool drops what it has no room for: healthy batches first, each lane from its oldest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    is_urgent: bool,
    id: BatchId,
}

/// A batch of this process.
#[derive(Debug)]
enum Own {
    /// The spool has not said yet that it holds the batch.
    Appending(Entry),
    /// It counts as spooled.
    Spooled { signal: Signal, records: u64 },
}

/// Proves that nothing was appended or settled while the spool was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quiet(u64);

// === impl Books ===

impl Books {
    /// Nothing is known yet.
    pub(super) fn new(ledgers: Arc<Ledgers>) -> Self {
        Self { ledgers, own: BTreeMap::new(), recovered: Recovered::default(), begun: 0, ended: 0 }
    }

    pub(super) fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// A batch is about to be appended. It is known from here on: it may be replayed before its append returns.
    pub(super) fn append_begins(&mut self, batch: &Batch, entry: Entry) -> Place {
        let place = Place::of(batch);
        self.own.insert(place, Own::Appending(entry));
        self.begun += 1;
        place
    }

    /// The spool holds it, or it is dropped for the reason `refused`.
    pub(super) fn append_ends(&mut self, batch: &Batch, place: Place, refused: Option<DropReason>) {
        self.ended += 1;
        // What was replayed meanwhile has its fate.
        let Some(Own::Appending(entry)) = self.own.remove(&place) else { return };
        match refused {
            Some(reason) => entry.settle(Fate::Dropped(reason)),
            None => {
                entry.settle(Fate::Spooled);
                self.own.insert(place, Own::Spooled { signal: batch.signal, records: batch.facts.records });
            }
        }
    }

    pub(super) fn settle_begins(&mut self) {
        self.begun += 1;
    }

    pub(super) fn settle_ends(&mut self) {
        self.ended += 1;
    }

    /// A batch has left the spool.
    pub(super) fn leave(&mut self, batch: &Batch, fate: Fate) {
        if !self.leave_own(Place::of(batch), fate) {
            self.leave_recovered(1, fate);
        }
    }

    fn leave_own(&mut self, place: Place, fate: Fate) -> bool {
        match self.own.remove(&place) {
            Some(Own::Appending(entry)) => entry.settle(fate),
            Some(Own::Spooled { signal, records }) => self.ledgers.settle_spooled(signal, records, fate),
            None => return false,
        }
        true
    }

    fn leave_recovered(&mut self, batches: u64, fate: Fate) {
        // More may leave than were counted: what a human has requeued was given up before.
        self.recovered.found += batches.saturating_sub(self.recovered.left());
        match fate {
            Fate::Delivered => self.recovered.delivered += batches,
            Fate::Dropped(_) | Fate::Spooled => self.recovered.dropped += batches,
        }
    }

    /// Asked before the spool is counted; `None` while an append or a settlement is under way.
    pub(super) fn quiet(&self) -> Option<Quiet> {
        (self.begun == self.ended).then_some(Quiet(self.begun))
    }

    /// The spool holds `pending` batches, counted since `quiet`. Those that are not known were found; those that are missing were
    /// dropped to make room, the recovered ones first, which are the oldest. Returns the signals of those of this process.
    pub(super) fn reconcile(&mut self, pending: u64, quiet: Quiet) -> Vec<Signal> {
        let mut evicted = Vec::new();
        if self.quiet() != Some(quiet) {
            return evicted;
        }
        let known = self.own.len() as u64 + self.recovered.left();
        self.recovered.found += pending.saturating_sub(known);
        let gone = known.saturating_sub(pending);
        let recovered = gone.min(self.recovered.left());
        let fate = Fate::Dropped(DropReason::Evicted);
        self.leave_recovered(recovered, fate);
        for _ in recovered..gone {
            let Some((place, Own::Spooled { signal, .. })) = self.own.first_key_value() else { break };
            let (place, signal) = (*place, *signal);
            self.leave_own(place, fate);
            evicted.push(signal);
        }
        evicted
    }
}

// === impl Recovered ===

impl Recovered {
    /// Those that are still in the spool.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.found.saturating_sub(self.delivered + self.dropped)
    }
}

// === impl Place ===

impl Place {
    fn of(batch: &Batch) -> Self {
        Self { is_urgent: batch.priority() == Priority::High, id: batch.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Facts;

    fn batch(n: u128, has_error: bool) -> Batch {
        let facts = Facts { records: 3, has_error, has_slow: false };
        let (tenant, body) = ("".into(), bytes::Bytes::new());
        Batch { id: BatchId(n), signal: Signal::Logs, tenant, body, facts, received: 0 }
    }

    fn appended(books: &mut Books, batch: &Batch) {
        let entry = Arc::clone(&books.ledgers).open(batch.signal, batch.facts.records);
        let place = books.append_begins(batch, entry);
        books.append_ends(batch, place, None);
    }

    #[test]
    fn what_is_missing_was_dropped_in_the_order_of_the_spool() {
        let ledgers = Arc::<Ledgers>::default();
        let mut books = Books::new(Arc::clone(&ledgers));
        let start = books.quiet().unwrap();
        assert!(books.reconcile(2, start).is_empty(), "an earlier run has left two");
        for (n, urgent) in [(1, true), (2, false), (3, false)] {
            appended(&mut books, &batch(n, urgent));
        }
        let quiet = books.quiet().unwrap();
        assert!(books.reconcile(5, quiet).is_empty());
        assert_eq!(books.reconcile(2, quiet), [Signal::Logs], "both that were found, and the oldest healthy one");
        assert_eq!(books.recovered(), Recovered { found: 2, delivered: 0, dropped: 2 });
        books.leave(&batch(2, false), Fate::Delivered);
        books.leave(&batch(1, true), Fate::Delivered);
        let totals = ledgers.read()[1].batches();
        assert_eq!((totals.offered, totals.spooled, totals.delivered), (3, 1, 1), "{totals}");
        assert_eq!(totals.dropped.get(DropReason::Evicted), 1);
        assert_eq!(books.recovered().delivered, 1, "an unknown one was found");
    }

    #[test]
    fn nothing_follows_from_a_count_while_something_is_under_way() {
        let ledgers = Arc::<Ledgers>::default();
        let mut books = Books::new(Arc::clone(&ledgers));
        let quiet = books.quiet().unwrap();
        let one = batch(1, false);
        let place = books.append_begins(&one, ledgers.open(Signal::Logs, 3));
        assert_eq!((books.quiet(), books.reconcile(0, quiet)), (None, vec![]));
        // The sink has it before the append has returned.
        books.leave(&one, Fate::Delivered);
        books.append_ends(&one, place, None);
        assert!(books.reconcile(0, quiet).is_empty(), "it was counted before");
        let totals = ledgers.read()[1].batches();
        assert_eq!((totals.delivered, totals.spooled, totals.pending), (1, 0, 0));
        books.settle_begins();
        assert_eq!(books.quiet(), None);
        books.settle_ends();
        assert!(books.quiet().is_some());
    }

    #[test]
    fn a_batch_that_is_refused_is_dropped() {
        let ledgers = Arc::<Ledgers>::default();
        let mut books = Books::new(Arc::clone(&ledgers));
        let one = batch(1, false);
        let place = books.append_begins(&one, ledgers.open(Signal::Logs, 3));
        books.append_ends(&one, place, Some(DropReason::Full));
        assert_eq!(ledgers.read()[1].batches().dropped.get(DropReason::Full), 1);
        assert!(books.quiet().is_some());
    }
}
