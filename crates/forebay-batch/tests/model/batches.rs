//! The batches in their plainest form: what is open, what is closed, and which one is next.

use super::Item;
use forebay_core::Priority;
use std::collections::VecDeque;

/// The items of one batch, and when it was first seen.
#[derive(Clone, Debug)]
pub(crate) struct PlainBatch {
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
    /// It closes when a batch may be sent, and not after a while.
    pub(crate) gathers: bool,
    /// How many may be open.
    pub(crate) open: usize,
}

#[derive(Debug, Default)]
pub(crate) struct PlainBatches {
    pub(crate) rules: Rules,
    /// In the order in which they were opened.
    open: Vec<PlainBatch>,
    /// How many flushes there were.
    pub(crate) epoch: usize,
    high: VecDeque<PlainBatch>,
    pub(crate) normal: VecDeque<PlainBatch>,
    /// High ones that were sent since no normal one waited, and since one was sent.
    high_in_a_row: u32,
    high_since_normal: u32,
}

// === impl PlainBatch ===

impl PlainBatch {
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

// === impl PlainBatches ===

impl PlainBatches {
    pub(crate) fn enter(&mut self, item: Item) {
        let Rules { items, bytes, close_on_high, open, .. } = self.rules;
        let of_key = |batches: &[PlainBatch]| batches.iter().position(|batch| batch.key() == item.key);
        if let Some(place) = of_key(&self.open)
            && self.open[place].bytes() + item.bytes > bytes
        {
            self.close(place);
        }
        let place = of_key(&self.open).unwrap_or_else(|| {
            if self.open.len() >= open {
                self.close(0);
            }
            self.open.push(PlainBatch { items: VecDeque::new(), opened: None, epoch: self.epoch });
            self.open.len() - 1
        });
        let batch = &mut self.open[place];
        batch.items.push_back(item);
        if batch.items.len() >= items || batch.bytes() >= bytes || close_on_high && item.priority == Priority::High {
            self.close(place);
        }
    }

    fn close(&mut self, place: usize) {
        let batch = self.open.remove(place);
        if batch.is_high() { self.high.push_back(batch) } else { self.normal.push_back(batch) }
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
        if self.rules.gathers {
            return;
        }
        let old = |batch: &mut PlainBatch| *batch.opened.get_or_insert(now) + 1000 <= now;
        let olds: Vec<_> = self.open.iter_mut().map(old).collect();
        for place in (0..olds.len()).rev().filter(|place| olds[*place]).collect::<Vec<_>>().into_iter().rev() {
            // Those before it that were closed have left the row.
            let left = olds[..place].iter().filter(|old| **old).count();
            self.close(place - left);
        }
    }

    /// The batch that is sent next: the one that begins with `first`, if it may be that one.
    pub(crate) fn next(&mut self, first: Item) -> Option<PlainBatch> {
        if self.rules.gathers && self.high.is_empty() && self.normal.is_empty() && !self.open.is_empty() {
            self.close(0);
        }
        if self.high.is_empty() && !self.normal.is_empty() {
            while let Some(place) = self.open.iter().position(PlainBatch::is_high) {
                self.close(place);
            }
        }
        if self.normal.front().is_some_and(|batch| batch.items[0] == first) {
            // It overtakes no other, or seven have overtaken it.
            let its_turn = self.high.is_empty() || self.high_since_normal >= 7;
            (self.high_in_a_row, self.high_since_normal) = (0, 0);
            return self.normal.pop_front().filter(|_| its_turn);
        }
        self.high_since_normal += 1;
        self.high_in_a_row = if self.normal.is_empty() { 0 } else { self.high_in_a_row + 1 };
        // Those that were closed together are in any order.
        let place = self.high.iter().position(|batch| batch.items[0] == first)?;
        self.high.remove(place).filter(|_| self.high_in_a_row <= 7)
    }

    /// The batches behind `batch` that are sent with it in a request of so many items: each of the same lane, of the same
    /// epoch, and all of them together no larger than one batch.
    pub(crate) fn join(&mut self, batch: &mut PlainBatch, items: usize) {
        let batches = if batch.is_high() { &mut self.high } else { &mut self.normal };
        while batch.items.len() < items
            && let Some(next) = batches.front()
            && (next.key(), next.epoch) == (batch.key(), batch.epoch)
            && batch.items.len() + next.items.len() <= self.rules.items
            && batch.bytes() + next.bytes() <= self.rules.bytes
        {
            batch.items.extend(batches.pop_front().unwrap().items);
        }
    }

    /// How much could go to make room.
    pub(crate) fn evictable(&self) -> (usize, usize) {
        (self.normal.iter().map(|batch| batch.items.len()).sum(), self.normal.iter().map(PlainBatch::bytes).sum())
    }

    /// Takes out the oldest item of normal priority.
    pub(crate) fn evict(&mut self) -> Option<Item> {
        let batch = self.normal.front_mut()?;
        let item = batch.items.pop_front();
        if batch.items.is_empty() {
            self.normal.pop_front();
        }
        item
    }
}
