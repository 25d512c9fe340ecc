//! Bounds the number of series of each metric. Pure: no clock, no lock.

use crate::series::{Labels, Series};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
};

/// Bounds the number of series of each metric: all series beyond it are added to one overflow series.
///
/// A label with unbounded values (a user's name, a request's id) makes an unbounded number of series, each of which costs memory
/// in the program and in the server. Of each name the first `per_metric - 1` sets of labels are kept; all others are added to
/// one series whose only label is `otel.metric.overflow = true`, as in OpenTelemetry's SDKs.
///
/// A set of labels that is no longer gathered frees its place. A free place is used only when nothing overflows, so that the
/// overflow series never loses a part of its sum.
#[derive(Clone, Debug)]
pub struct CardinalityCap {
    per_metric: NonZeroUsize,
    max_metrics: NonZeroUsize,
    kept: HashMap<Cow<'static, str>, Kept>,
}

/// The effect of a cap on one report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capped {
    /// Series that were added to an overflow series.
    pub overflowed: u64,
    /// Series that were dropped: they are of another kind than the overflow series of their name, or of a name beyond the
    /// number of metrics.
    pub lost: u64,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    sets: HashSet<Labels>,
    overflows: bool,
}

// === impl CardinalityCap ===

impl CardinalityCap {
    /// The label of an overflow series, with the value `true`.
    pub const OVERFLOW: &'static str = "otel.metric.overflow";

    /// The default number of series of a metric: 2,000, as in OpenTelemetry's SDKs.
    pub const PER_METRIC: NonZeroUsize = NonZeroUsize::new(2_000).unwrap();

    /// The default number of metrics: 10,000.
    pub const MAX_METRICS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

    /// A cap on the number of series of each metric, its overflow series included.
    #[must_use]
    pub fn new(per_metric: NonZeroUsize) -> Self {
        Self { per_metric, max_metrics: Self::MAX_METRICS, kept: HashMap::new() }
    }

    /// Sets the greatest number of metrics; default 10,000. Further metrics are left out, and counted as lost.
    #[must_use]
    pub fn max_metrics(mut self, metrics: NonZeroUsize) -> Self {
        self.max_metrics = metrics;
        self
    }

    /// Bounds the series of one report.
    pub fn apply(&mut self, series: Vec<Series>) -> (Vec<Series>, Capped) {
        let mut capped = Capped::default();
        let mut within = Vec::with_capacity(series.len());
        let mut overflow: HashMap<Cow<'static, str>, Series> = HashMap::new();
        self.retire(&series);
        for mut one in series {
            if !self.kept.contains_key(&one.name) {
                if self.kept.len() >= self.max_metrics.get() {
                    capped.lost += 1;
                    continue;
                }
                self.kept.insert(one.name.clone(), Kept::default());
            }
            let Some(kept) = self.kept.get_mut(&one.name) else { continue };
            let room = kept.sets.len() + 1 < self.per_metric.get() && !kept.overflows;
            if kept.sets.contains(&one.labels) || room {
                kept.sets.insert(one.labels.clone());
                within.push(one);
                continue;
            }
            // No other series of this name takes a place after the first overflow, in this report as well.
            kept.overflows = true;
            match overflow.get_mut(&one.name) {
                None => {
                    one.labels = Labels::new().with(Self::OVERFLOW, true);
                    capped.overflowed += 1;
                    overflow.insert(one.name.clone(), one);
                }
                Some(all) => match all.merge(&one) {
                    Ok(()) => capped.overflowed += 1,
                    Err(_) => capped.lost += 1,
                },
            }
        }
        for (name, kept) in &mut self.kept {
            kept.overflows = overflow.contains_key(name);
        }
        within.extend(overflow.into_values());
        (within, capped)
    }

    /// Frees the places of series that are not in this report.
    fn retire(&mut self, series: &[Series]) {
        let mut before = std::mem::take(&mut self.kept);
        for one in series {
            let Some(old) = before.get_mut(&one.name) else { continue };
            let kept = self.kept.entry(one.name.clone()).or_default();
            kept.overflows = old.overflows;
            kept.sets.extend(old.sets.take(&one.labels));
        }
    }
}

impl Default for CardinalityCap {
    /// With [`PER_METRIC`](Self::PER_METRIC).
    fn default() -> Self {
        Self::new(Self::PER_METRIC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Number, Value};

    fn series(of: &[i64]) -> Vec<Series> {
        let one = |of: &i64| Series::new("n", 1, Value::counter(10 + of)).labels([("of", *of)]);
        of.iter().map(one).collect()
    }

    fn read(cap: &mut CardinalityCap, of: &[i64]) -> Vec<(String, i64)> {
        let (series, capped) = cap.apply(series(of));
        assert_eq!(capped.lost, 0);
        let read = |one: Series| {
            let Value::Sum { value: Number::Int(value), .. } = one.value else { panic!("{one:?}") };
            (one.labels.iter().map(|(name, value)| format!("{name}={value}")).collect(), value)
        };
        series.into_iter().map(read).collect()
    }

    fn of(label: &str, value: i64) -> (String, i64) {
        (label.to_owned(), value)
    }

    #[test]
    fn what_is_too_many_is_added_up_in_one_series() {
        let mut cap = CardinalityCap::new(NonZeroUsize::new(3).unwrap());
        assert_eq!(read(&mut cap, &[1, 2]), [of("of=1", 11), of("of=2", 12)]);
        let all = [of("of=1", 11), of("of=2", 12), of("otel.metric.overflow=true", 27)];
        assert_eq!(read(&mut cap, &[1, 2, 3, 4]), all);
        // Whatever the order, the same ones are kept.
        assert_eq!(read(&mut cap, &[4, 3, 1, 2]), all);
    }

    #[test]
    fn c07_a_set_of_labels_that_is_no_longer_gathered_frees_its_place() {
        let mut cap = CardinalityCap::new(NonZeroUsize::new(3).unwrap());
        for of in (0..100).step_by(2) {
            assert_eq!(read(&mut cap, &[of, of + 1]).len(), 2, "a change of labels retires the old series");
            assert_eq!(cap.kept["n"].sets.len(), 2);
        }
    }

    #[test]
    fn the_overflow_series_never_loses_a_part_of_its_sum() {
        let mut cap = CardinalityCap::new(NonZeroUsize::new(2).unwrap());
        read(&mut cap, &[1, 2, 3]);
        // 1 is no longer gathered, but 2 and 3 stay in the overflow series as long as they are gathered.
        assert_eq!(read(&mut cap, &[2, 3]), [of("otel.metric.overflow=true", 25)]);
        assert_eq!(read(&mut cap, &[2, 3]), [of("otel.metric.overflow=true", 25)]);
        assert_eq!(read(&mut cap, &[]), []);
        assert_eq!(read(&mut cap, &[5]), [of("of=5", 15)]);
    }

    #[test]
    fn what_does_not_add_up_is_counted_as_lost() {
        let mut cap = CardinalityCap::new(NonZeroUsize::MIN).max_metrics(NonZeroUsize::MIN);
        let mut all = series(&[1]);
        all.push(Series::new("n", 1, Value::gauge(1.0)));
        all.push(Series::new("other", 1, Value::gauge(1.0)));
        let (kept, capped) = cap.apply(all);
        assert_eq!((kept.len(), capped), (1, Capped { overflowed: 1, lost: 2 }));
    }
}
