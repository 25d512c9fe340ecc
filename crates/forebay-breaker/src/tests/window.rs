//! Windows over a time: exact at the edges, with a memory that does not grow.

use crate::{
    WindowStatus,
    policy::TimeWindow,
    window::{Counters, Layout, Line},
};

const WINDOW: TimeWindow = TimeWindow { width: 3_000_000, buckets: 10, first: 0 };

fn lines() -> (Vec<Line>, Layout) {
    let layout = Layout::new(WINDOW.cells(), 2);
    ((0..layout.lines()).map(|_| Line::new()).collect(), layout)
}

#[test]
fn b14_a_result_leaves_between_nine_tenths_of_the_window_and_all_of_it() {
    for offset in [0, 1, 1_499_999, 2_999_999] {
        let (lines, layout) = lines();
        let counters = Counters { lines: &lines, layout };
        counters.record(&WINDOW, 1, 7, offset, true);
        let held = |after: u64| counters.tally(&WINDOW, 7, offset + after).bad;
        assert_eq!(held(27_000_000), 1, "it left too soon");
        assert_eq!(held(30_000_000), 0, "it stayed too long");
    }
}

#[test]
fn b19_a_million_calls_take_the_room_of_one() {
    let (lines, layout) = lines();
    let counters = Counters { lines: &lines, layout };
    for call in 0..1_000_000_u64 {
        counters.record(&WINDOW, (call % 2) as usize, 7, call * 29, call % 4 == 0);
    }
    assert_eq!(counters.tally(&WINDOW, 7, 29_000_000), WindowStatus { calls: 1_000_000, bad: 250_000 });
    assert_eq!(size_of_val(lines.as_slice()), 2 * 3 * 64, "21 counters on each of two stripes, in whole lines");
}

#[test]
fn another_generation_starts_with_nothing() {
    let (lines, layout) = lines();
    let counters = Counters { lines: &lines, layout };
    counters.record(&WINDOW, 0, 7, 0, true);
    assert_eq!(counters.tally(&WINDOW, 8, 0), WindowStatus::default());
    counters.record(&WINDOW, 0, 8, 0, true);
    assert_eq!(counters.tally(&WINDOW, 8, 0), WindowStatus { calls: 1, bad: 1 });
    // A result of the old one that comes only now.
    counters.record(&WINDOW, 0, 7, 0, true);
    assert_eq!(counters.tally(&WINDOW, 8, 0), WindowStatus { calls: 1, bad: 1 });
}

#[test]
fn an_idle_year_is_forgotten() {
    let (lines, layout) = lines();
    let counters = Counters { lines: &lines, layout };
    counters.record(&WINDOW, 0, 7, 0, true);
    for year in 1..10_u64 {
        assert_eq!(counters.tally(&WINDOW, 7, year * 31_536_000_000_000), WindowStatus::default());
    }
}
