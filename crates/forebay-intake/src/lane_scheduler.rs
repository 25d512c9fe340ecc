use forebay_core::Priority;

/// Whose turn it is when both lanes wait: high overtakes normal, and normal never starves.
#[derive(Clone, Copy, Debug, Default)]
pub struct LaneScheduler {
    high_in_a_row: u8,
}

// === impl LaneScheduler ===

impl LaneScheduler {
    /// No lane was taken from yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { high_in_a_row: 0 }
    }

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
