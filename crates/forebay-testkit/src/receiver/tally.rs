use std::{
    collections::{HashMap, hash_map::DefaultHasher},
    hash::Hasher,
};

/// How often one log body was taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// In all.
    pub accepted: u32,
    /// Of these, in requests whose client could not know: [`Disposition::Ambiguous`](super::Disposition::Ambiguous).
    pub ambiguous: u32,
}

/// What a sender meant to deliver, held against what was taken in.
///
/// A body may be meant more than once: identical lines of a log are counted, not distinguished.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Audit {
    /// Bodies that were meant to arrive.
    pub expected: u64,
    /// Of these, how many did not arrive.
    pub missing: u64,
    /// Arrivals beyond the expected number that an ambiguous request explains: its client had to send again.
    pub repeated: u64,
    /// Arrivals beyond the expected number that nothing explains: the client sent again what it knew was delivered.
    pub duplicated: u64,
    /// Arrivals of bodies that were not expected.
    pub foreign: u64,
    /// Arrivals in ambiguous requests.
    pub ambiguous: u64,
}

/// Every log body by its 64-bit hash: 16 bytes and some slack each, whatever the length of the body.
#[derive(Debug, Default)]
pub(super) struct Tally(HashMap<u64, Count>);

/// The hash is fixed, so that a count can be compared from run to run. Two of ten million bodies share one with a
/// probability of about 3 in a million.
pub(super) fn hash(body: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(body);
    hasher.finish()
}

// === impl Tally ===

impl Tally {
    pub(super) fn accept(&mut self, hashes: &[u64]) {
        hashes.iter().for_each(|hash| self.0.entry(*hash).or_default().accepted += 1);
    }

    pub(super) fn doubt(&mut self, hashes: &[u64]) {
        hashes.iter().for_each(|hash| self.0.entry(*hash).or_default().ambiguous += 1);
    }

    pub(super) fn count(&self, hash: u64) -> Count {
        self.0.get(&hash).copied().unwrap_or_default()
    }

    pub(super) fn audit(&self, expected: impl IntoIterator<Item = u64>) -> Audit {
        let mut audit = Audit::default();
        let mut meant: HashMap<u64, u64> = HashMap::new();
        for hash in expected {
            audit.expected += 1;
            *meant.entry(hash).or_default() += 1;
        }
        for (hash, meant) in &meant {
            let Count { accepted, ambiguous } = self.count(*hash);
            let surplus = u64::from(accepted).saturating_sub(*meant);
            let explained = surplus.min(ambiguous.into());
            audit.missing += meant.saturating_sub(accepted.into());
            audit.repeated += explained;
            audit.duplicated += surplus - explained;
        }
        for (hash, count) in &self.0 {
            audit.ambiguous += u64::from(count.ambiguous);
            if !meant.contains_key(hash) {
                audit.foreign += u64::from(count.accepted);
            }
        }
        audit
    }
}

// === impl Audit ===

impl Audit {
    /// Nothing is missing or foreign, and every repetition is explained: at least once where a client could not know,
    /// exactly once everywhere else.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.missing == 0 && self.duplicated == 0 && self.foreign == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes<'a>(bodies: impl IntoIterator<Item = &'a str>) -> Vec<u64> {
        bodies.into_iter().map(|body| hash(body.as_bytes())).collect()
    }

    #[test]
    fn a_repetition_needs_an_ambiguous_request() {
        let mut tally = Tally::default();
        tally.accept(&hashes(["a", "b"]));
        tally.accept(&hashes(["b", "c", "c"]));
        assert!(!tally.audit(hashes(["a", "b", "c", "c"])).is_sound());
        assert_eq!(tally.audit(hashes(["a", "b", "c", "c"])).duplicated, 1);

        tally.doubt(&hashes(["b", "c", "c"]));
        let audit = tally.audit(hashes(["a", "b", "c", "c"]));
        assert!(audit.is_sound());
        assert_eq!((audit.expected, audit.repeated, audit.ambiguous), (4, 1, 3));
        assert_eq!(tally.count(hash(b"b")), Count { accepted: 2, ambiguous: 1 });
    }

    #[test]
    fn what_is_missing_and_what_is_foreign_is_counted() {
        let mut tally = Tally::default();
        tally.accept(&hashes(["a", "x"]));
        let audit = tally.audit(hashes(["a", "a", "b"]));
        assert_eq!((audit.missing, audit.foreign, audit.duplicated), (2, 1, 0));
        assert!(!audit.is_sound());
    }
}
