use super::{Fixed, Limit, Run, Scenario};

/// A limit beside the best fixed one, and beside a fixed limit of 5.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// The scenario's name.
    pub name: &'static str,
    /// The least fixed limit whose throughput is within a hundredth of the greatest.
    pub best: usize,
    /// The run with it.
    pub best_run: Run,
    /// What was served per second with the fixed limit for which that was most.
    pub most: f64,
    /// The run with the limit that is judged: the one of all seeds that served least.
    pub ours: Run,
    /// The run with a fixed limit of 5.
    pub five: Run,
}

/// The fixed limits that are tried.
const TRIED: [usize; 29] =
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 180, 200];

// === impl Scenario ===

impl Scenario {
    /// Runs it with `limit` for each of `seeds` and each client, and with fixed limits.
    ///
    /// # Panics
    ///
    /// When there are no seeds.
    #[must_use]
    pub fn judge<L: Limit>(&self, seeds: u64, limit: impl Fn(u64, usize) -> L) -> Judgement {
        let least =
            |runs: Vec<Run>| runs.into_iter().min_by(|a, b| a.served_per_second().total_cmp(&b.served_per_second()));
        let ours = (1..=seeds).map(|seed| self.run(|client| limit(seed, client))).collect();
        let fixed: Vec<_> = TRIED
            .into_iter()
            .filter(|tried| self.limits.contains(tried))
            .map(|tried| (tried, self.run(|_| Fixed(tried))))
            .collect();
        let most = fixed.iter().map(|(_, run)| run.served_per_second()).fold(0.0, f64::max);
        let best = fixed.into_iter().find(|(_, run)| run.served_per_second() >= 0.99 * most);
        let (best, best_run) = best.expect("a limit that may be chosen is tried");
        let five = 5.clamp(self.limits.start, self.limits.end - 1);
        Judgement {
            name: self.name,
            best,
            best_run,
            most,
            ours: least(ours).expect("a seed"),
            five: self.run(|_| Fixed(five)),
        }
    }
}

// === impl Judgement ===

impl Judgement {
    /// What was served by what the best fixed limit serves.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        self.ours.served_per_second() / self.most
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
        at_least("the fairness", self.ours.fairness());
        misses
    }
}
