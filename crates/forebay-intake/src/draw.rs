use crate::{ByteBudget, byte_budget::Pool, sender_lines::SenderLines, wakers::wake};
use forebay_core::Priority;
use std::{fmt, sync::Arc, task::Waker};

/// What one intake draws from the budget that it shares with others.
pub(crate) struct Draw {
    pool: Arc<Pool>,
    /// The senders of the intake, which the budget has woken.
    pub(crate) lines: Arc<SenderLines>,
    /// The bytes that are reserved, those that are kept included.
    reserved: u64,
    /// The bytes of items that were evicted, which are for the item that they were evicted for.
    kept: u64,
    /// Whether bytes that are freed are kept.
    keeps: bool,
    /// Whether another member may go on with what was given back.
    owes_turn: bool,
}

// === impl Draw ===

impl Draw {
    pub(crate) fn new(budget: &ByteBudget) -> Self {
        let (pool, lines) = (Arc::clone(&budget.pool), Arc::default());
        Self { pool, lines, reserved: 0, kept: 0, keeps: false, owes_turn: false }
    }

    /// The most bytes of the budget.
    pub(crate) fn most(&self) -> u64 {
        self.pool.most()
    }

    /// Reserves the bytes of an item, if there is room for it.
    #[inline]
    pub(crate) fn reserve(&mut self, bytes: usize, priority: Priority) -> bool {
        let bytes = bytes as u64;
        let Some(used) = self.pool.reserve(bytes, priority, self.kept) else { return false };
        self.kept -= used;
        self.reserved += bytes - used;
        true
    }

    /// The bytes of items that left are free.
    #[inline]
    pub(crate) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        if self.keeps {
            self.kept += bytes;
            return;
        }
        self.reserved -= bytes;
        self.owes_turn |= self.pool.give_back(bytes);
    }

    /// Whether what is freed from now on is kept for the next item that is admitted; what is left of it is given back in the end.
    pub(crate) fn keep_freed(&mut self, keeps: bool) {
        self.keeps = keeps;
        if !keeps {
            let rest = std::mem::take(&mut self.kept);
            self.reserved -= rest;
            self.owes_turn |= self.pool.give_back(rest);
        }
    }

    /// Whether an item has room once what `freed` holds is given back.
    pub(crate) fn has_room(&self, bytes: usize, priority: Priority, freed: usize) -> bool {
        self.pool.has_room(bytes as u64, priority, (freed as u64).saturating_add(self.kept))
    }

    /// As [`has_room`](Self::has_room) for an item without weight. Where there is none, this intake has its turn when bytes are
    /// given back.
    pub(crate) fn has_room_or_waits(&self, priority: Priority) -> bool {
        self.has_room(0, priority, 0) || {
            self.wait(0, priority);
            self.has_room(0, priority, 0)
        }
    }

    /// From now on this intake has a turn when an item of `bytes` has room. The caller looks once more after this.
    pub(crate) fn wait(&self, bytes: usize, priority: Priority) {
        self.pool.wait(&self.lines, bytes as u64, priority);
    }

    /// Whether more than three quarters of what a normal item may fill are held, apart from `leaving`.
    pub(crate) fn is_under_pressure(&self, leaving: usize) -> bool {
        self.pool.is_under_pressure(leaving as u64)
    }

    /// A turn that is owed to another member, because bytes were given back.
    #[inline]
    pub(crate) fn take_turn(&mut self) -> Option<Waker> {
        if std::mem::take(&mut self.owes_turn) { Some(self.pool.turn()) } else { None }
    }

    /// A turn that this intake does not use, if a member waits for one.
    pub(crate) fn pass_turn(&self) -> Option<Waker> {
        self.pool.has_waiting().then(|| self.pool.turn())
    }
}

impl Drop for Draw {
    fn drop(&mut self) {
        // What its owner held when it was dropped goes back, so that no member pays for one that is gone.
        self.pool.leave(&self.lines);
        if self.pool.give_back(self.reserved) {
            wake(self.pool.turn());
        }
    }
}

impl fmt::Debug for Draw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draw").field("reserved", &self.reserved).field("kept", &self.kept).finish_non_exhaustive()
    }
}
