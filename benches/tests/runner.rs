//! The tables that the benchmarks print say what was measured.

use forebay_benches::{
    bound::{Bound, Finding},
    runner::{Table, median},
    work::{Sample, Work},
};
use std::time::Duration;

fn costs(nanos: u64) -> impl FnMut(Work) -> Sample {
    move |work| Sample {
        wall: Duration::from_nanos(nanos * work.ops),
        cpu: Duration::from_nanos(nanos * work.ops),
        ..work.measure(|| ())
    }
}

#[test]
fn ratios_and_targets_are_against_the_floor_and_the_best_rival() {
    let report = Table::new("test", "costs")
        .floor("floor", costs(100_000))
        .rival("slow", costs(400_000))
        .rival("fast", costs(300_000))
        .forebay("ours", &[Bound::of_floor(1.9), Bound::of_best_rival(0.7), Bound::of("slow", 0.5)], costs(200_000))
        .run(3);
    let ours = &report.rows[3];
    assert!((ours.ratio_to_floor - 2.0).abs() < 1e-9);
    assert!((ours.ratio_to_best_rival.unwrap() - 2.0 / 3.0).abs() < 1e-9);
    let met: Vec<_> = ours.findings.iter().map(Finding::met).collect();
    assert_eq!(met, [Some(false), Some(true), Some(true)]);
    assert_eq!(ours.met(), Some(false));
    assert_eq!(report.rows[0].met(), None);
    assert!(!ours.marked, "one core was busy");
}

#[test]
fn the_median_is_the_middle_one() {
    assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
    assert!(median(Vec::new()).is_nan());
}
