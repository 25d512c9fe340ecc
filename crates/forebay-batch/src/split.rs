//! Finding what is wrong in a batch by cutting it in halves.

use forebay_core::SplitCause;
use std::{sync::Arc, sync::atomic::AtomicU32, sync::atomic::Ordering::Relaxed};

/// How a lot came to be by cutting, and what may still be spent on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Split {
    /// Requests that all parts of one batch may still take, together; `None` before the first cut.
    budget: Option<Arc<AtomicU32>>,
    /// The cut that this part comes from, and what was wrong with the whole.
    cut: Option<(u64, SplitCause)>,
    /// The other part of the same cut was found good: the fault is in this one, and sending it whole would tell nothing.
    at_fault: bool,
}

/// What to do with a lot that the far side did not take because of what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Cut it in two.
    Cut,
    /// It is one item, and at fault.
    Found,
    /// Nothing more may be spent on it.
    Spent,
}

// === impl Split ===

impl Split {
    /// Judges a lot of `items`, for which `budget` requests are allowed in all, the first included.
    pub(crate) fn judge(&mut self, items: usize, budget: u32) -> Verdict {
        if items <= 1 {
            return Verdict::Found;
        }
        // The request that has just failed was the first.
        let left = self.budget.get_or_insert_with(|| Arc::new(AtomicU32::new(budget.saturating_sub(1))));
        if left.load(Relaxed) == 0 { Verdict::Spent } else { Verdict::Cut }
    }

    /// The two parts of a cut, told apart from those of any other by `number`.
    pub(crate) fn parts_of(&mut self, number: u64, cause: SplitCause) {
        self.cut = Some((number, cause));
        self.at_fault = false;
    }

    /// Pays for one request; a lot that was never cut is free.
    pub(crate) fn pay(&self) {
        if let Some(left) = &self.budget {
            // Parts are sent one after the other by one worker, so this cannot go below zero unseen.
            left.store(left.load(Relaxed).saturating_sub(1), Relaxed);
        }
    }

    /// Whether a request may still be paid for.
    pub(crate) fn can_pay(&self) -> bool {
        self.budget.as_ref().is_none_or(|left| left.load(Relaxed) > 0)
    }

    /// Whether this is a part of a lot that was cut for what is in it.
    pub(crate) fn is_part(&self) -> bool {
        self.cut.is_some()
    }

    /// `other` was good. If it is the other part of the same cut, and an item is to blame, the fault is here.
    pub(crate) fn other_was_good(&mut self, other: &Self) {
        if self.cut == other.cut && matches!(self.cut, Some((_, SplitCause::BadItem))) {
            self.at_fault = true;
        }
    }

    /// Whether this part is known to be at fault without having been sent.
    pub(crate) fn is_at_fault(&self) -> bool {
        self.at_fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_shared_by_all_parts() {
        let mut split = Split::default();
        assert_eq!(split.judge(1, 9), Verdict::Found);
        assert_eq!(split.judge(8, 3), Verdict::Cut);
        split.parts_of(1, SplitCause::BadItem);
        let other = split.clone();
        split.pay();
        assert!(other.can_pay());
        other.pay();
        assert_eq!(split.judge(4, 3), Verdict::Spent);
        assert!(!other.can_pay());
    }

    #[test]
    fn of_two_parts_the_other_is_at_fault_unless_the_whole_was_only_too_large() {
        let at_fault = |cause, number| {
            let (mut one, mut other) = (Split::default(), Split::default());
            one.parts_of(1, cause);
            other.parts_of(number, cause);
            one.other_was_good(&other);
            one.is_at_fault()
        };
        assert!(at_fault(SplitCause::BadItem, 1));
        assert!(!at_fault(SplitCause::BadItem, 2));
        assert!(!at_fault(SplitCause::TooLarge, 1));
        let mut whole = Split::default();
        whole.other_was_good(&Split::default());
        assert!(!whole.is_at_fault());
    }
}
