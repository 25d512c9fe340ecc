use crate::fifo::{Fifo, Swapped};
use forebay_core::Priority;
use forebay_intake::LaneScheduler;

/// Two lanes of entries, and the lane to take from next. Pure state.
///
/// The high lane overtakes, but of any [`LaneScheduler::NORMAL_EVERY`] entries taken while both lanes wait one is normal, so
/// that no flood of high priority starves the rest. Within a lane entries leave in the order in which they were pushed.
#[derive(Debug)]
pub(crate) struct Lanes<E> {
    pub(crate) high: Fifo<E>,
    pub(crate) normal: Fifo<E>,
    scheduler: LaneScheduler,
}

// === impl Lanes ===

impl<E> Lanes<E> {
    pub(crate) const fn new() -> Self {
        Self { high: Fifo::new(), normal: Fifo::new(), scheduler: LaneScheduler::new() }
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: E, priority: Priority) {
        self.lane(priority).push(entry);
    }

    /// The next entry, and the lane it was in.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(E, Priority)> {
        let priority = self.scheduler.take(!self.high.is_empty(), !self.normal.is_empty())?;
        self.lane(priority).pop().map(|entry| (entry, priority))
    }

    /// Swaps both lanes out at once, with the scheduler of their order; `false`, and nothing is moved, where entries that were
    /// set apart for single takes have to leave first.
    #[inline]
    pub(crate) fn swap(
        &mut self,
        high: &mut Swapped<E>,
        normal: &mut Swapped<E>,
        scheduler: &mut LaneScheduler,
    ) -> bool {
        let whole = self.high.is_whole() && self.normal.is_whole();
        if whole {
            self.high.swap(high);
            self.normal.swap(normal);
            *scheduler = std::mem::take(&mut self.scheduler);
        }
        whole
    }

    #[inline]
    fn lane(&mut self, priority: Priority) -> &mut Fifo<E> {
        match priority {
            Priority::High => &mut self.high,
            Priority::Normal => &mut self.normal,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.high.len() + self.normal.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Priority::{High, Normal};

    fn taken(lanes: &mut Lanes<u32>) -> Vec<u32> {
        std::iter::from_fn(|| lanes.pop()).map(|(entry, _)| entry).collect()
    }

    #[test]
    fn q13_high_overtakes_normal() {
        let mut lanes = Lanes::new();
        (0..3).for_each(|n| lanes.push(n, Normal));
        lanes.push(100, High);
        assert_eq!(taken(&mut lanes), [100, 0, 1, 2]);
    }

    #[test]
    fn normal_gets_one_turn_in_eight_however_much_high_there_is() {
        let mut lanes = Lanes::new();
        (0..4).for_each(|n| lanes.push(n, Normal));
        (100..124).for_each(|n| lanes.push(n, High));
        let order = taken(&mut lanes);
        let places: Vec<_> = (0..4).map(|n| order.iter().position(|taken| *taken == n).unwrap()).collect();
        assert_eq!(places, [7, 15, 23, 27]);
        let high: Vec<_> = order.iter().filter(|n| **n >= 100).copied().collect();
        assert!(high.is_sorted(), "FIFO within a lane");
    }

    #[test]
    fn turns_are_not_saved_up_while_no_entry_waits() {
        let mut lanes = Lanes::new();
        (0..7).for_each(|n| lanes.push(n, High));
        assert_eq!(taken(&mut lanes).len(), 7);
        lanes.push(1, Normal);
        lanes.push(2, High);
        assert_eq!(taken(&mut lanes), [2, 1]);
    }

    #[test]
    fn entries_leave_in_order_however_they_are_taken() {
        let mut lanes = Lanes::new();
        let (mut high, mut normal, mut scheduler) = (Swapped::default(), Swapped::default(), LaneScheduler::default());
        (0..3).for_each(|n| lanes.push(n, Normal));
        assert_eq!(lanes.pop(), Some((0, Normal)));
        lanes.push(3, Normal);
        assert!(!lanes.swap(&mut high, &mut normal, &mut scheduler), "older entries have to leave before the new one");
        assert_eq!(taken(&mut lanes), [1, 2, 3]);
        (4..6).for_each(|n| lanes.push(n, Normal));
        lanes.push(100, High);
        assert!(lanes.swap(&mut high, &mut normal, &mut scheduler));
        let left = |out: &mut Swapped<u32>| {
            let mut leaving = out.leave();
            std::iter::from_fn(|| leaving.next()).collect::<Vec<_>>()
        };
        assert_eq!((left(&mut high), left(&mut normal), lanes.len()), (vec![100], vec![4, 5], 0));
    }
}
