//! How many records of one destination the spool must hold, and of whom they are. Pure.

use forebay_export::Origin;

/// The records that one exporter knows of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    /// Those that this exporter has spooled.
    own: u64,
    /// All others.
    recovered: u64,
    /// Appends that have begun, and those among them that have ended. While the two differ, nothing follows from a count.
    begun: u64,
    ended: u64,
}

/// Records that have left, or have been found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) own: u64,
    pub(super) recovered: u64,
    /// Recovered records that the books did not know before.
    pub(super) found: u64,
}

/// Proves that no append was under way while the spool was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quiet(u64);

// === impl Books ===

impl Books {
    pub(super) fn append_begins(&mut self) {
        self.begun += 1;
    }

    pub(super) fn appended(&mut self, records: u64) {
        self.own += records;
    }

    pub(super) fn append_ends(&mut self) {
        self.ended += 1;
    }

    /// Asked before the spool is counted; `None` while an append is under way.
    pub(super) fn quiet(&self) -> Option<Quiet> {
        (self.begun == self.ended).then_some(Quiet(self.begun))
    }

    /// `records` of `origin` have left the spool. What is not known under that origin is taken from the other one.
    pub(super) fn leave(&mut self, records: u64, origin: Origin) -> Counts {
        let (own, recovered) = match origin {
            Origin::Own => {
                let own = records.min(self.own);
                (own, records - own)
            }
            Origin::Recovered => {
                let recovered = records.min(self.recovered);
                let own = (records - recovered).min(self.own);
                (own, records - own)
            }
        };
        // Appended beside the exporter, and gone again before it was counted.
        let found = recovered.saturating_sub(self.recovered);
        self.own -= own;
        self.recovered = (self.recovered + found) - recovered;
        Counts { own, recovered, found }
    }

    /// The spool holds `pending` records, counted since `quiet`: those that left without having been sent, the recovered first, or
    /// those that were found. `None` if something was appended meanwhile.
    pub(super) fn reconcile(&mut self, pending: u64, quiet: Quiet) -> Option<Counts> {
        if self.quiet() != Some(quiet) {
            return None;
        }
        let known = self.own + self.recovered;
        if pending >= known {
            self.recovered += pending - known;
            return Some(Counts { found: pending - known, ..Counts::default() });
        }
        let gone = known - pending;
        let recovered = gone.min(self.recovered);
        let own = gone - recovered;
        self.own -= own;
        self.recovered -= recovered;
        Some(Counts { own, recovered, found: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever leaves under whatever origin, the books agree with the spool, and each record is counted once.
        #[test]
        fn the_books_agree_with_the_spool(steps in prop::collection::vec((0_u8..6, 0_u64..9), 1..99)) {
            let (mut books, mut pending) = (Books::default(), 0_u64);
            let (mut spooled, mut own_left, mut found, mut recovered_left) = (0, 0, 0, 0);
            for (step, records) in steps {
                let counts = match step {
                    0 => {
                        books.append_begins();
                        prop_assert_eq!(books.quiet(), None);
                        books.appended(records);
                        books.append_ends();
                        (pending, spooled) = (pending + records, spooled + records);
                        Counts::default()
                    }
                    1 => {
                        // Another part of the program appends.
                        pending += records;
                        Counts::default()
                    }
                    2 | 3 => {
                        let gone = records.min(pending);
                        pending -= gone;
                        books.leave(gone, if step == 2 { Origin::Own } else { Origin::Recovered })
                    }
                    4 => {
                        pending -= records.min(pending);
                        Counts::default()
                    }
                    _ => {
                        let counts = books.reconcile(pending, books.quiet().unwrap()).unwrap();
                        prop_assert_eq!(books.own + books.recovered, pending);
                        counts
                    }
                };
                own_left += counts.own;
                recovered_left += counts.recovered;
                found += counts.found;
                prop_assert_eq!(books.own, spooled - own_left);
                prop_assert_eq!(books.recovered, found - recovered_left);
            }
        }
    }

    #[test]
    fn a_count_that_an_append_has_overtaken_says_nothing() {
        let mut books = Books::default();
        let quiet = books.quiet().unwrap();
        books.append_begins();
        assert_eq!(books.reconcile(5, quiet), None);
        books.appended(5);
        books.append_ends();
        assert_eq!(books.reconcile(5, quiet), None);
        let quiet = books.quiet().unwrap();
        assert_eq!(books.reconcile(5, quiet), Some(Counts::default()));
    }
}
