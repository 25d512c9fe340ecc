use crate::{DropReason, Fate};
use std::fmt;

/// Counts what became of every item.
///
/// A ledger is plain state. The layer that admits items keeps one beside what it counts, under the same lock, so that a
/// count and the thing counted never disagree. An admission is one addition; a fate is counted once per batch.
///
/// At every instant `offered == delivered + spooled + dropped + pending`.
///
/// ```
/// use forebay_core::{DropReason, Fate, Ledger};
///
/// let mut ledger = Ledger::default();
/// ledger.accept(3);
/// ledger.refuse(DropReason::Full, 1);
/// ledger.settle(Fate::Delivered, 2);
///
/// let totals = ledger.totals();
/// assert_eq!((totals.offered, totals.delivered, totals.pending), (4, 2, 1));
/// assert_eq!(totals.dropped.get(DropReason::Full), 1);
/// assert!(totals.balance());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    accepted: u64,
    /// Of those accepted, the ones that have met a fate, the spooled included.
    settled: u64,
    refused: u64,
    delivered: u64,
    spooled: u64,
    dropped: Drops,
}

/// The counts of a [`Ledger`] at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Items that were handed over, refused ones included.
    pub offered: u64,
    /// Items that the server took.
    pub delivered: u64,
    /// Items that lie in a durable spool.
    pub spooled: u64,
    /// Items that were dropped, by reason.
    pub dropped: Drops,
    /// Items without a fate so far: queued, in flight, or waiting for a retry.
    pub pending: u64,
}

/// Items that were dropped, by reason.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Drops([u64; DropReason::ALL.len()]);

// === impl Ledger ===

impl Ledger {
    /// `items` were taken in; they are pending now.
    #[inline]
    pub fn accept(&mut self, items: u64) {
        self.accepted += items;
    }

    /// `items` were offered and not admitted.
    #[inline]
    pub fn refuse(&mut self, reason: DropReason, items: u64) {
        self.refused += items;
        self.dropped.0[reason.index()] += items;
    }

    /// `items` that were pending have met their fate.
    ///
    /// # Panics
    ///
    /// In debug builds, when fewer are pending: an item was counted twice.
    #[inline]
    pub fn settle(&mut self, fate: Fate, items: u64) {
        debug_assert!(self.pending() >= items, "{items} settled, {} pending", self.pending());
        self.settled += items;
        *self.count(fate) += items;
    }

    /// `items` that lay in the spool have met their final fate.
    ///
    /// # Panics
    ///
    /// In debug builds, when fewer are spooled.
    #[inline]
    pub fn settle_spooled(&mut self, fate: Fate, items: u64) {
        debug_assert!(self.spooled >= items, "{items} settled, {} spooled", self.spooled);
        self.spooled -= items;
        *self.count(fate) += items;
    }

    /// Items that were taken in so far, whatever became of them.
    #[inline]
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Items without a fate so far.
    #[inline]
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.accepted - self.settled
    }

    /// All counts, consistent with each other.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            offered: self.accepted + self.refused,
            delivered: self.delivered,
            spooled: self.spooled,
            dropped: self.dropped,
            pending: self.pending(),
        }
    }

    fn count(&mut self, fate: Fate) -> &mut u64 {
        match fate {
            Fate::Delivered => &mut self.delivered,
            Fate::Spooled => &mut self.spooled,
            Fate::Dropped(reason) => &mut self.dropped.0[reason.index()],
        }
    }
}

// === impl Totals ===

impl Totals {
    /// Whether every item offered is accounted for, and none twice.
    #[must_use]
    pub fn balance(&self) -> bool {
        self.offered == self.delivered + self.spooled + self.dropped.total() + self.pending
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { offered, delivered, spooled, dropped, pending } = self;
        write!(f, "{offered} offered, {delivered} delivered, {spooled} spooled, {} dropped", dropped.total())?;
        for (n, (reason, items)) in dropped.iter().enumerate() {
            write!(f, "{}{items} {reason}", if n == 0 { " (" } else { ", " })?;
        }
        if dropped.total() > 0 {
            f.write_str(")")?;
        }
        write!(f, ", {pending} pending")
    }
}

// === impl Drops ===

impl Drops {
    /// Items dropped for `reason`.
    #[must_use]
    pub fn get(&self, reason: DropReason) -> u64 {
        self.0[reason.index()]
    }

    /// Items dropped for any reason.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The reasons for which an item was dropped, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.into_iter().map(|reason| (reason, self.get(reason))).filter(|(_, items)| *items > 0)
    }
}

impl fmt::Debug for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(reason, items)| (reason.as_str(), items))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fate() -> impl Strategy<Value = Fate> {
        prop_oneof![
            Just(Fate::Delivered),
            Just(Fate::Spooled),
            (0..DropReason::ALL.len()).prop_map(|index| Fate::Dropped(DropReason::ALL[index])),
        ]
    }

    proptest! {
        #[test]
        fn the_equation_holds_after_every_step(steps in prop::collection::vec((0_u8..4, 0_u64..9, fate()), 1..99)) {
            let mut ledger = Ledger::default();
            for (step, items, fate) in steps {
                match (step, fate) {
                    (0, _) => ledger.accept(items),
                    (1, Fate::Dropped(reason)) => ledger.refuse(reason, items),
                    (2, _) => ledger.settle_spooled(fate, items.min(ledger.totals().spooled)),
                    _ => ledger.settle(fate, items.min(ledger.pending())),
                }
                prop_assert!(ledger.totals().balance());
            }
        }
    }

    #[test]
    fn display_names_only_the_reasons_that_occurred() {
        let mut ledger = Ledger::default();
        ledger.accept(5);
        ledger.settle(Fate::Delivered, 2);
        ledger.settle(Fate::Dropped(DropReason::Expired), 2);
        ledger.refuse(DropReason::Full, 1);
        let text = "6 offered, 2 delivered, 0 spooled, 3 dropped (1 full, 2 expired), 1 pending";
        assert_eq!(ledger.totals().to_string(), text);
        assert_eq!(format!("{:?}", ledger.totals().dropped), r#"{"full": 1, "expired": 2}"#);
    }

    #[test]
    #[should_panic(expected = "2 settled, 1 pending")]
    #[cfg(debug_assertions)]
    fn an_item_settled_twice_is_a_bug() {
        let mut ledger = Ledger::default();
        ledger.accept(1);
        ledger.settle(Fate::Delivered, 2);
    }
}
