//! The limiter against simulated servers: Vector's twelve, and those of its users' complaints.
//!
//! `cargo run --release -p forebay-benches --bin adaptive` runs more seeds of all of them, prints a table, and draws it.

#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code in virtual time")]

use forebay_core::{
    Outcome,
    adaptive::{Adaptive, Limiter, Sample},
};
use forebay_testkit::load::{Attempt, Demand, Fixed, Judgement, Limit, Response, Scenario, Server, catalog};
use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

/// The servers that take long to simulate; the table has them.
const LONG: [&str; 4] =
    ["20 clients, 400 workers", "20 clients, 100 workers", "20 clients, 50 workers", "20 clients, 429 above 80"];

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

fn named(name: &str) -> Scenario {
    catalog().into_iter().find(|scenario| scenario.name == name).unwrap()
}

#[test]
fn e04_the_limit_comes_within_a_tenth_of_the_best_fixed_one() {
    let all = catalog();
    let names: HashSet<_> = all.iter().map(|scenario| scenario.name).collect();
    assert!(all.len() >= 24 && names.len() == all.len() && all.iter().all(|scenario| scenario.best.is_some()));
    assert_eq!(names.iter().filter(|name| name.starts_with("vector: ")).count(), 12);
    assert!(LONG.iter().all(|name| names.contains(name)));
    let judged =
        all.iter().filter(|scenario| !LONG.contains(&scenario.name)).map(|scenario| scenario.judge(1, ours(scenario)));
    let missed: Vec<_> = judged.flat_map(|judged| judged.misses()).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// The jump of the times comes at any point of a window, and while the limit grows as well as while it shrinks.
#[test]
fn e04_a_server_that_becomes_slower_or_farther_away_is_found_again_with_each_seed() {
    let judged = ["becomes slower", "farther away"].map(named).map(|scenario| scenario.judge(24, ours(&scenario)));
    let missed: Vec<_> = judged.iter().flat_map(Judgement::misses).collect();
    assert!(missed.is_empty(), "{missed:#?}");
}

/// Of a few attempts one slow one is no collapse, although the mean of them is ten times what it was.
#[test]
fn e04_rare_slow_attempts_do_not_keep_the_limit_down() {
    let base = named("one in ten is slow");
    for seed in [4, 56, 59] {
        let scenario = Scenario { seed: base.seed + 77 * (seed - 1), ..base.clone() };
        let ours = ours(&scenario);
        let missed = scenario.judge(1, |_, client| ours(seed, client)).misses();
        assert!(missed.is_empty(), "seed {seed}: {missed:#?}");
    }
}

#[test]
fn a_limit_that_never_grows_misses_the_bounds() {
    let stuck = |name| named(name).judge(1, |_, _| Fixed(4)).misses();
    for name in ["vector: constant link", "64 workers", "high round trip", "more workers"] {
        assert!(!stuck(name).is_empty(), "{name}");
    }
}

/// It grows with every response, whether the limit was reached or not.
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
    // It begins with as many as are in flight, so that there is no backlog, which would be a reason to grow.
    let adaptive = Adaptive::builder().initial(4).seed(7).build().unwrap();
    let start = Instant::now();
    let greatest = idle.run(|_| Ours { limiter: Limiter::new(&adaptive, start), start }).greatest_limit;
    assert!(greatest <= 9, "{greatest}, although four in flight call for no more than twice that");
    assert!(idle.run(|_| Naive(4)).greatest_limit > 100, "this one would have been found");
}
