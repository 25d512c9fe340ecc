//! The limiter against simulated servers: Vector's twelve, and those of its users' complaints.
//!
//! `cargo run --release -p forebay-benches --bin adaptive` prints the same as a table, and draws it.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::Outcome;
use forebay_limit::{Adaptive, Limiter, Sample};
use forebay_testkit::load::{Attempt, Demand, Fixed, Judgement, Limit, Response, Scenario, Server, catalog};
use std::{collections::HashSet, time::Duration};
use tokio::time::Instant;

/// What misses its bound so far. Here refusals depend on what others send, and no client can tell that from chance.
const MISSED: [&str; 1] = ["20 clients, 429 above 80"];

/// Ours, in virtual time.
struct Ours {
    limiter: Limiter,
    start: Instant,
}

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

fn ours(scenario: &Scenario) -> impl Fn(u64, usize) -> Ours {
    let start = Instant::now();
    let bounds = Adaptive::builder().floor(scenario.limits.start).ceiling(scenario.limits.end - 1);
    move |seed, client| {
        let adaptive = bounds.clone().seed(seed * 1000 + client as u64).build().unwrap();
        Ours { limiter: Limiter::new(&adaptive, start), start }
    }
}

fn judge(scenario: &Scenario) -> Judgement {
    scenario.judge(2, ours(scenario))
}

fn named(name: &str) -> Scenario {
    catalog().into_iter().find(|scenario| scenario.name == name).unwrap()
}

#[test]
fn e04_the_limit_comes_within_a_tenth_of_the_best_fixed_one() {
    let all = catalog();
    let names: HashSet<_> = all.iter().map(|scenario| scenario.name).collect();
    assert!(all.len() >= 24 && names.len() == all.len());
    assert_eq!(names.iter().filter(|name| name.starts_with("vector: ")).count(), 12);
    let judged: Vec<_> = all.iter().map(judge).collect();
    for judged in &judged {
        let (name, ratio, of_five, ours) = (judged.name, judged.ratio(), judged.of_five(), &judged.ours);
        let (limit, served, latency) = (judged.best, ours.served_per_second(), ours.latency.as_secs_f64() * 1e3);
        println!("{name:36} best {limit:3} {:8.1}/s, ours {served:8.1}/s {ratio:.3}", judged.most);
        println!(
            "    {latency:.0} ms, {:.0} ms with the best; {of_five:.2} of 5",
            judged.best_run.latency.as_secs_f64() * 1e3
        );
        println!(
            "    {:.1} % not served, at most {}, fairness {:.2}",
            ours.wasted_share() * 1e2,
            ours.greatest_limit,
            ours.fairness()
        );
    }
    let missed: Vec<_> = judged.into_iter().filter(|judged| !judged.misses().is_empty()).collect();
    let unexpected: Vec<_> =
        missed.iter().filter(|judged| !MISSED.contains(&judged.name)).map(Judgement::misses).collect();
    assert!(unexpected.is_empty(), "{unexpected:#?}");
}

#[test]
fn a_limit_that_never_grows_misses_the_bounds() {
    let stuck = |name| named(name).judge(1, |_, _| Fixed(4)).misses();
    for name in ["vector: constant link", "64 workers", "high round trip", "more workers"] {
        assert!(!stuck(name).is_empty(), "{name}");
    }
}

/// The planted bug: it grows with every response, whether the limit was reached or not.
struct Naive(usize);

impl Limit for Naive {
    fn limit(&self) -> usize {
        self.0
    }

    fn ended(&mut self, attempt: Attempt) {
        self.0 += usize::from(attempt.response == Response::Served);
    }
}

#[test]
fn what_was_not_limited_does_not_raise_the_limit() {
    let ms = Duration::from_millis;
    let idle = Scenario { demand: Demand::Every(ms(25)), ..Scenario::new("idle", Server::new(ms(100))) };
    let greatest = idle.run(|client| ours(&idle)(1, client)).greatest_limit;
    assert!(greatest <= 9, "{greatest}, although four in flight call for no more than twice that");
    assert!(idle.run(|_| Naive(4)).greatest_limit > 100, "this one would have been found");
}
