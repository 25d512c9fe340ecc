//! Turns cumulative values into the deltas since the last report. Pure: no clock, no lock.

use super::{Labels, Number, Series, Temporality, Value};
use std::{borrow::Cow, collections::HashMap};

/// Turns cumulative values into deltas, and loses none if a report fails.
///
/// The baseline moves only with [`Pending::commit`]: a report that was not delivered is part of the next one. Gauges and values
/// that are deltas already are unchanged. A series that restarts (its value fell, or its start moved) is reported as it is. A
/// sum that may fall has no delta in OpenTelemetry's Collector and in Prometheus; here it has one, as the specification says.
///
/// The baseline has the last committed value of each series, even of a series that is absent from later reports: when it
/// returns, its delta counts from there. Of the absent series the 16,384 that were seen last are remembered; any other that
/// returns is reported from its start again.
///
/// ```
/// use forebay_collect::{Deltas, Number, Series, Value};
///
/// let mut deltas = Deltas::new();
/// let count = |at, n: i64| vec![Series::new("requests", at, Value::counter(n)).since(1)];
/// let value = |report: &[Series]| match report[0].value {
///     Value::Sum { value, .. } => value,
///     _ => unreachable!(),
/// };
///
/// let (report, pending) = deltas.report(count(10, 5)).split();
/// assert_eq!(value(&report), Number::Int(5));
/// pending.commit(&mut deltas);
/// let (report, _failed) = deltas.report(count(20, 7)).split();
/// assert_eq!(value(&report), Number::Int(2));
/// let (report, _) = deltas.report(count(30, 8)).split();
/// assert_eq!(value(&report), Number::Int(3)); // with the delta of the failed report
/// ```
#[derive(Clone, Debug, Default)]
pub struct Deltas {
    reported: HashMap<Identity, Baseline>,
    /// The number of the last commit or reset, by which a stale pending report is recognized.
    generation: u64,
}

/// The baseline of a report, to be committed once it is delivered.
///
/// Without a [`commit`](Self::commit) the next report repeats the deltas.
#[derive(Debug)]
#[must_use = "what is not committed is reported again"]
pub struct Pending {
    reported: HashMap<Identity, Baseline>,
    generation: u64,
}

/// A report of deltas, and its pending baseline.
#[derive(Debug)]
#[must_use = "a report is to be sent"]
pub struct Reported {
    series: Vec<Series>,
    pending: Pending,
}

type Identity = (Cow<'static, str>, Labels);

/// The last committed value of a series, from `start` to `time`.
#[derive(Clone, Debug)]
struct Baseline {
    value: Value,
    start: u64,
    time: u64,
    /// The last committed report that had the series.
    seen_in: u64,
}

/// The greatest number of remembered series that were not in the last committed report.
const MAX_ABSENT: usize = 16_384;

// === impl Deltas ===

impl Deltas {
    /// Deltas without a baseline.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Turns gathered series into a report of the deltas since the last committed one.
    pub fn report(&self, mut series: Vec<Series>) -> Reported {
        let mut reported = HashMap::with_capacity(series.len());
        for one in &mut series {
            if one.value.temporality() != Some(Temporality::Cumulative) {
                continue;
            }
            let id = (one.name.clone(), one.labels.clone());
            let (start, time) = (one.start_unix_nanos, one.time_unix_nanos);
            let now = Baseline { value: one.value.clone(), start, time, seen_in: self.generation };
            match self.reported.get(&id).and_then(|before| Some((before, now.since(before)?))) {
                Some((before, delta)) => {
                    one.value = delta;
                    one.start_unix_nanos = before.time;
                }
                None => {
                    // A value that fell without a new start was reset since the last report, so its interval begins at the end of
                    // that report.
                    let before = self.reported.get(&id).filter(|before| before.start == start && before.time <= time);
                    one.start_unix_nanos = before.map_or(start, |before| before.time);
                    one.value.as_delta();
                }
            }
            reported.insert(id, now);
        }
        Reported { series, pending: Pending { reported, generation: self.generation } }
    }

    /// Forgets the baseline: the next report has everything since the start, as a new subscriber needs it.
    pub fn reset(&mut self) {
        self.reported.clear();
        self.generation += 1;
    }
}

impl Deltas {
    /// Keeps the `seen` series of the committed report, and of the others those that were seen last.
    fn forget_absent(&mut self, seen: usize) {
        let surplus = self.reported.len().saturating_sub(seen).saturating_sub(MAX_ABSENT);
        if surplus == 0 {
            return;
        }
        let mut absent: Vec<_> = self
            .reported
            .iter()
            .map(|(id, baseline)| (baseline.seen_in, id))
            .filter(|(at, _)| *at != self.generation)
            .collect();
        absent.sort_unstable_by_key(|(at, _)| *at);
        let oldest: Vec<_> = absent.into_iter().take(surplus).map(|(_, id)| id.clone()).collect();
        oldest.iter().for_each(|id| _ = self.reported.remove(id));
    }
}

// === impl Reported ===

impl Reported {
    /// The report, and its pending baseline.
    pub fn split(self) -> (Vec<Series>, Pending) {
        (self.series, self.pending)
    }
}

// === impl Pending ===

impl Pending {
    /// Moves the baseline, because the report was delivered.
    ///
    /// It does nothing if `deltas` was reset, or another report was committed, since this one was made.
    pub fn commit(self, deltas: &mut Deltas) {
        if deltas.generation == self.generation {
            let seen = self.reported.len();
            deltas.reported.extend(self.reported);
            deltas.forget_absent(seen);
            deltas.generation += 1;
        }
    }
}

// === impl Baseline ===

impl Baseline {
    /// The delta since `before`; `None` if this value does not continue it.
    fn since(&self, before: &Self) -> Option<Value> {
        if self.start != before.start || self.time < before.time {
            return None;
        }
        let temporality = Temporality::Delta;
        match (&self.value, &before.value) {
            (Value::Sum { value, monotonic, .. }, Value::Sum { value: old, monotonic: was, .. })
                if monotonic == was && !(*monotonic && value.is_below(*old)) =>
            {
                Some(Value::Sum { value: Number::minus(*value, *old), monotonic: *monotonic, temporality })
            }
            (Value::Histogram { histogram, .. }, Value::Histogram { histogram: old, .. }) => {
                Some(Value::Histogram { histogram: histogram.since(old)?, temporality })
            }
            _ => None,
        }
    }
}

// === impl Value ===

impl Value {
    /// Makes a delta of a first cumulative value, which counts from its start.
    fn as_delta(&mut self) {
        match self {
            Self::Gauge(_) => {}
            Self::Sum { temporality, .. } | Self::Histogram { temporality, .. } => *temporality = Temporality::Delta,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn counter(name: String, time: u64, value: i64) -> Series {
        Series::new(name, time, Value::counter(value)).since(1)
    }

    fn sum(series: &Series) -> i64 {
        match series.value {
            Value::Sum { value: Number::Int(value), .. } => value,
            ref other => panic!("{other:?}"),
        }
    }

    #[test]
    fn f14_a_series_that_was_absent_once_is_reported_once() {
        let mut deltas = Deltas::new();
        let mut reported = Vec::new();
        for (time, value) in [(10, Some(5)), (20, None), (30, Some(7)), (40, Some(9))] {
            let gathered = value.map(|value| counter("requests".to_owned(), time, value)).into_iter().collect();
            let (report, pending) = deltas.report(gathered).split();
            reported.extend(report.iter().map(|one| (one.start_unix_nanos, one.time_unix_nanos, sum(one))));
            pending.commit(&mut deltas);
        }
        assert_eq!(reported, [(1, 10, 5), (10, 30, 2), (30, 40, 2)]);
    }

    #[test]
    fn f14_a_series_that_fell_goes_on_where_the_last_report_ended() {
        let mut deltas = Deltas::new();
        let mut reported = Vec::new();
        for (time, value) in [(10, 5), (20, 3), (30, 4)] {
            let (report, pending) = deltas.report(vec![counter("requests".to_owned(), time, value)]).split();
            reported.extend(report.iter().map(|one| (one.start_unix_nanos, one.time_unix_nanos, sum(one))));
            pending.commit(&mut deltas);
        }
        assert_eq!(reported, [(1, 10, 5), (10, 20, 3), (20, 30, 1)]);
    }

    #[test]
    fn f14_absent_series_are_bounded_and_the_oldest_are_forgotten() {
        let mut deltas = Deltas::new();
        let report = |deltas: &mut Deltas, from: usize, to: usize, time: u64| {
            let gathered = (from..to).map(|number| counter(format!("series {number}"), time, 1)).collect();
            let (report, pending) = deltas.report(gathered).split();
            pending.commit(deltas);
            report.iter().map(sum).sum::<i64>()
        };
        for round in 0..10 {
            assert_eq!(report(&mut deltas, round * 4000, round * 4000 + 4000, 10 + round as u64), 4000);
            assert!(deltas.reported.len() <= MAX_ABSENT + 4000);
        }
        assert_eq!(report(&mut deltas, 36_000, 40_000, 99), 0, "seen last");
        assert_eq!(report(&mut deltas, 24_000, 28_000, 100), 0, "absent, and remembered");
        assert_eq!(report(&mut deltas, 0, 4000, 101), 4000, "forgotten");
    }

    proptest! {
        /// Whatever is absent, fails or returns: the delivered deltas of a series add up to its value, over consecutive intervals.
        #[test]
        fn f14_delivered_deltas_add_up_over_intervals_that_do_not_overlap(
            rounds in vec((vec((any::<bool>(), 0_i64..9), 3), any::<bool>()), 1..40),
        ) {
            let mut deltas = Deltas::new();
            let (mut values, mut delivered_sums, mut committed, mut ends) = ([0; 3], [0; 3], [0; 3], [1; 3]);
            for (round, (steps, delivered)) in rounds.into_iter().enumerate() {
                let time = 10 + round as u64;
                let mut gathered = Vec::new();
                for (number, (present, increment)) in steps.into_iter().enumerate() {
                    values[number] += increment;
                    if present {
                        gathered.push(counter(format!("series {number}"), time, values[number]));
                    }
                }
                let (report, pending) = deltas.report(gathered).split();
                for one in report {
                    let number = usize::from(one.name.as_bytes()[7] - b'0');
                    prop_assert_eq!(one.start_unix_nanos, ends[number], "continues where the last one ended");
                    if delivered {
                        delivered_sums[number] += sum(&one);
                        ends[number] = one.time_unix_nanos;
                        committed[number] = values[number];
                    }
                }
                if delivered {
                    pending.commit(&mut deltas);
                }
                prop_assert_eq!(delivered_sums, committed);
            }
        }
    }
}
