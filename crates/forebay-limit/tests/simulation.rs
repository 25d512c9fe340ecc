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

/// Ours, in virtual time; `change` may spoil what it is told.
struct Ours {
    limiter: Limiter,
    start: Instant,
    change: fn(&mut Sample, usize),
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
        let mut sample = Sample { started, finished, in_flight: attempt.in_flight, outcome };
        (self.change)(&mut sample, self.limiter.limit());
        self.limiter.sampled(sample);
    }
}

fn ours(scenario: &Scenario, change: fn(&mut Sample, usize)) -> impl Fn(u64, usize) -> Ours {
    let start = Instant::now();
    let bounds = Adaptive::builder().floor(scenario.limits.start).ceiling(scenario.limits.end - 1);
    move |seed, client| {
        let adaptive = bounds.clone().seed(seed * 1000 + client as u64).build().unwrap();
        Ours { limiter: Limiter::new(&adaptive, start), start, change }
    }
}

fn judge(scenario: &Scenario) -> Judgement {
    scenario.judge(2, ours(scenario, |_, _| {}))
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
    let missed: Vec<_> = all.iter().map(judge).filter(|judged| !judged.misses().is_empty()).collect();
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

#[test]
fn what_was_not_limited_does_not_raise_the_limit() {
    let idle = Scenario {
        demand: Demand::Every(Duration::from_millis(25)),
        ..Scenario::new("idle", Server::new(Duration::from_millis(100)))
    };
    let greatest = |change| idle.run(|client| ours(&idle, change)(1, client)).greatest_limit;
    assert!(greatest(|_, _| {}) <= 9, "four in flight call for no more than twice that");
    // The planted bug: every attempt is said to have found the limit reached.
    assert!(greatest(|sample, limit| sample.in_flight = limit) > 100);
}

#[test]
fn a_whole_sequence_of_retries_is_no_latency() {
    // The planted bug: an attempt that was sent again is said to have started with the first of them.
    let scenario = named("brown-out of 30 %");
    let honest = judge(&scenario);
    let spoiled = scenario.judge(
        1,
        ours(&scenario, |sample, _| {
            if sample.outcome == Outcome::RETRYABLE {
                sample.started = sample.started.checked_sub(Duration::from_secs(1)).unwrap_or(sample.started);
                sample.outcome = Outcome::Success;
            }
        }),
    );
    assert!(honest.misses().is_empty());
    let limits = |run: &forebay_testkit::load::Run| run.greatest_limit;
    assert!(limits(&honest.ours) > 0 && limits(&spoiled.ours) > 0);
}
