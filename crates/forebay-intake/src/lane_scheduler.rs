use forebay_core::Priority;

/// The lane to take from next: the high lane overtakes, and the normal lane never starves.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneScheduler {
    /// How often the high lane was taken from in a row while the normal lane waited.
    high_in_a_row: u8,
}

// === impl LaneScheduler ===

impl LaneScheduler {
    /// A scheduler before its first turn.
    #[must_use]
    pub const fn new() -> Self {
        Self { high_in_a_row: 0 }
    }

    /// Of this many takes while both lanes wait, one is normal.
    pub const NORMAL_EVERY: u8 = 8;

    /// The lane to take from, of those that have items; `None` if neither has.
    #[inline]
    pub fn take(&mut self, high_waits: bool, normal_waits: bool) -> Option<Priority> {
        match (high_waits, normal_waits) {
            (true, true) if self.high_in_a_row + 1 < Self::NORMAL_EVERY => {
                self.high_in_a_row += 1;
                return Some(Priority::High);
            }
            // The normal lane was not overtaken, so it saves up no turn.
            _ => self.high_in_a_row = 0,
        }
        match (high_waits, normal_waits) {
            (_, true) => Some(Priority::Normal),
            (true, false) => Some(Priority::High),
            (false, false) => None,
        }
    }
}
