use crate::pending::Partition;
use std::collections::HashMap;

/// How many partitions may be remembered for their size. What is forgotten is learned again, at the price of a refusal.
const REMEMBERED: usize = 1024;

/// How large a request the server of a partition takes, where that was learned. Pure state.
#[derive(Debug, Default)]
pub(crate) struct SizeLimits(HashMap<Partition, SizeLimit>);

/// What was learned of how large a request one server takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct SizeLimit {
    /// The smallest request that was too large, in bytes as the batch weighs them.
    too_large: Option<usize>,
    /// The largest request that passed since.
    passed: usize,
}

// === impl SizeLimits ===

impl SizeLimits {
    /// How many bytes a request should have at most, as the batch weighs them.
    pub(crate) fn most(&self, partition: Partition) -> Option<usize> {
        self.0.get(&partition).and_then(SizeLimit::most)
    }

    /// A request of `bytes` was too large.
    pub(crate) fn refused(&mut self, partition: Partition, bytes: usize) {
        if self.0.len() >= REMEMBERED && !self.0.contains_key(&partition) {
            // Any of them: it is not known which one will be needed next.
            let any = self.0.keys().next().copied();
            any.and_then(|any| self.0.remove(&any));
        }
        self.0.entry(partition).or_default().refused(bytes);
    }

    /// A request of `bytes` passed.
    pub(crate) fn passed(&mut self, partition: Partition, bytes: usize) {
        if let Some(size) = self.0.get_mut(&partition) {
            size.passed(bytes);
            if size.most().is_none() {
                self.0.remove(&partition);
            }
        }
    }
}

// === impl SizeLimit ===

impl SizeLimit {
    /// A request of `bytes` was too large.
    fn refused(&mut self, bytes: usize) {
        if self.too_large.is_none_or(|known| bytes < known) {
            self.too_large = Some(bytes);
            self.passed = self.passed.min(bytes / 2);
        }
    }

    /// A request of `bytes` passed.
    fn passed(&mut self, bytes: usize) {
        match self.too_large {
            Some(limit) if bytes < limit => self.passed = self.passed.max(bytes),
            Some(_) => *self = Self::default(),
            None => {}
        }
    }

    /// How many bytes a request should have at most: what is known to pass, else half of what did not.
    fn most(&self) -> Option<usize> {
        self.too_large.map(|limit| self.passed.max(limit / 2).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_limit_is_learned_and_refined() {
        let mut limit = SizeLimit::default();
        assert_eq!(limit.most(), None);
        limit.refused(1000);
        assert_eq!(limit.most(), Some(500));
        limit.passed(700);
        assert_eq!(limit.most(), Some(700));
        limit.refused(600);
        assert_eq!(limit.most(), Some(300));
        limit.passed(600);
        assert_eq!(limit.most(), None, "what was too large has passed: the server has changed");
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let mut sizes = SizeLimits::default();
        for number in 0..3 * REMEMBERED as u128 {
            sizes.refused(Partition(number), 1000);
            assert_eq!(sizes.most(Partition(number)), Some(500), "the last one always is");
        }
        assert_eq!(sizes.0.len(), REMEMBERED);
        let known: Vec<_> = sizes.0.keys().copied().collect();
        known.into_iter().for_each(|partition| sizes.passed(partition, 1000));
        assert!(sizes.0.is_empty(), "what was too large has passed");
    }
}
