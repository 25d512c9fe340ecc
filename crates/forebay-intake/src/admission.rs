use crate::{ByteBudget, Limits, draw::Draw, limits::Bounds};
use forebay_core::{ConfigError, DropReason, Fate, Ledger, Priority, Totals};
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    task::Waker,
};

/// Limits, slots and ledger: which items are admitted, what they hold, and what became of them.
///
/// Pure state, without lock, clock or runtime. An [`Intake`](crate::Intake) keeps it under the lock of its owner, so that
/// limits, slots and ledger always agree. An item that was admitted holds its slot until it is settled.
#[derive(Debug)]
pub struct Admission {
    /// The limits, as numbers to compare with.
    bounds: Bounds,
    /// The bytes that are held.
    bytes: usize,
    /// What is drawn from a budget that others draw from too.
    pub(crate) draw: Option<Box<Draw>>,
    /// Counts every offer and every fate; the items that are held are those it counts as pending.
    ledger: Ledger,
    /// Items of normal priority held per key; empty where no fair share is asked for.
    shares: HashMap<u64, u64>,
    /// The epoch that items are admitted in; a flush ends it.
    epoch: u32,
    /// How many items had been admitted when the epoch began.
    accepted_before: u64,
    /// Items of this epoch that have a fate.
    settled: u64,
    /// Items without a fate of the epochs before, oldest epoch first, without gaps; the first is never zero.
    earlier: VecDeque<u64>,
}

/// What admitted items hold: given back with their fate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// How many items.
    pub items: u64,
    /// Their weight together.
    pub bytes: usize,
    /// The epoch that they were admitted in.
    pub epoch: Epoch,
}

/// The time between two flushes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch(u32);

// === impl Admission ===

impl Admission {
    /// An empty admission.
    ///
    /// # Errors
    ///
    /// When a knob of `limits` is out of its range.
    pub fn new(limits: &Limits) -> Result<Self, ConfigError> {
        Ok(Self {
            bounds: limits.bounds()?,
            bytes: 0,
            draw: None,
            ledger: Ledger::default(),
            shares: HashMap::new(),
            epoch: 0,
            accepted_before: 0,
            settled: 0,
            earlier: VecDeque::new(),
        })
    }

    /// The same admission, which also needs room in `budget` for each item; to be called before the first one.
    #[must_use]
    pub fn byte_budget(mut self, budget: &ByteBudget) -> Self {
        debug_assert!(self.bytes == 0, "what is held was not drawn from the budget");
        self.draw = Some(Box::new(Draw::new(budget)));
        self.bound_by_budget();
        self
    }

    /// An item that is heavier than the whole budget is too large.
    fn bound_by_budget(&mut self) {
        if let Some(draw) = &self.draw {
            let most = usize::try_from(draw.most()).unwrap_or(usize::MAX);
            self.bounds.item_bytes = self.bounds.item_bytes.min(most);
        }
    }

    /// Changes the limits. What is held stays, even above the new ones; no item is admitted until enough have left.
    ///
    /// # Errors
    ///
    /// When a knob is out of its range; the limits are unchanged then.
    pub fn set_limits(&mut self, limits: &Limits) -> Result<(), ConfigError> {
        self.bounds = limits.bounds()?;
        self.bound_by_budget();
        Ok(())
    }

    /// Admits one item of `bytes`; a refusal is not counted before [`refuse`](Self::refuse).
    ///
    /// `key` is the item's fair-share key, if shares are kept.
    ///
    /// # Errors
    ///
    /// The reason for which the item is not admitted now.
    #[inline]
    pub fn admit(&mut self, bytes: usize, priority: Priority, key: Option<u64>) -> Result<Epoch, DropReason> {
        if !self.has_own_room(bytes, priority, Charge::default()) {
            return Err(self.reason(bytes, priority, key));
        }
        if let Some(key) = key
            && priority == Priority::Normal
        {
            self.take_share(key)?;
        }
        // Last, so that nothing is reserved for an item that is refused all the same: another member would miss it meanwhile.
        if let Some(draw) = &mut self.draw
            && !draw.reserve(bytes, priority)
        {
            if let Some(key) = key
                && priority == Priority::Normal
            {
                self.free_share(key);
            }
            return Err(DropReason::ByteBudget);
        }
        self.bytes += bytes;
        self.ledger.accept(1);
        Ok(Epoch(self.epoch))
    }

    /// Items of the current epoch that have no fate.
    fn current(&self) -> u64 {
        self.ledger.accepted() - self.accepted_before - self.settled
    }

    /// The epoch of every item that is held, if it is the same one for all.
    #[inline]
    #[must_use]
    pub fn only_epoch(&self) -> Option<Epoch> {
        self.earlier.is_empty().then_some(Epoch(self.epoch))
    }

    #[cold]
    fn reason(&self, bytes: usize, priority: Priority, key: Option<u64>) -> DropReason {
        let Bounds { items, bytes: most, item_bytes, soft_items, soft_bytes, share_items } = self.bounds;
        let held = self.ledger.pending();
        let shared = priority == Priority::Normal;
        if bytes > item_bytes {
            DropReason::TooLarge
        } else if shared && key.is_some_and(|key| self.shares.get(&key).is_some_and(|held| *held >= share_items)) {
            // Before the reasons that pass by themselves: room would not help.
            DropReason::FairShare
        } else if held >= items {
            DropReason::Full
        } else if priority == Priority::Normal && (held >= soft_items || self.bytes >= soft_bytes) {
            DropReason::SoftLimit
        } else {
            debug_assert!(bytes > most.saturating_sub(self.bytes));
            DropReason::Bytes
        }
    }

    fn take_share(&mut self, key: u64) -> Result<(), DropReason> {
        let held = self.shares.entry(key).or_insert(0);
        if *held >= self.bounds.share_items {
            return Err(DropReason::FairShare);
        }
        *held += 1;
        Ok(())
    }

    /// Counts items that were offered and not admitted.
    #[inline]
    pub fn refuse(&mut self, reason: DropReason, items: u64) {
        self.ledger.refuse(reason, items);
    }

    /// Counts the fate of what `charge` holds and frees its slots. Shares are freed by [`free_share`](Self::free_share).
    ///
    /// Returns whether an epoch is over with it, so that a flush may be over.
    #[inline]
    pub fn settle(&mut self, fate: Fate, charge: Charge) -> bool {
        let Charge { items, bytes, epoch } = charge;
        self.ledger.settle(fate, items);
        debug_assert!(self.bytes >= bytes, "{bytes} bytes freed, {} held", self.bytes);
        self.bytes -= bytes;
        if let Some(draw) = &mut self.draw {
            draw.give_back(bytes);
        }
        if epoch.0 == self.epoch {
            debug_assert!(self.current() >= items);
            self.settled += items;
            return false;
        }
        self.settle_earlier(items, epoch)
    }

    /// Counts items that have their fate after the end of their epoch.
    fn settle_earlier(&mut self, items: u64, epoch: Epoch) -> bool {
        let age = self.epoch.wrapping_sub(epoch.0) as usize;
        // The epoch of age 1 stands last.
        let place = self.earlier.len().checked_sub(age);
        let Some(count) = place.and_then(|place| self.earlier.get_mut(place)) else {
            debug_assert!(items == 0, "items of an epoch that was over");
            return false;
        };
        *count -= items;
        let before = self.earlier.len();
        while self.earlier.front() == Some(&0) {
            self.earlier.pop_front();
        }
        self.earlier.len() < before
    }

    /// Items that were spooled have met their final fate; returns how many, which is no more than are counted as spooled.
    pub fn settle_spooled(&mut self, fate: Fate, items: u64) -> u64 {
        let items = items.min(self.ledger.totals().spooled);
        self.ledger.settle_spooled(fate, items);
        items
    }

    /// Whether more than three quarters of what a normal item may fill are held, apart from what `leaving` holds.
    #[must_use]
    pub fn is_under_pressure(&self, leaving: Charge) -> bool {
        let items = self.ledger.pending().saturating_sub(leaving.items);
        let bytes = self.bytes.saturating_sub(leaving.bytes);
        let Bounds { soft_items, soft_bytes, .. } = self.bounds;
        items > soft_items - soft_items / 4
            || bytes > soft_bytes - soft_bytes / 4
            || self.draw.as_ref().is_some_and(|draw| draw.is_under_pressure(leaving.bytes))
    }

    /// A turn of the budget that is owed to another member, because bytes were given back; woken without the lock.
    #[inline]
    pub(crate) fn take_turn(&mut self) -> Option<Waker> {
        self.draw.as_mut().and_then(|draw| draw.take_turn())
    }

    /// A turn of the budget that this member does not use, if another one waits for it.
    pub(crate) fn pass_turn(&self) -> Option<Waker> {
        self.draw.as_ref().and_then(|draw| draw.pass_turn())
    }

    /// Whether a sender of this lane may try. Where only the budget is in its way, it has its turn when bytes are given back.
    pub(crate) fn may_try(&self, priority: Priority) -> bool {
        self.has_own_room(0, priority, Charge::default())
            && self.draw.as_ref().is_none_or(|draw| draw.has_room_or_waits(priority))
    }

    /// Frees one item of the fair share of `key`.
    pub fn free_share(&mut self, key: u64) {
        if let Entry::Occupied(mut held) = self.shares.entry(key) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }

    /// Ends the epoch. A flush is over when the returned epoch [is settled](Self::is_settled).
    pub fn end_epoch(&mut self) -> Epoch {
        let current = self.current();
        let ended = if current == 0 {
            // No item was admitted since the last flush, so this flush waits for that one.
            self.epoch.wrapping_sub(1)
        } else {
            self.earlier.push_back(current);
            self.accepted_before = self.ledger.accepted();
            self.settled = 0;
            let ended = self.epoch;
            self.epoch = ended.wrapping_add(1);
            ended
        };
        Epoch(ended)
    }

    /// Whether every item that was admitted in `epoch`, or before, has its fate.
    #[must_use]
    pub fn is_settled(&self, epoch: Epoch) -> bool {
        let age = self.epoch.wrapping_sub(epoch.0) as usize;
        // All epochs older than those in `earlier` are settled.
        if age == 0 { self.current() == 0 && self.earlier.is_empty() } else { self.earlier.len() < age }
    }

    /// Whether another item of this weight would be admitted, fair shares aside.
    #[inline]
    #[must_use]
    pub fn has_room(&self, bytes: usize, priority: Priority) -> bool {
        self.would_have_room(bytes, priority, Charge::default())
    }

    /// As [`has_room`](Self::has_room), once what `freed` holds is free.
    #[inline]
    #[must_use]
    pub fn would_have_room(&self, bytes: usize, priority: Priority, freed: Charge) -> bool {
        self.has_own_room(bytes, priority, freed)
            && self.draw.as_ref().is_none_or(|draw| draw.has_room(bytes, priority, freed.bytes))
    }

    /// As [`would_have_room`](Self::would_have_room), whatever the budget says.
    #[inline]
    fn has_own_room(&self, bytes: usize, priority: Priority, freed: Charge) -> bool {
        let bounds = &self.bounds;
        let held = self.ledger.pending().saturating_sub(freed.items);
        let held_bytes = self.bytes.saturating_sub(freed.bytes);
        let below = match priority {
            Priority::High => held < bounds.items,
            Priority::Normal => held < bounds.soft_items && held_bytes < bounds.soft_bytes,
        };
        // What is held may be above a limit that was lowered.
        below && bytes <= bounds.item_bytes && bytes <= bounds.bytes.saturating_sub(held_bytes)
    }

    /// Whether an item of this weight is refused however empty the queue is.
    #[must_use]
    pub fn is_too_large(&self, bytes: usize) -> bool {
        bytes > self.bounds.item_bytes
    }

    /// The bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The items held.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.ledger.pending()
    }

    /// How full it is: the larger of the shares of items and of bytes; above 1.0 after limits were lowered.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people; bounds are below 2^53")]
    pub fn fullness(&self) -> f64 {
        let items = self.ledger.pending() as f64 / self.bounds.items as f64;
        let bytes = self.bytes as f64 / self.bounds.bytes as f64;
        items.max(bytes)
    }

    /// The most items that may be held.
    #[must_use]
    pub fn max_items(&self) -> u64 {
        self.bounds.items
    }

    /// The most bytes that may be held.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.bounds.bytes
    }

    /// What became of every item so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.ledger.totals()
    }
}

// === impl Epoch ===

impl Epoch {
    /// Epochs are numbered in their order, and wrap around.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The epoch with this [number](Self::number).
    #[inline]
    #[must_use]
    pub const fn numbered(number: u32) -> Self {
        Self(number)
    }
}

// === impl Charge ===

impl Charge {
    /// What one item holds.
    #[inline]
    #[must_use]
    pub const fn one(bytes: usize, epoch: Epoch) -> Self {
        Self { items: 1, bytes, epoch }
    }
}

#[cfg(test)]
mod tests;
