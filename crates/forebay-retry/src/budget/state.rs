//! The budget itself: what has been earned, what is left. No clock, no lock.

use tokio::time::Instant;

/// All amounts are in millionths of a retry.
#[derive(Debug)]
pub(super) struct BudgetState {
    terms: Terms,
    tokens: u64,
    /// Earned by calls since `second` began.
    earned: u64,
    /// When the second that is being counted began; `None` before the first look.
    second: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Earned by each call.
    pub(super) ratio: u64,
    /// Earned in each second at least.
    pub(super) floor: u64,
    /// What can be kept.
    pub(super) reserve: u64,
}

/// One retry.
pub(super) const ONE: u64 = 1_000_000;

// === impl BudgetState ===

impl BudgetState {
    /// A full budget.
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms, tokens: terms.reserve, earned: 0, second: None }
    }

    /// Takes into account `calls` that were made and the time that has passed.
    pub(super) fn settle(&mut self, now: Instant, calls: u64) {
        let earned = calls.saturating_mul(self.terms.ratio);
        self.earned = self.earned.saturating_add(earned);
        self.add(earned);

        let second = *self.second.get_or_insert(now);
        let seconds = now.saturating_duration_since(second).as_secs();
        if seconds > 0 {
            // A floor, not a bonus: a second in which the calls have earned as much already adds nothing. Summed over
            // shorter spans the two would add up, because calls do not come evenly.
            let floor = self.terms.floor.saturating_mul(seconds);
            self.add(floor.saturating_sub(self.earned));
            self.earned = 0;
            self.second = second.checked_add(std::time::Duration::from_secs(seconds));
        }
    }

    /// Takes `cost` if it is there.
    pub(super) fn withdraw(&mut self, cost: u64) -> bool {
        let left = self.tokens.checked_sub(cost);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }

    /// Gives back what was taken for a retry that was not sent.
    pub(super) fn refund(&mut self, cost: u64) {
        self.add(cost);
    }

    /// How many more calls fill it; zero when it is full, or calls earn nothing.
    pub(super) fn room(&self) -> u64 {
        let missing = self.terms.reserve - self.tokens;
        if self.terms.ratio == 0 { 0 } else { missing.div_ceil(self.terms.ratio) }
    }

    pub(super) fn tokens(&self) -> u64 {
        self.tokens
    }

    fn add(&mut self, amount: u64) {
        self.tokens = self.tokens.saturating_add(amount).min(self.terms.reserve);
    }
}
