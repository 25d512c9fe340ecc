use crate::fifo::{Fifo, Swapped};
use forebay_core::Priority;

/// Two lanes of entries, and whose turn it is. Pure state.
///
/// High overtakes normal, but of any [`Turn::NORMAL_EVERY`] entries taken while both wait, one is normal: no flood of
/// high priority starves the rest. Within a lane entries leave in the order they came.
#[derive(Debug)]
pub(crate) struct Lanes<E> {
    pub(crate) high: Fifo<E>,
    pub(crate) normal: Fifo<E>,
    turn: Turn,
}

/// Whose turn it is when both lanes wait: high overtakes normal, and normal never starves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    high_in_a_row: u8,
}

// === impl Turn ===

impl Turn {
    /// Of this many takes while both lanes wait, one is normal.
    pub const NORMAL_EVERY: u8 = 8;

    /// The lane to take from, of those that wait; `None` if neither does.
    #[inline]
    pub fn take(&mut self, high_waits: bool, normal_waits: bool) -> Option<Priority> {
        match (high_waits, normal_waits) {
            (true, true) if self.high_in_a_row + 1 < Self::NORMAL_EVERY => {
                self.high_in_a_row += 1;
                return Some(Priority::High);
            }
            // Nobody was overtaken: no turns are saved up.
            _ => self.high_in_a_row = 0,
        }
        match (high_waits, normal_waits) {
            (_, true) => Some(Priority::Normal),
            (true, false) => Some(Priority::High),
            (false, false) => None,
        }
    }
}

// === impl Lanes ===

impl<E> Lanes<E> {
    pub(crate) const fn new() -> Self {
        Self { high: Fifo::new(), normal: Fifo::new(), turn: Turn { high_in_a_row: 0 } }
    }

    #[inline]
    pub(crate) fn push(&mut self, entry: E, priority: Priority) {
        self.lane(priority).push(entry);
    }

    /// The next entry, and the lane it was in.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(E, Priority)> {
        let priority = self.turn.take(!self.high.is_empty(), !self.normal.is_empty())?;
        self.lane(priority).pop().map(|entry| (entry, priority))
    }

    /// Both lanes at once, with whose turn it is among their entries.
    #[inline]
    pub(crate) fn swap(&mut self, high: &mut Swapped<E>, normal: &mut Swapped<E>, turn: &mut Turn) -> bool {
        let whole = self.high.is_whole() && self.normal.is_whole();
        if whole {
            self.high.swap(high);
            self.normal.swap(normal);
            *turn = std::mem::take(&mut self.turn);
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
    fn turns_are_not_saved_up_while_nobody_waits() {
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
        let (mut high, mut normal, mut turn) = (Swapped::default(), Swapped::default(), Turn::default());
        (0..3).for_each(|n| lanes.push(n, Normal));
        assert_eq!(lanes.pop(), Some((0, Normal)));
        lanes.push(3, Normal);
        assert!(!lanes.swap(&mut high, &mut normal, &mut turn), "older ones stand before the new one");
        assert_eq!(taken(&mut lanes), [1, 2, 3]);
        (4..6).for_each(|n| lanes.push(n, Normal));
        lanes.push(100, High);
        assert!(lanes.swap(&mut high, &mut normal, &mut turn));
        let left = |out: &mut Swapped<u32>| {
            let mut leaving = out.leave();
            std::iter::from_fn(|| leaving.next()).collect::<Vec<_>>()
        };
        assert_eq!((left(&mut high), left(&mut normal), lanes.len()), (vec![100], vec![4, 5], 0));
    }
}
