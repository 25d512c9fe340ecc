//! The limit that tunes itself, against simulated servers in virtual time, beside the best fixed limit and a fixed limit of 5.

mod chart;

pub use self::chart::draw;
use forebay_core::{
    Outcome,
    adaptive::{Adaptive, Limiter, Sample},
};
use forebay_testkit::load::{Attempt, Judgement, Limit, Response, Scenario};
use std::{fmt, time::Instant};

/// How a judgement is printed: one row of a table.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a>(pub &'a Judgement);

/// [`Limiter`] in virtual time.
struct Ours {
    limiter: Limiter,
    start: Instant,
}

/// Runs `scenario` with ours, one seed after the other, and with fixed limits.
///
/// # Panics
///
/// When the limits of the scenario are none.
#[must_use]
pub fn judge(scenario: &Scenario, seeds: u64) -> Judgement {
    let start = Instant::now();
    let bounds = Adaptive::builder().floor(scenario.limits.start).ceiling(scenario.limits.end - 1);
    scenario.judge(seeds, |seed, client| {
        let adaptive = bounds.clone().seed(seed * 1000 + client as u64).build().expect("a range of limits");
        Ours { limiter: Limiter::new(&adaptive, start), start }
    })
}

// === impl Row ===

impl Row<'_> {
    /// What stands above the rows.
    pub const HEAD: &'static str = "\
| server | best fixed | served/s | ms | ours/s | ratio | ms | not served | most | fairness | 5 fixed/s | of that |
|---|---|---|---|---|---|---|---|---|---|---|---|";
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Judgement { name, best, best_run, ours, fairness, five } = self.0;
        let most = best_run.served_per_second();
        let ms = |latency: std::time::Duration| latency.as_secs_f64() * 1e3;
        write!(f, "| {name} | {best} | {most:.1} | {:.0} ", ms(best_run.latency))?;
        write!(f, "| {:.1} | {:.3} | {:.0} ", ours.served_per_second(), self.0.ratio(), ms(ours.latency))?;
        write!(f, "| {:.1} % | {} | {:.2} ", ours.wasted_share() * 100.0, ours.greatest_limit, fairness)?;
        write!(f, "| {:.1} | {:.2} |", five.served_per_second(), self.0.of_five())?;
        if self.0.misses().is_empty() { Ok(()) } else { f.write_str(" **missed**") }
    }
}

// === impl Ours ===

impl Limit for Ours {
    fn limit(&self) -> usize {
        self.limiter.limit()
    }

    fn ended(&mut self, attempt: Attempt) {
        let outcome = match attempt.response {
            Response::Served => Outcome::Success,
            Response::Refused | Response::Failed | Response::TimedOut => Outcome::RETRYABLE,
        };
        let (started, finished) = (self.start + attempt.started, self.start + attempt.finished);
        self.limiter.sampled(Sample { started, finished, in_flight: attempt.in_flight, outcome });
    }
}
