use forebay_core::{DropReason, Fate, ItemFate};
use forebay_intake::Charge;

/// The fates of the items of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BatchFates {
    /// All have met this one.
    All(Fate),
    /// The last `dropped` items were dropped, and those before were delivered.
    Last { dropped: usize, reason: DropReason },
    /// Each has met its own, in the order of the items.
    Each(Vec<Fate>),
}

// === impl BatchFates ===

impl BatchFates {
    /// The fates that an inner service gave, one per item; what it left out has failed.
    pub(crate) fn each(given: &[ItemFate], items: usize) -> Self {
        let missing = Fate::Dropped(DropReason::Failed);
        let fate = |index: usize| given.get(index).map_or(missing, |fate| fate.fate());
        Self::Each((0..items).map(fate).collect())
    }

    /// The fate of the item at `index` of `items`.
    pub(crate) fn of(&self, index: usize, items: usize) -> Fate {
        match self {
            Self::All(fate) => *fate,
            Self::Last { dropped, reason } if index.saturating_add(*dropped) >= items => Fate::Dropped(*reason),
            Self::Last { .. } => Fate::Delivered,
            Self::Each(fates) => fates.get(index).copied().unwrap_or(Fate::Dropped(DropReason::Failed)),
        }
    }

    /// `charge`, cut into what each fate gets.
    pub(crate) fn charges(&self, charge: Charge) -> Vec<(Charge, Fate)> {
        let items = usize::try_from(charge.items).unwrap_or(usize::MAX);
        let mut counts: Vec<(Charge, Fate)> = Vec::with_capacity(2);
        let mut count = |fate, items: u64| match counts.iter_mut().find(|(_, known)| *known == fate) {
            Some((charge, _)) => charge.items += items,
            None => counts.push((Charge { items, bytes: 0, epoch: charge.epoch }, fate)),
        };
        match self {
            Self::All(fate) => count(*fate, charge.items),
            Self::Last { dropped, reason } => {
                let dropped = (*dropped).min(items) as u64;
                if charge.items > dropped {
                    count(Fate::Delivered, charge.items - dropped);
                }
                if dropped > 0 {
                    count(Fate::Dropped(*reason), dropped);
                }
            }
            Self::Each(_) => (0..items).for_each(|index| count(self.of(index, items), 1)),
        }
        // The bytes are freed all at once, whatever became of the items.
        if let Some((first, _)) = counts.first_mut() {
            first.bytes = charge.bytes;
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn charges(fates: &BatchFates, items: u64) -> Vec<(u64, usize, Fate)> {
        let charge = Charge { items, bytes: 100, ..Charge::default() };
        fates.charges(charge).into_iter().map(|(charge, fate)| (charge.items, charge.bytes, fate)).collect()
    }

    #[test]
    fn every_item_and_every_byte_is_charged_once() {
        let expired = Fate::Dropped(DropReason::Expired);
        let rejected = Fate::Dropped(DropReason::Rejected);
        assert_eq!(charges(&BatchFates::All(expired), 3), [(3, 100, expired)]);
        let last = BatchFates::Last { dropped: 2, reason: DropReason::Rejected };
        assert_eq!(charges(&last, 5), [(3, 100, Fate::Delivered), (2, 0, rejected)]);
        assert_eq!(charges(&last, 2), [(2, 100, rejected)]);
        assert_eq!(charges(&last, 1), [(1, 100, rejected)], "more refused than there were");
        assert_eq!((last.of(2, 5), last.of(3, 5)), (Fate::Delivered, rejected));
        let each = BatchFates::each(&[ItemFate::Final(Fate::Delivered), ItemFate::Retry(DropReason::Rejected)], 3);
        let failed = Fate::Dropped(DropReason::Failed);
        assert_eq!(charges(&each, 3), [(1, 100, Fate::Delivered), (1, 0, rejected), (1, 0, failed)]);
        assert_eq!(each.of(2, 3), failed);
    }

    #[test]
    fn f26_more_refused_than_were_sent_is_all_of_them() {
        let rejected = Fate::Dropped(DropReason::Rejected);
        for dropped in [3, 4, usize::MAX] {
            let last = BatchFates::Last { dropped, reason: DropReason::Rejected };
            assert_eq!(charges(&last, 3), [(3, 100, rejected)], "{dropped}");
            assert_eq!([0, 1, 2].map(|index| last.of(index, 3)), [rejected; 3], "{dropped}");
        }
    }
}
