//! Ways to keep values while they cannot be exported, compared over an outage. Time is counted, not waited for.

use super::{buffer::one, own};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::Write,
    iter,
};

/// A value of a series: which series, and at which gathering.
type Point = (u64, u64);

/// A way to keep what could not be exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strategy {
    /// Nothing is kept: a failed export is lost.
    Nothing,
    /// The values of the last interval that failed.
    LastInterval,
    /// The values of the last intervals that failed, so many of them.
    Ring(usize),
    /// The values that failed are merged into the next interval: each series keeps its newest.
    Merge,
}

/// What a strategy has cost and lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// The most values that have waited at a time, those of the interval under way included.
    values: usize,
    /// Their weight.
    bytes: usize,
    /// Values that were never received.
    lost: usize,
    /// Values that were received more than once.
    twice: usize,
    /// The longest time between two values of one series as the server has them, in seconds.
    gap: u64,
    /// The most values of one export.
    largest: usize,
}

/// As many as a process reports on.
const SERIES: u64 = 100;
const GATHER_SECONDS: u64 = 5;
/// Gatherings of an interval of a minute.
const INTERVAL: u64 = 12;
/// An hour, of which the exports of half an hour in the middle fail.
const EXPORTS: u64 = 60;
const OUTAGE: std::ops::Range<u64> = 10..40;
/// Exports that fail although the server has taken them: its response is lost. The outage begins and ends in this way.
const TAKEN: [u64; 2] = [OUTAGE.start, OUTAGE.end - 1];

const STRATEGIES: [(Strategy, &str); 5] = [
    (Strategy::Nothing, "nothing"),
    (Strategy::LastInterval, "the last interval"),
    (Strategy::Ring(15), "a ring of 15 intervals"),
    (Strategy::Ring(31), "a ring of 31 intervals"),
    (Strategy::Merge, "merge on failure"),
];

/// Compares ways to keep values over an outage of 30 minutes in a table.
#[must_use]
pub fn compare() -> String {
    let mut table = String::from(
        "| what is kept of failed exports | values waiting, at most | KiB | values lost | received twice | longest gap | \
         largest export, in values |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for (strategy, name) in STRATEGIES {
        let Outcome { values, bytes, lost, twice, gap, largest } = run(strategy);
        let kib = bytes >> 10;
        // Writing to a string does not fail.
        let _infallible = writeln!(table, "| {name} | {values} | {kib} | {lost} | {twice} | {gap} s | {largest} |");
    }
    table
}

fn run(strategy: Strategy) -> Outcome {
    let mut outcome = Outcome::default();
    let mut kept: VecDeque<Vec<Point>> = VecDeque::new();
    let mut received: BTreeMap<Point, usize> = BTreeMap::new();
    for export in 0..EXPORTS {
        let gatherings = export * INTERVAL..(export + 1) * INTERVAL;
        let fresh: Vec<Point> = gatherings.flat_map(|time| (0..SERIES).map(move |series| (series, time))).collect();
        let waiting: Vec<Point> = kept.iter().flatten().chain(&fresh).copied().collect();
        outcome.values = outcome.values.max(waiting.len());
        outcome.bytes = outcome.bytes.max(waiting.iter().map(|(series, time)| own::weight(&one(*series, *time))).sum());
        let sent = if strategy == Strategy::Merge { newest_of_kept(&kept, &fresh) } else { waiting };
        outcome.largest = outcome.largest.max(sent.len());
        let failed = OUTAGE.contains(&export);
        if !failed || TAKEN.contains(&export) {
            sent.iter().for_each(|point| *received.entry(*point).or_default() += 1);
        }
        if !failed {
            kept.clear();
            continue;
        }
        match strategy {
            Strategy::Nothing => {}
            Strategy::LastInterval => kept = iter::once(fresh).collect(),
            Strategy::Ring(most) => {
                kept.push_back(fresh);
                kept.drain(..kept.len().saturating_sub(most));
            }
            Strategy::Merge => kept = iter::once(newest(sent)).collect(),
        }
    }
    outcome.lost = usize::try_from(EXPORTS * INTERVAL * SERIES).unwrap_or(usize::MAX) - received.len();
    outcome.twice = received.values().filter(|times| **times > 1).count();
    outcome.gap = longest_gap(&received.into_keys().collect()) * GATHER_SECONDS;
    outcome
}

/// What a merged export sends: the values of this interval, and of each series that has none in it the one that was kept.
fn newest_of_kept(kept: &VecDeque<Vec<Point>>, fresh: &[Point]) -> Vec<Point> {
    let here: BTreeSet<u64> = fresh.iter().map(|(series, _)| *series).collect();
    let absent = kept.iter().flatten().filter(|(series, _)| !here.contains(series));
    absent.chain(fresh).copied().collect()
}

/// The newest value of each series.
fn newest(points: Vec<Point>) -> Vec<Point> {
    points.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

fn longest_gap(received: &BTreeSet<Point>) -> u64 {
    let pairs = received.iter().zip(received.iter().skip(1));
    let gaps = pairs.filter(|((of, _), (other, _))| of == other).map(|((_, time), (_, next))| next - time);
    gaps.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = 30 * 12 * 100;

    #[test]
    fn each_way_loses_and_doubles_what_it_must() {
        let lost = |strategy| run(strategy).lost;
        // Of 30 exports that failed two were taken all the same.
        assert_eq!(lost(Strategy::Nothing), ALL - 2 * 1200);
        assert_eq!(lost(Strategy::LastInterval), ALL - 3 * 1200, "the last but one went with the last that was taken");
        assert_eq!(lost(Strategy::Ring(15)), ALL - 17 * 1200);
        assert_eq!(lost(Strategy::Ring(31)), 0);
        assert_eq!(lost(Strategy::Merge), lost(Strategy::Nothing), "sums lose nothing by it, gauges do");
        let twice = |strategy| run(strategy).twice;
        assert_eq!(twice(Strategy::Nothing) + twice(Strategy::Merge), 0);
        assert_eq!(twice(Strategy::LastInterval), 1200);
        assert_eq!(twice(Strategy::Ring(31)), 30 * 1200, "all that waited was in the export whose response was lost");
    }

    #[test]
    fn only_a_ring_costs_memory_with_the_outage() {
        let values = |strategy| run(strategy).values;
        assert_eq!((values(Strategy::Nothing), values(Strategy::LastInterval)), (1200, 2400));
        assert_eq!((values(Strategy::Ring(15)), values(Strategy::Ring(31))), (16 * 1200, 31 * 1200));
        assert_eq!(values(Strategy::Merge), 1300);
    }

    #[test]
    fn the_page_has_the_table_that_is_computed() {
        assert!(include_str!("../README.md").contains(&compare()), "README.md lacks this table:\n{}", compare());
    }
}
