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
            // A floor, not a bonus: a second in which the calls have earned as much already adds nothing. Over shorter
            // spans the two would add up, because calls do not come evenly. Several seconds without a look count as one
            // span, because it is not known when in it the calls were made.
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Pass { millis: u64 },
        Calls(u64),
        Withdraw(u64),
        Refund,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..3000_u64).prop_map(|millis| Step::Pass { millis }),
            (0..50_u64).prop_map(Step::Calls),
            (1..3 * ONE).prop_map(Step::Withdraw),
            Just(Step::Refund),
        ]
    }

    /// The plain model: it keeps the whole story, and works out from its beginning what there is.
    struct Model {
        terms: Terms,
        /// Millisecond, and what was added or taken then.
        story: Vec<(u64, i64)>,
        /// Millisecond, and what calls earned then.
        earned: Vec<(u64, u64)>,
        began: u64,
    }

    impl Model {
        fn tokens(&self, now: u64) -> u64 {
            let mut tokens = self.terms.reserve;
            let mut second = 0;
            let top_up = |tokens: u64, second: u64| {
                let span = self.began + second * 1000..self.began + (second + 1) * 1000;
                let earned: u64 =
                    self.earned.iter().filter(|(at, _)| span.contains(at)).map(|(_, amount)| amount).sum();
                (tokens + self.terms.floor.saturating_sub(earned)).min(self.terms.reserve)
            };
            for (at, amount) in &self.story {
                while (second + 1) * 1000 + self.began <= *at {
                    tokens = top_up(tokens, second);
                    second += 1;
                }
                tokens = tokens.checked_add_signed(*amount).unwrap().min(self.terms.reserve);
            }
            while (second + 1) * 1000 + self.began <= now {
                tokens = top_up(tokens, second);
                second += 1;
            }
            tokens
        }
    }

    proptest! {
        #[test]
        fn r16_it_does_what_a_plain_model_does(
            ratio in 0..ONE, floor in 0..5 * ONE, reserve in ONE..20 * ONE,
            steps in proptest::collection::vec(step(), 1..60),
        ) {
            let terms = Terms { ratio, floor, reserve };
            let begin = Instant::now();
            let mut state = BudgetState::new(terms);
            let mut model = Model { terms, story: Vec::new(), earned: Vec::new(), began: 0 };
            let mut now = 0;
            let mut last_paid = 0;
            state.settle(begin, 0);
            for step in steps {
                let at = begin + Duration::from_millis(now);
                match step {
                    Step::Pass { millis } => {
                        let until = now + millis;
                        while now < until {
                            // The model goes second by second, as a budget does that is read at least once in each.
                            now = until.min(now / 1000 * 1000 + 1000);
                            state.settle(begin + Duration::from_millis(now), 0);
                        }
                    }
                    Step::Calls(calls) => {
                        // Calls are settled when they are made: in the second they belong to.
                        state.settle(at, 0);
                        state.settle(at, calls);
                        model.earned.push((now, calls * ratio));
                        model.story.push((now, i64::try_from(calls * ratio).unwrap()));
                    }
                    Step::Withdraw(cost) => {
                        state.settle(at, 0);
                        let expected = model.tokens(now) >= cost;
                        prop_assert_eq!(state.withdraw(cost), expected);
                        if expected {
                            model.story.push((now, -i64::try_from(cost).unwrap()));
                            last_paid = cost;
                        }
                    }
                    Step::Refund => {
                        state.settle(at, 0);
                        state.refund(last_paid);
                        model.story.push((now, i64::try_from(last_paid).unwrap()));
                        last_paid = 0;
                    }
                }
                state.settle(begin + Duration::from_millis(now), 0);
                prop_assert_eq!(state.tokens(), model.tokens(now));
                prop_assert!(state.tokens() <= reserve);
                let room = state.room();
                prop_assert!(ratio == 0 || room == 0 || state.tokens() + room * ratio >= reserve);
                prop_assert!(room == 0 || state.tokens() + (room - 1) * ratio < reserve);
            }
        }

        /// Whatever comes in whatever order: retries are paid for by the reserve, the calls and the floor.
        #[test]
        fn r16_no_more_is_paid_out_than_was_earned(
            ratio in 0..ONE, floor in 0..5 * ONE, steps in proptest::collection::vec(step(), 1..200),
        ) {
            let terms = Terms { ratio, floor, reserve: 5 * ONE };
            let begin = Instant::now();
            let mut state = BudgetState::new(terms);
            let (mut now, mut calls, mut paid) = (begin, 0, 0);
            state.settle(begin, 0);
            for step in steps {
                match step {
                    Step::Pass { millis } => now += Duration::from_millis(millis),
                    Step::Calls(more) => {
                        state.settle(now, more);
                        calls += more;
                    }
                    Step::Withdraw(cost) => {
                        state.settle(now, 0);
                        paid += if state.withdraw(cost) { cost } else { 0 };
                    }
                    Step::Refund => {}
                }
            }
            let seconds = (now - begin).as_secs();
            prop_assert!(paid <= terms.reserve + calls * ratio + seconds * floor);
        }
    }

    #[test]
    fn r16_the_floor_is_no_bonus() {
        let begin = Instant::now();
        let mut state = BudgetState::new(Terms { ratio: ONE / 10, floor: ONE, reserve: 100 * ONE });
        state.settle(begin, 0);
        assert!(state.withdraw(100 * ONE));
        let mut second = |second: u64, calls: u64| {
            state.settle(begin + Duration::from_secs(second - 1), calls);
            state.settle(begin + Duration::from_secs(second), 0);
            let earned = state.tokens();
            assert!(state.withdraw(earned));
            earned
        };
        assert_eq!(second(1, 1000), 100 * ONE, "the calls earn more than the floor");
        assert_eq!(second(2, 4), ONE, "the calls earn less");
        assert_eq!(second(3, 0), ONE, "there are no calls");
    }
}
