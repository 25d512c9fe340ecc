//! The batches as one would write them down first: what is open, what is closed, and which one is next.

use super::Item;
use forebay_core::Priority;
use std::collections::VecDeque;

/// The items of one batch, and when it was first seen.
#[derive(Clone, Debug)]
pub(crate) struct Lot {
    pub(crate) items: VecDeque<Item>,
    opened: Option<u64>,
    /// How many flushes there were before.
    epoch: usize,
}

/// When a batch closes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) items: usize,
    pub(crate) bytes: usize,
    pub(crate) close_on_high: bool,
    /// How many may be open.
    pub(crate) open: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Lots {
    pub(crate) rules: Rules,
    /// In the order in which they were opened.
    open: Vec<Lot>,
    /// How many flushes there were.
    pub(crate) epoch: usize,
    high: VecDeque<Lot>,
    pub(crate) normal: VecDeque<Lot>,
    /// High ones that were sent since no normal one waited, and since one was sent.
    high_in_a_row: u32,
    high_since_normal: u32,
}

// === impl Lot ===

impl Lot {
    fn key(&self) -> u8 {
        self.items[0].key
    }

    fn bytes(&self) -> usize {
        self.items.iter().map(|item| item.bytes).sum()
    }

    fn is_high(&self) -> bool {
        self.items.iter().any(|item| item.priority == Priority::High)
    }
}

// === impl Lots ===

impl Lots {
    pub(crate) fn enter(&mut self, item: Item) {
        let Rules { items, bytes, close_on_high, open } = self.rules;
        let of_key = |lots: &[Lot]| lots.iter().position(|lot| lot.key() == item.key);
        if let Some(place) = of_key(&self.open)
            && self.open[place].bytes() + item.bytes > bytes
        {
            self.close(place);
        }
        let place = of_key(&self.open).unwrap_or_else(|| {
            if self.open.len() >= open {
                self.close(0);
            }
            self.open.push(Lot { items: VecDeque::new(), opened: None, epoch: self.epoch });
            self.open.len() - 1
        });
        let lot = &mut self.open[place];
        lot.items.push_back(item);
        if lot.items.len() >= items || lot.bytes() >= bytes || close_on_high && item.priority == Priority::High {
            self.close(place);
        }
    }

    fn close(&mut self, place: usize) {
        let lot = self.open.remove(place);
        if lot.is_high() { self.high.push_back(lot) } else { self.normal.push_back(lot) }
    }

    pub(crate) fn close_all(&mut self) {
        while !self.open.is_empty() {
            self.close(0);
        }
    }

    /// The worker looks at the ages, at this many milliseconds.
    pub(crate) fn look(&mut self, now: u64) {
        if self.normal.is_empty() {
            self.high_in_a_row = 0;
        }
        let old = |lot: &mut Lot| *lot.opened.get_or_insert(now) + 1000 <= now;
        let olds: Vec<_> = self.open.iter_mut().map(old).collect();
        for place in (0..olds.len()).rev().filter(|place| olds[*place]).collect::<Vec<_>>().into_iter().rev() {
            // Those before it that were closed have left the row.
            let gone = olds[..place].iter().filter(|old| **old).count();
            self.close(place - gone);
        }
    }

    /// The batch that is sent next: the one that begins with `first`, if it may be that one.
    pub(crate) fn next(&mut self, first: Item) -> Option<Lot> {
        if self.high.is_empty() && !self.normal.is_empty() {
            while let Some(place) = self.open.iter().position(Lot::is_high) {
                self.close(place);
            }
        }
        if self.normal.front().is_some_and(|lot| lot.items[0] == first) {
            // It overtakes nobody, or seven have overtaken it.
            let its_turn = self.high.is_empty() || self.high_since_normal >= 7;
            (self.high_in_a_row, self.high_since_normal) = (0, 0);
            return self.normal.pop_front().filter(|_| its_turn);
        }
        self.high_since_normal += 1;
        self.high_in_a_row = if self.normal.is_empty() { 0 } else { self.high_in_a_row + 1 };
        // Those that were closed together come in any order.
        let place = self.high.iter().position(|lot| lot.items[0] == first)?;
        self.high.remove(place).filter(|_| self.high_in_a_row <= 7)
    }

    /// The batches behind `lot` that are sent with it in a request of so many items: each of the same lane, of the same
    /// epoch, and all of them together no larger than one batch.
    pub(crate) fn join(&mut self, lot: &mut Lot, items: usize) {
        let lots = if lot.is_high() { &mut self.high } else { &mut self.normal };
        while lot.items.len() < items
            && let Some(next) = lots.front()
            && (next.key(), next.epoch) == (lot.key(), lot.epoch)
            && lot.items.len() + next.items.len() <= self.rules.items
            && lot.bytes() + next.bytes() <= self.rules.bytes
        {
            lot.items.extend(lots.pop_front().unwrap().items);
        }
    }

    /// How much could go to make room.
    pub(crate) fn evictable(&self) -> (usize, usize) {
        (self.normal.iter().map(|lot| lot.items.len()).sum(), self.normal.iter().map(Lot::bytes).sum())
    }

    /// Takes out the oldest item of normal priority.
    pub(crate) fn evict(&mut self) -> Option<Item> {
        let lot = self.normal.front_mut()?;
        let item = lot.items.pop_front();
        if lot.items.is_empty() {
            self.normal.pop_front();
        }
        item
    }
}
