//! Finding what is wrong in a batch by sending it in halves.

use crate::{pending::PendingBatch, trace};
use forebay_core::{DropReason, SplitCause};
use std::{error::Error, fmt, sync::Arc, sync::atomic::AtomicU32, sync::atomic::Ordering::Relaxed};

/// The parts of batches that the server refused for what is in them, and how they are found at fault or good. Pure state.
#[derive(Debug)]
pub(crate) struct Bisection<T, A> {
    /// How many requests may be spent on one batch, the first included; below 2 none is ever split.
    budget: u32,
    /// The parts that wait to be sent; the last is next.
    parts: Vec<PendingBatch<T, A>>,
    /// Whether a part is in flight: its other half waits for what becomes of it.
    part_in_flight: bool,
    /// Counts the splits, so that each has a number of its own.
    splits: u64,
}

/// What a batch knows of the split that it comes from, and what may still be spent on it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Split {
    /// How many requests all parts of one batch may still take together; `None` before the first split.
    budget: Option<Arc<AtomicU32>>,
    /// The number of the split that this part comes from, and what was wrong with the whole.
    from: Option<(u64, SplitCause)>,
    /// The other part of the same split was found good: the fault is in this one, and sending it whole would show nothing.
    known_bad: bool,
}

/// The part of a batch that was not sent, as the other part was found good.
#[derive(Debug)]
pub(crate) struct KnownBad;

// === impl Bisection ===

impl<T, A> Bisection<T, A> {
    pub(crate) fn new(budget: u32) -> Self {
        Self { budget, parts: Vec::new(), part_in_flight: false, splits: 0 }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// Puts a batch in front of the parts: it is sent next.
    pub(crate) fn push(&mut self, batch: PendingBatch<T, A>) {
        self.parts.push(batch);
    }

    /// The part to send next, unless its other half is in flight.
    pub(crate) fn next(&mut self) -> Option<PendingBatch<T, A>> {
        let next = self.parts.last()?;
        if self.part_in_flight && next.split.is_part() { None } else { self.parts.pop() }
    }

    /// All parts.
    pub(crate) fn take_all(&mut self) -> Vec<PendingBatch<T, A>> {
        self.part_in_flight = false;
        std::mem::take(&mut self.parts)
    }

    /// `batch` is given to the inner service.
    pub(crate) fn sent(&mut self, batch: &PendingBatch<T, A>) {
        batch.split.pay();
        self.part_in_flight |= batch.split.is_part();
    }

    /// `batch` has come back.
    pub(crate) fn returned(&mut self, batch: &PendingBatch<T, A>) {
        if batch.split.is_part() {
            self.part_in_flight = false;
        }
    }

    /// Finds out again whether a part is in flight: after a panic, one that was sent may be lost.
    pub(crate) fn recount(&mut self, in_flight: &[&PendingBatch<T, A>]) {
        self.part_in_flight = in_flight.iter().any(|batch| batch.split.is_part());
    }

    /// The server took all of `batch`: of two parts, if this one was good, the other is at fault.
    pub(crate) fn delivered(&mut self, batch: &PendingBatch<T, A>) {
        if let Some(next) = self.parts.last_mut() {
            next.split.other_was_good(&batch.split);
        }
    }

    /// Whether a batch that is refused for what is in it may be sent in parts at all.
    pub(crate) fn is_on(&self) -> bool {
        self.budget >= 2
    }

    /// Splits a batch that was refused for what is in it: a part of it may pass.
    ///
    /// Returns the batch with the reason to drop it, if it is found at fault or nothing may be spent on it any more; `otherwise`
    /// is that reason unless one item is too large by itself.
    pub(crate) fn bisect(
        &mut self,
        mut batch: PendingBatch<T, A>,
        cause: SplitCause,
        otherwise: DropReason,
    ) -> Option<(PendingBatch<T, A>, DropReason)> {
        if !self.is_on() || batch.items.is_none() {
            return Some((batch, otherwise));
        }
        // ## refused => at fault: it is one item.
        if batch.len() <= 1 {
            let is_too_large = matches!(cause, SplitCause::TooLarge | SplitCause::TooLargeForOne);
            return Some((batch, if is_too_large { DropReason::TooLarge } else { otherwise }));
        }
        // ## refused => given up: the budget is spent.
        if !batch.split.may_halve(self.budget) {
            return Some((batch, otherwise));
        }
        // ## refused => two parts
        trace::split(batch.len(), cause);
        let half = batch.len() / 2;
        self.number_parts(&mut batch, cause);
        let (left, right) = batch.split_at(half);
        self.parts.push(right);
        self.parts.push(left);
        None
    }

    /// The first part of a batch that is known to be too large for its server, which takes `most` bytes; the rest is sent next.
    pub(crate) fn shrink(&mut self, mut batch: PendingBatch<T, A>, most: usize) -> PendingBatch<T, A> {
        if batch.charge.bytes <= most || batch.len() <= 1 || batch.items.is_none() {
            return batch;
        }
        if batch.split.is_part() {
            // Of pieces of one half, that one is good says nothing about the next.
            self.number_parts(&mut batch, SplitCause::TooLarge);
        }
        // As many items as fit if all weigh the same; at least one.
        let share = batch.len() as u128 * most as u128 / batch.charge.bytes.max(1) as u128;
        let fits = usize::try_from(share).unwrap_or(usize::MAX).clamp(1, batch.len() - 1);
        let (first, rest) = batch.split_at(fits);
        self.parts.push(rest);
        first
    }

    fn number_parts(&mut self, batch: &mut PendingBatch<T, A>, cause: SplitCause) {
        self.splits += 1;
        batch.split.parts_of(self.splits, cause);
    }
}

// === impl Split ===

impl Split {
    /// Whether the batch may be halved once more, for which `budget` requests are allowed in all, the first included.
    fn may_halve(&mut self, budget: u32) -> bool {
        // The request that has just failed was the first.
        let left = self.budget.get_or_insert_with(|| Arc::new(AtomicU32::new(budget.saturating_sub(1))));
        left.load(Relaxed) > 0
    }

    /// What follows are the two parts of a split, which `number` distinguishes from those of any other.
    fn parts_of(&mut self, number: u64, cause: SplitCause) {
        self.from = Some((number, cause));
        self.known_bad = false;
    }

    /// Pays for one request; a batch that was never split is free.
    fn pay(&self) {
        if let Some(left) = &self.budget {
            // One worker sends the parts one after the other, so that no other thread changes it in between.
            left.store(left.load(Relaxed).saturating_sub(1), Relaxed);
        }
    }

    /// Whether a request may still be paid for.
    pub(crate) fn can_pay(&self) -> bool {
        self.budget.as_ref().is_none_or(|left| left.load(Relaxed) > 0)
    }

    /// Whether this is a part of a batch that was split for what is in it.
    pub(crate) fn is_part(&self) -> bool {
        self.from.is_some()
    }

    /// `other` was good. If it is the other part of the same split, and an item is to blame, the fault is here.
    fn other_was_good(&mut self, other: &Self) {
        if self.from == other.from && matches!(self.from, Some((_, SplitCause::BadItem))) {
            self.known_bad = true;
        }
    }

    /// Whether this part is known to be at fault without having been sent.
    pub(crate) fn is_known_bad(&self) -> bool {
        self.known_bad
    }
}

// === impl KnownBad ===

impl fmt::Display for KnownBad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this part of the batch is at fault, for the other part was taken")
    }
}

impl Error for KnownBad {}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(items: u8) -> PendingBatch<u8, ()> {
        PendingBatch::of((0..items).collect())
    }

    fn is_given_up(bisection: &mut Bisection<u8, ()>, batch: PendingBatch<u8, ()>) -> Option<DropReason> {
        bisection.bisect(batch, SplitCause::BadItem, DropReason::Rejected).map(|(_, reason)| reason)
    }

    #[test]
    fn a_budget_is_shared_by_all_parts() {
        // The first request, and two for the parts.
        let mut bisection = Bisection::new(3);
        assert_eq!(is_given_up(&mut bisection, batch(1)), Some(DropReason::Rejected), "one item is at fault");
        assert_eq!(is_given_up(&mut bisection, batch(8)), None);
        let (left, right) = (bisection.next().unwrap(), bisection.next().unwrap());
        bisection.sent(&left);
        assert!(right.split.can_pay());
        bisection.sent(&right);
        assert_eq!(is_given_up(&mut bisection, left), Some(DropReason::Rejected), "nothing is left");
        assert!(!right.split.can_pay());
    }

    #[test]
    fn of_two_parts_the_other_is_at_fault_unless_the_whole_was_only_too_large() {
        let at_fault = |cause, number| {
            let (mut one, mut other) = (Split::default(), Split::default());
            one.parts_of(1, cause);
            other.parts_of(number, cause);
            one.other_was_good(&other);
            one.is_known_bad()
        };
        assert!(at_fault(SplitCause::BadItem, 1));
        assert!(!at_fault(SplitCause::BadItem, 2));
        assert!(!at_fault(SplitCause::TooLarge, 1));
        let mut whole = Split::default();
        whole.other_was_good(&Split::default());
        assert!(!whole.is_known_bad());
    }
}
