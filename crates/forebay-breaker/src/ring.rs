//! A window over the last so many calls: one bit each.

use crate::snapshot::WindowStatus;

/// Whether each of the last `calls` results was bad.
#[derive(Clone, Debug)]
pub(crate) struct Ring {
    /// One bit for each call, set where it was bad.
    bits: Box<[u64]>,
    /// The length of the window.
    calls: u32,
    /// The bit of the next call.
    next: u32,
    /// How many calls are in the window.
    filled: u32,
    /// How many of them were bad.
    bad: u32,
}

// === impl Ring ===

impl Ring {
    pub(crate) fn new(calls: u32) -> Self {
        Self { bits: vec![0; calls.div_ceil(64) as usize].into(), calls, next: 0, filled: 0, bad: 0 }
    }

    /// Records one result; the oldest leaves.
    pub(crate) fn push(&mut self, bad: bool) {
        let (cell, bit) = ((self.next / 64) as usize, 1_u64 << (self.next % 64));
        let Some(cell) = self.bits.get_mut(cell) else { return };
        if self.filled < self.calls {
            self.filled += 1;
        } else if *cell & bit != 0 {
            self.bad -= 1;
        }
        if bad {
            *cell |= bit;
            self.bad += 1;
        } else {
            *cell &= !bit;
        }
        self.next = (self.next + 1) % self.calls;
    }

    pub(crate) fn tally(&self) -> WindowStatus {
        WindowStatus { calls: u64::from(self.filled), bad: u64::from(self.bad) }
    }

    /// Full and without a bad result: one more good one changes nothing.
    pub(crate) fn is_settled(&self) -> bool {
        self.filled == self.calls && self.bad == 0
    }

    pub(crate) fn clear(&mut self) {
        self.bits.fill(0);
        (self.next, self.filled, self.bad) = (0, 0, 0);
    }
}
