//! The delays: bounds, spread, and what makes them reproducible.

use forebay_core::{Boxed, ByError};
use forebay_retry::{Backoff, Jitter, RetryLayer};
use forebay_testkit::Histogram;
use proptest::prelude::*;
use std::{collections::HashSet, time::Duration};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn plain(backoff: Backoff, take: usize) -> Vec<u128> {
    backoff.jitter(Jitter::None).into_iter().take(take).map(|delay| delay.as_millis()).collect()
}

const JITTERS: [Jitter; 6] = [
    Jitter::None,
    Jitter::Full,
    Jitter::Equal,
    Jitter::Proportional(0.2),
    Jitter::Proportional(1.0),
    Jitter::Additive(ms(500)),
];

const KINDS: [fn(Duration) -> Backoff; 4] =
    [Backoff::exponential, Backoff::constant, Backoff::fibonacci, Backoff::decorrelated];

#[test]
fn r03_each_kind_climbs_as_it_says() {
    assert_eq!(plain(Backoff::exponential(ms(100)).cap(ms(1000)), 6), [100, 200, 400, 800, 1000, 1000]);
    assert_eq!(plain(Backoff::exponential(ms(100)).factor(1.5), 5), [100, 150, 225, 337, 506]);
    assert_eq!(plain(Backoff::constant(ms(70)), 3), [70, 70, 70]);
    assert_eq!(plain(Backoff::fibonacci(ms(10)).cap(ms(60)), 8), [10, 10, 20, 30, 50, 60, 60, 60]);
    assert_eq!(plain(Backoff::exponential(ms(20_000)), 2), [20_000, 20_000], "a first step above the default cap");
    assert_eq!(plain(Backoff::exponential(ms(500)).cap(ms(100)), 2), [100, 100], "a cap below the first step");
    assert_eq!(plain(Backoff::exponential(Duration::ZERO), 2), [0, 0]);
    assert_eq!(Backoff::default(), Backoff::exponential(ms(100)));
}

#[test]
fn r03_no_number_of_steps_overflows() {
    for kind in KINDS {
        let last = kind(Duration::MAX).cap(Duration::MAX).jitter(Jitter::Additive(Duration::MAX)).into_iter().nth(500);
        assert!(last.is_some());
        let last = kind(ms(1)).cap(ms(60_000)).factor(1e300).into_iter().nth(100_000);
        assert!(last.is_some_and(|delay| delay <= ms(60_000)));
    }
}

/// R09 asks for the default instead of a number that means nothing. Here such a number is refused, as by every builder.
#[test]
fn r09_numbers_that_mean_nothing_are_refused_by_name_and_draw_no_delay_above_the_cap() {
    let refused = |backoff: Backoff| {
        let error = RetryLayer::builder(ByError::<Boxed>::new()).backoff(backoff).build().unwrap_err();
        assert_eq!(backoff.check(), Err(error.clone()));
        assert!(backoff.cap(ms(50)).into_iter().take(20).all(|delay| delay <= ms(50)), "{backoff:?}");
        error
    };
    for nonsense in [f64::NAN, -1.0, 0.5, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(refused(Backoff::exponential(ms(1)).factor(nonsense)).knob(), "factor");
    }
    for nonsense in [f64::NAN, -1.0, 1.1] {
        let error = refused(Backoff::constant(ms(1)).jitter(Jitter::Proportional(nonsense)));
        assert_eq!((error.knob(), error.allowed()), ("jitter", "a share from 0.0 to 1.0"));
    }
    assert_eq!(Backoff::exponential(ms(1)).factor(1.0).jitter(Jitter::Proportional(1.0)).check(), Ok(()));
}

#[test]
fn it_can_be_built_in_a_const() {
    const BACKOFF: Backoff =
        Backoff::fibonacci(ms(10)).factor(3.0).cap(ms(500)).jitter(Jitter::Proportional(0.25)).seed(7);
    assert_eq!(BACKOFF.into_iter().take(5).collect::<Vec<_>>(), BACKOFF.delays(0).take(5).collect::<Vec<_>>());
}

#[test]
fn r14_over_ten_thousand_draws_no_delay_is_above_the_cap_or_below_the_hint() {
    let cap = ms(2000);
    for kind in KINDS {
        for jitter in JITTERS {
            let backoff = kind(ms(100)).cap(cap).jitter(jitter).seed(11);
            for stream in 0..1500 {
                assert!(backoff.delays(stream).take(7).all(|delay| delay <= cap), "{backoff:?}");
            }
            for stream in 0..1500 {
                let mut delays = backoff.delays(stream);
                for hint in [0, 1, 50, 777, 1999, 2001, 60_000] {
                    let delay = delays.next_after(Some(ms(hint)));
                    assert!(delay >= ms(hint), "{delay:?} below the hint of {hint} ms: {backoff:?}");
                    assert!(delay <= ms(hint) + cap, "{delay:?} far above the hint of {hint} ms: {backoff:?}");
                }
            }
        }
    }
}

#[test]
fn r14_the_windows_are_used_to_both_ends() {
    let ends = |jitter, step: usize| {
        let backoff = Backoff::exponential(ms(1000)).cap(ms(4000)).jitter(jitter).seed(5);
        let drawn: Vec<_> = (0..10_000).filter_map(|stream| backoff.delays(stream).nth(step)).collect();
        let near = |delay: Option<&Duration>| delay.map(|delay| (delay.as_secs_f64() * 100.0).round() / 100.0);
        (near(drawn.iter().min()), near(drawn.iter().max()))
    };
    for (jitter, first, at_cap) in [
        (Jitter::None, (1.0, 1.0), (4.0, 4.0)),
        (Jitter::Full, (0.0, 1.0), (0.0, 4.0)),
        (Jitter::Equal, (0.5, 1.0), (2.0, 4.0)),
        (Jitter::Proportional(0.25), (0.75, 1.25), (3.0, 4.0)),
        (Jitter::Additive(ms(500)), (1.0, 1.5), (3.5, 4.0)),
    ] {
        assert_eq!(ends(jitter, 0), (Some(first.0), Some(first.1)), "{jitter:?}, first");
        assert_eq!(ends(jitter, 5), (Some(at_cap.0), Some(at_cap.1)), "{jitter:?}, at the cap");
    }
}

#[test]
fn r14_decorrelated_steps_depend_on_the_last_and_stay_spread_at_the_cap() {
    let backoff = Backoff::decorrelated(ms(100)).cap(ms(5000)).seed(9);
    for stream in 0..2000 {
        let mut last = ms(100);
        for delay in backoff.delays(stream).take(12) {
            assert!(delay >= ms(100) && delay <= (last * 3).min(ms(5000)), "{delay:?} after {last:?}");
            last = delay;
        }
    }
    let late = Histogram::new(ms(100), (0..10_000).filter_map(|stream| backoff.delays(stream).nth(40)));
    assert!(late.peak_to_mean() < 3.0, "a crowd at the cap: {:?}", late.bins());
}

#[test]
fn r15_a_thousand_clients_come_apart_with_every_jitter_at_every_step() {
    // Decorrelated steps are spread by themselves: jitter on top would be a product of two draws.
    let spread = JITTERS[1..].iter().flat_map(|jitter| KINDS[..3].iter().map(|kind| kind(ms(1000)).jitter(*jitter)));
    for backoff in spread.chain([Backoff::decorrelated(ms(1000))]) {
        let backoff = backoff.cap(ms(8000)).seed(3);
        for step in 0..6 {
            let histogram = Histogram::new(ms(100), (0..1000).filter_map(|client| backoff.delays(client).nth(step)));
            assert!(histogram.peak_to_mean() <= 3.0, "{backoff:?}, step {step}: {:?}", histogram.bins());
            assert!(histogram.bins().len() > 3, "{backoff:?}, step {step}: all together");
        }
    }
}

#[test]
fn r15_those_who_were_told_the_same_come_back_apart() {
    let backoff = Backoff::default().seed(3);
    let hinted = (0..1000).map(|client| backoff.delays(client).next_after(Some(ms(5000))));
    let histogram = Histogram::new(ms(100), hinted);
    assert!(histogram.span() >= ms(2400), "spread over {:?}", histogram.span());
    assert!(histogram.peak_to_mean() <= 3.0);
}

#[test]
fn a_seed_makes_delays_reproducible_and_nothing_else_does() {
    let draw = |backoff: Backoff, stream| backoff.delays(stream).take(8).collect::<Vec<_>>();
    let seeded = Backoff::default().seed(42);
    assert_eq!(draw(seeded, 3), draw(seeded, 3));
    assert_ne!(draw(seeded, 3), draw(seeded, 4));
    assert_ne!(draw(seeded, 3), draw(Backoff::default().seed(43), 3));
    let unseeded: HashSet<_> = (0..100).map(|_| draw(Backoff::default(), 0)).collect();
    assert_eq!(unseeded.len(), 100);
}

fn jitter() -> impl Strategy<Value = Jitter> {
    prop_oneof![
        Just(Jitter::None),
        Just(Jitter::Full),
        Just(Jitter::Equal),
        any::<f64>().prop_map(Jitter::Proportional),
        (0..1_000_000_u64).prop_map(|micros| Jitter::Additive(Duration::from_micros(micros))),
        any::<u64>().prop_map(|secs| Jitter::Additive(Duration::from_secs(secs))),
    ]
}

proptest! {
    #[test]
    fn r14_whatever_is_configured_the_bounds_hold(
        kind in 0..4_usize, base in any::<u64>(), cap in any::<u64>(), factor in any::<f64>(), jitter in jitter(),
        hints in proptest::collection::vec(proptest::option::of(any::<u64>()), 1..20), seed in any::<u64>(),
    ) {
        let (base, cap) = (Duration::from_micros(base), Duration::from_micros(cap));
        let backoff = KINDS[kind](base).cap(cap).factor(factor).jitter(jitter).seed(seed);
        // Nanoseconds are counted in 64 bits: 584 years.
        let cap = cap.min(Duration::from_nanos(u64::MAX));
        let mut delays = backoff.delays(0);
        for hint in hints {
            let hint = hint.map(Duration::from_micros);
            let delay = delays.next_after(hint);
            match hint {
                None => prop_assert!(delay <= cap),
                Some(hint) => prop_assert!(delay >= hint && delay <= hint.saturating_add(cap)),
            }
        }
    }
}
