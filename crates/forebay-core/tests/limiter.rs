//! The machine by itself: what it does at once, and what it never does.

#![cfg(not(any(loom, shuttle)))]
#![expect(clippy::unwrap_used, clippy::disallowed_methods, reason = "test code in virtual time")]

use allocation_counter::measure;
use forebay_core::Outcome;
use forebay_core::adaptive::{Adaptive, Limiter, Sample};
use proptest::prelude::*;
use std::time::Duration;
use std::time::Instant;

const MS: Duration = Duration::from_millis(1);

/// A client that is always at its limit, in rounds of equal length.
struct Rounds {
    limiter: Limiter,
    now: Instant,
}

impl Rounds {
    fn new(adaptive: &Adaptive) -> Self {
        let now = Instant::now();
        Self { limiter: Limiter::new(adaptive, now), now }
    }

    /// As many attempts as the limit allows, all at once; the `n`th of them ends as `outcome` says.
    fn round(&mut self, latency: Duration, outcome: impl Fn(usize) -> Outcome) {
        // A clock goes on between a response and the next request.
        let (started, in_flight) = (self.now + Duration::from_nanos(1), self.limiter.limit());
        self.now = started + latency;
        for number in 0..in_flight {
            let outcome = outcome(number);
            self.limiter.sampled(Sample { started, finished: self.now, in_flight, outcome });
        }
    }
}

fn seeded() -> Adaptive {
    Adaptive::builder().seed(7).build().unwrap()
}

#[test]
fn e04_a_429_lowers_the_limit_within_one_round_trip() {
    let mut rounds = Rounds::new(&seeded());
    for _ in 0..30 {
        rounds.round(100 * MS, |_| Outcome::Success);
    }
    let before = rounds.limiter.limit();
    assert!(before >= 64, "{before} after 30 round trips of a server that takes all");
    rounds.round(100 * MS, |number| if number == 0 { Outcome::RETRYABLE } else { Outcome::Success });
    assert!(rounds.limiter.limit() < before, "by the first refusal");
    for _ in 0..6 {
        rounds.round(100 * MS, |_| Outcome::RETRYABLE);
    }
    assert!(rounds.limiter.limit() <= before / 2, "and further while they go on");
}

#[test]
fn one_cut_answers_all_refusals_of_one_round() {
    let adaptive = Adaptive::builder().initial(100).seed(7).build().unwrap();
    let now = Instant::now();
    let mut limiter = Limiter::new(&adaptive, now);
    for _ in 0..100 {
        limiter.sampled(Sample { started: now, finished: now + 50 * MS, in_flight: 100, outcome: Outcome::RETRYABLE });
    }
    assert!((80..100).contains(&limiter.limit()), "{}", limiter.limit());
}

#[test]
fn what_is_ignored_or_terminal_is_no_back_pressure() {
    let mut rounds = Rounds::new(&seeded());
    for _ in 0..10 {
        rounds.round(100 * MS, |number| if number % 2 == 0 { Outcome::Ignored } else { Outcome::Terminal });
        assert_eq!(rounds.limiter.limit(), 1);
    }
}

#[test]
fn an_outage_leaves_the_floor_and_its_end_the_limit_of_before() {
    let mut rounds = Rounds::new(&seeded());
    for _ in 0..30 {
        rounds.round(100 * MS, |_| Outcome::Success);
    }
    for _ in 0..60 {
        rounds.round(100 * MS, |_| Outcome::RETRYABLE);
    }
    assert!(rounds.limiter.limit() <= 2, "{} after an outage of 60 round trips", rounds.limiter.limit());
    for _ in 0..80 {
        rounds.round(100 * MS, |_| Outcome::Success);
    }
    assert!(rounds.limiter.limit() >= 100, "{} after 80 round trips without a failure", rounds.limiter.limit());
}

#[test]
fn a_sample_allocates_nothing() {
    let mut rounds = Rounds::new(&seeded());
    let taken =
        measure(|| {
            for round in 0..200_u32 {
                rounds.round((50 + round % 7) * MS, |number| {
                    if number % 31 == 30 { Outcome::RETRYABLE } else { Outcome::Success }
                });
            }
        });
    assert_eq!(taken.count_total, 0);
    assert!(size_of::<Limiter>() <= 728, "{} bytes", size_of::<Limiter>());
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Success),
        2 => Just(Outcome::RETRYABLE),
        1 => Just(Outcome::Terminal),
        1 => Just(Outcome::Ignored),
        1 => any::<Option<Duration>>().prop_map(|after| Outcome::Retryable { after }),
    ]
}

fn time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        6 => (0..1_000_u64).prop_map(Duration::from_millis),
        1 => Just(Duration::ZERO),
        1 => (0..u64::from(u32::MAX)).prop_map(Duration::from_secs),
    ]
}

proptest! {
    #[test]
    fn f02_whatever_is_sampled_it_stays_between_floor_and_ceiling(
        floor in 1..20_usize,
        more in 0..500_usize,
        seed: u64,
        samples in prop::collection::vec((time(), time(), any::<u16>(), outcome()), 1..400),
    ) {
        let ceiling = floor + more;
        let adaptive = Adaptive::builder().floor(floor).ceiling(ceiling).seed(seed).build().unwrap();
        let base = Instant::now();
        let mut limiter = Limiter::new(&adaptive, base);
        for (from, to, in_flight, outcome) in samples {
            // The end may well lie before the start: clocks of other machines are not asked, but callers make mistakes.
            let sample = Sample { started: base + from, finished: base + to, in_flight: in_flight.into(), outcome };
            limiter.sampled(sample);
            prop_assert!((floor..=ceiling).contains(&limiter.limit()));
        }
    }
}
