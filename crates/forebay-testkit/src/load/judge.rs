use super::{Fixed, Limit, Run, Scenario};

/// A limit beside the best fixed one, and beside a fixed limit of 5.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The scenario's name.
    pub name: &'static str,
    /// The best fixed limit.
    pub best: usize,
    /// The run with it.
    pub best_run: Run,
    /// The run with the limit that is judged: the one of all seeds that served least, by what the best fixed limit serves.
    pub ours: Run,
    /// The least fairness of all seeds.
    pub fairness: f64,
    /// The run with a fixed limit of 5.
    pub five: Run,
}

/// The fixed limits that are tried.
const TRIED: [usize; 29] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 180, 200];

// === impl Scenario ===

impl Scenario {
    /// The least fixed limit whose throughput is within a hundredth of the greatest.
    #[must_use]
    pub fn search(&self) -> usize {
        let allowed = TRIED.into_iter().filter(|tried| self.limits.contains(tried));
        let fixed: Vec<_> = allowed.map(|tried| (tried, self.run(|_| Fixed(tried)).served_per_second())).collect();
        let most = fixed.iter().map(|(_, served)| *served).fold(0.0, f64::max);
        fixed.into_iter().find(|(_, served)| *served >= 0.99 * most).map_or(self.limits.start, |(tried, _)| tried)
    }

    /// Runs it with `limit` for each of `seeds` and each client, and with fixed limits; a seed is that of the server as well.
    ///
    /// # Panics
    ///
    /// When there are no seeds.
    #[must_use]
    pub fn judge<L: Limit>(&self, seeds: u64, limit: impl Fn(u64, usize) -> L) -> Judgement {
        let best = self.best.unwrap_or_else(|| self.search());
        let five = 5.clamp(self.limits.start, self.limits.end.saturating_sub(1));
        let judged = (1..=seeds).map(|seed| {
            let scenario = Self { seed: self.seed.wrapping_add(77 * (seed - 1)), ..self.clone() };
            let ours = scenario.run(|client| limit(seed, client));
            let (best_run, five) = (scenario.run(|_| Fixed(best)), scenario.run(|_| Fixed(five)));
            Judgement { name: self.name, best, best_run, fairness: ours.fairness(), ours, five }
        });
        let least = |one: Judgement, other: Judgement| {
            let fairness = one.fairness.min(other.fairness);
            let worse = if one.ratio() <= other.ratio() { one } else { other };
            Judgement { fairness, ..worse }
        };
        judged.reduce(least).expect("a seed")
    }
}

// === impl Judgement ===

impl Judgement {
    /// What was served by what the best fixed limit serves.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ours.served_per_second() / self.best_run.served_per_second()
    }

    /// What was served by what a fixed limit of 5 serves: the less of the part that counts and of the whole run.
    #[must_use]
    pub fn of_five(&self) -> f64 {
        let counted = self.ours.served_per_second() / self.five.served_per_second();
        counted.min(self.ours.served_per_second_in_all() / self.five.served_per_second_in_all())
    }

    /// Which bounds are missed, in words; none if all are kept.
    ///
    /// After 50 round trips within a tenth of the best fixed limit; never less than 0.9 of a fixed limit of 5; a fairness of at
    /// least 0.9.
    #[must_use]
    pub fn misses(&self) -> Vec<String> {
        let mut misses = Vec::new();
        let mut at_least = |what: &str, found: f64| {
            if found < 0.9 {
                misses.push(format!("{}: {what} is {found:.3}, not 0.9", self.name));
            }
        };
        at_least("its part of the best fixed limit", self.ratio());
        at_least("its part of a fixed limit of 5", self.of_five());
        at_least("the fairness", self.fairness);
        misses
    }
}
