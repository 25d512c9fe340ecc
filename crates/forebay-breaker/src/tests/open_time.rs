//! How long it stays open: bounds, growth, and spread.

use crate::policy::OpenTime;
use proptest::prelude::*;

proptest! {
    #![proptest_config(super::seeded(1_000))]

    /// B21: whatever it is given, it is never shorter than the hint or its own length (below the cap), never longer
    /// than the cap.
    #[test]
    fn b21_the_open_time_keeps_its_bounds(
        base in 1_000..10_000_000_u64,
        growth in 1.0..4.0_f64,
        room in 0..100_000_000_u64,
        jitter in 0.0..=1.0_f64,
        openings in 1..100_u32,
        hint in proptest::option::of(0..1_000_000_000_u64),
        draw: u64,
    ) {
        let open = OpenTime { base, growth, cap: base + room, jitter, max_hint: u64::MAX };
        let drawn = open.draw(openings, hint, draw);
        let floor = base as f64 / (1.0 + jitter);
        prop_assert!(drawn <= open.cap && drawn as f64 >= floor.floor(), "{drawn} of {open:?}");
        prop_assert!(drawn >= hint.unwrap_or(0).min(open.cap), "{drawn} is less than the hint");
        let own = base as f64 * growth.powi(openings as i32 - 1);
        if own * (1.0 + jitter) <= open.cap as f64 {
            prop_assert!(drawn as f64 >= own.floor(), "{drawn} is less than {own}");
        }
        prop_assert_eq!(OpenTime { max_hint: 0, ..open.clone() }.draw(openings, hint, draw), open.draw(openings, None, draw));
    }
}

#[test]
fn it_grows_to_the_cap_and_not_beyond() {
    let open = OpenTime { base: 5, growth: 2.0, cap: 60, jitter: 0.0, max_hint: u64::MAX };
    let drawn: Vec<_> = (1..=6).map(|openings| open.draw(openings, None, 9)).collect();
    assert_eq!(drawn, [5, 10, 20, 40, 60, 60]);
    assert_eq!(open.draw(u32::MAX, None, 9), 60, "a power beyond all bounds is the cap");
    assert_eq!(open.draw(1, Some(33), 9), 33);
    assert_eq!(open.draw(1, Some(86_400), 9), 60, "an absurd hint is capped");
    let careful = OpenTime { max_hint: 20, ..open };
    assert_eq!([15, 20, 33, u64::MAX].map(|hint| careful.draw(1, Some(hint), 9)), [15, 20, 20, 20]);
}

#[test]
fn b21_at_the_cap_it_is_still_spread() {
    let open = OpenTime { base: 1_000_000, growth: 2.0, cap: 1_000_000, jitter: 0.5, max_hint: u64::MAX };
    let drawn: Vec<_> = (0..4).map(|quarter: u64| open.draw(9, None, quarter << 62)).collect();
    assert_eq!(drawn, [666_666, 749_999, 833_333, 916_666]);
}
