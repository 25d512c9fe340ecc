//! Merges the metrics that could not be sent into the next export. Pure: no clock, no lock.

use super::exponential;
use crate::{
    ExponentialHistogramPoint, HistogramPoint, KeyValue, Metric, MetricData, Number, NumberPoint, Scope, Temporality,
};
use std::{collections::HashMap, sync::Arc};

/// A metric and its scope.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scoped {
    pub(super) scope: Arc<Scope>,
    pub(super) metric: Metric,
}

/// Merges `older`, which could not be sent, into `newer`.
///
/// * The increments of a delta series are added up, over the time of both.
/// * A newer point of a cumulative series, or of a gauge, replaces the older one.
/// * A series without a newer point keeps its older one.
/// * Two points that cannot be merged (different buckets, a different start) are sent one after the other.
pub(super) fn merge(older: Vec<Scoped>, mut newer: Vec<Scoped>) -> Vec<Scoped> {
    if older.is_empty() {
        return newer;
    }
    let mut places: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, scoped) in newer.iter().enumerate() {
        places.entry(scoped.metric.name.to_string()).or_default().push(place);
    }
    let mut alone = Vec::new();
    for old in older {
        let same = places.get(&*old.metric.name).into_iter().flatten().copied();
        let place = same.into_iter().find(|place| newer.get(*place).is_some_and(|new| new.is_of(&old)));
        match place.and_then(|place| newer.get_mut(place)) {
            Some(new) => new.metric.data = add(old.metric.data, new.metric.data.take()),
            None => alone.push(old),
        }
    }
    alone.append(&mut newer);
    alone
}

/// The number of points.
pub(super) fn points(all: &[Scoped]) -> usize {
    let of = |scoped: &Scoped| match &scoped.metric.data {
        Some(MetricData::Gauge(points) | MetricData::Sum { points, .. }) => points.len(),
        Some(MetricData::Histogram { points, .. }) => points.len(),
        Some(MetricData::ExponentialHistogram { points, .. }) => points.len(),
        Some(MetricData::Summary(points)) => points.len(),
        None => 0,
    };
    all.iter().map(of).sum()
}

// === impl Scoped ===

impl Scoped {
    /// Whether both are the same instrument, aggregated in the same way.
    fn is_of(&self, other: &Self) -> bool {
        let (one, two) = (&self.metric, &other.metric);
        let alike = match (&one.data, &two.data) {
            (Some(MetricData::Gauge(_)), Some(MetricData::Gauge(_))) => true,
            (
                Some(MetricData::Sum { temporality: one, monotonic: up, .. }),
                Some(MetricData::Sum { temporality: two, monotonic: also, .. }),
            ) => one == two && up == also,
            (
                Some(MetricData::Histogram { temporality: one, .. }),
                Some(MetricData::Histogram { temporality: two, .. }),
            )
            | (
                Some(MetricData::ExponentialHistogram { temporality: one, .. }),
                Some(MetricData::ExponentialHistogram { temporality: two, .. }),
            ) => one == two,
            _ => false,
        };
        alike && one.unit == two.unit && one.name == two.name && self.scope == other.scope
    }
}

fn add(older: Option<MetricData>, newer: Option<MetricData>) -> Option<MetricData> {
    use MetricData::{ExponentialHistogram, Gauge, Histogram, Sum};
    Some(match (older?, newer?) {
        (Gauge(old), Gauge(new)) => Gauge(series(old, new, |_, new| Ok(new))),
        (Sum { points: old, .. }, Sum { points: new, temporality, monotonic }) => {
            let points = series(old, new, |old, new| match temporality {
                Temporality::Delta => add_numbers(old, new),
                _ => newest(old, new, |point| point.start_time_unix_nano),
            });
            Sum { points, temporality, monotonic }
        }
        (Histogram { points: old, .. }, Histogram { points: new, temporality }) => {
            let points = series(old, new, |old, new| match temporality {
                Temporality::Delta => add_histograms(old, new),
                _ => newest(old, new, |point| point.start_time_unix_nano),
            });
            Histogram { points, temporality }
        }
        (ExponentialHistogram { points: old, .. }, ExponentialHistogram { points: new, temporality }) => {
            let points = series(old, new, |old, new| match temporality {
                Temporality::Delta => add_exponential(old, new),
                _ => newest(old, new, |point| point.start_time_unix_nano),
            });
            ExponentialHistogram { points, temporality }
        }
        // `is_of` excludes every other pair.
        (_, new) => new,
    })
}

/// Two points that cannot be merged. They are boxed, because they are the exception.
type Apart<P> = Box<(P, P)>;

/// A point of a series.
trait Point {
    fn attributes(&self) -> &[KeyValue];
}

macro_rules! points {
    ($($point:ty)*) => {$(
        impl Point for $point {
            fn attributes(&self) -> &[KeyValue] {
                &self.attributes
            }
        }
    )*};
}
points!(NumberPoint HistogramPoint ExponentialHistogramPoint);

/// Merges the points of the same series by `both`. The points in an error of `both` stay apart, the older first.
fn series<P: Point>(older: Vec<P>, newer: Vec<P>, both: impl Fn(P, P) -> Result<P, Apart<P>>) -> Vec<P> {
    // Attributes have doubles in them and cannot be hashed; their text can.
    let name = |point: &P| format!("{:?}", point.attributes());
    let mut by_name: HashMap<String, Vec<P>> = HashMap::new();
    let mut order = Vec::new();
    for point in older {
        let name = name(&point);
        order.push(name.clone());
        by_name.entry(name).or_default().push(point);
    }
    let mut points = Vec::new();
    for new in newer {
        // Of several older points only the last one can be adjacent to the new one.
        let mut before = by_name.remove(&name(&new)).unwrap_or_default();
        match before.pop() {
            None => points.push(new),
            Some(old) => {
                points.append(&mut before);
                match both(old, new) {
                    Ok(one) => points.push(one),
                    Err(apart) => points.extend(<[P; 2]>::from(*apart)),
                }
            }
        }
    }
    let mut kept: Vec<P> = order.into_iter().filter_map(|name| by_name.remove(&name)).flatten().collect();
    kept.append(&mut points);
    kept
}

/// A cumulative point replaces the earlier ones, unless the counting has restarted.
fn newest<P>(old: P, new: P, start: impl Fn(&P) -> u64) -> Result<P, Apart<P>> {
    if start(&old) == start(&new) { Ok(new) } else { Err(Box::new((old, new))) }
}

fn add_numbers(old: NumberPoint, mut new: NumberPoint) -> Result<NumberPoint, Apart<NumberPoint>> {
    let sum = match (old.value, new.value) {
        (Some(Number::Int(one)), Some(Number::Int(two))) => one.checked_add(two).map(Number::Int),
        (Some(Number::Double(one)), Some(Number::Double(two))) => Some(Number::Double(one + two)),
        _ => None,
    };
    let Some(sum) = sum else { return Err(Box::new((old, new))) };
    new.value = Some(sum);
    new.start_time_unix_nano = old.start_time_unix_nano.min(new.start_time_unix_nano);
    add_exemplars(old.exemplars, &mut new.exemplars);
    Ok(new)
}

fn add_histograms(old: HistogramPoint, mut new: HistogramPoint) -> Result<HistogramPoint, Apart<HistogramPoint>> {
    if old.explicit_bounds != new.explicit_bounds || old.bucket_counts.len() != new.bucket_counts.len() {
        return Err(Box::new((old, new)));
    }
    new.bucket_counts.iter_mut().zip(&old.bucket_counts).for_each(|(new, old)| *new = new.saturating_add(*old));
    new.count = new.count.saturating_add(old.count);
    new.sum = old.sum.zip(new.sum).map(|(one, two)| one + two);
    new.min = extreme(old.min, new.min, f64::min);
    new.max = extreme(old.max, new.max, f64::max);
    new.start_time_unix_nano = old.start_time_unix_nano.min(new.start_time_unix_nano);
    add_exemplars(old.exemplars, &mut new.exemplars);
    Ok(new)
}

fn add_exponential(
    old: ExponentialHistogramPoint,
    mut new: ExponentialHistogramPoint,
) -> Result<ExponentialHistogramPoint, Apart<ExponentialHistogramPoint>> {
    if old.zero_threshold.to_bits() != new.zero_threshold.to_bits() {
        return Err(Box::new((old, new)));
    }
    let Some(sum) = exponential::sum(&old, &new) else { return Err(Box::new((old, new))) };
    (new.scale, new.positive, new.negative) = (sum.scale, sum.positive, sum.negative);
    new.count = new.count.saturating_add(old.count);
    new.zero_count = new.zero_count.saturating_add(old.zero_count);
    new.sum = old.sum.zip(new.sum).map(|(one, two)| one + two);
    new.min = extreme(old.min, new.min, f64::min);
    new.max = extreme(old.max, new.max, f64::max);
    new.start_time_unix_nano = old.start_time_unix_nano.min(new.start_time_unix_nano);
    add_exemplars(old.exemplars, &mut new.exemplars);
    Ok(new)
}

/// Puts the newest of `old` before those of `new`, as many as fit, so that a point does not grow with each failed export.
fn add_exemplars<E>(mut old: Vec<E>, new: &mut Vec<E>) {
    /// The usual size of the SDK's reservoirs.
    const USUAL: usize = 20;
    let room = USUAL.max(old.len()).saturating_sub(new.len());
    old.drain(..old.len().saturating_sub(room));
    new.splice(0..0, old);
}

fn extreme(one: Option<f64>, two: Option<f64>, of: fn(f64, f64) -> f64) -> Option<f64> {
    match (one, two) {
        (Some(one), Some(two)) => Some(of(one, two)),
        (one, two) => one.or(two),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};

    fn scoped(name: &'static str, data: MetricData) -> Scoped {
        Scoped { scope: Arc::new(Scope::new("scope")), metric: Metric::new(name, data) }
    }

    fn deltas(time: u64, values: &[(u8, i64)]) -> Vec<Scoped> {
        let points = values.iter().map(|(series, value)| {
            NumberPoint::new(time, *value).since(time - 1).attribute("series", i32::from(*series))
        });
        let points = points.collect();
        vec![scoped("sum", MetricData::Sum { points, temporality: Temporality::Delta, monotonic: true })]
    }

    fn numbers(all: &[Scoped]) -> Vec<&NumberPoint> {
        let of = |scoped: &'_ Scoped| match &scoped.metric.data {
            Some(MetricData::Sum { .. } | MetricData::Gauge(_)) => true,
            other => panic!("{other:?}"),
        };
        assert!(all.iter().all(of));
        all.iter()
            .flat_map(|scoped| match &scoped.metric.data {
                Some(MetricData::Sum { points, .. } | MetricData::Gauge(points)) => points.iter(),
                _ => [].iter(),
            })
            .collect()
    }

    proptest! {
        /// However often sending fails, each increment is in what is sent in the end, once, and each series is one point.
        #[test]
        fn deltas_are_neither_lost_nor_doubled(rounds in vec(proptest::collection::btree_map(0_u8..5, 0_i64..100, 0..5), 1..8)) {
            let mut unsent = Vec::new();
            let mut expected = [0; 5];
            for (round, values) in rounds.iter().enumerate() {
                values.iter().for_each(|(series, value)| expected[usize::from(*series)] += value);
                let values: Vec<_> = values.iter().map(|(series, value)| (*series, *value)).collect();
                unsent = merge(unsent, deltas(round as u64 + 1, &values));
            }
            let mut found = [None; 5];
            for point in numbers(&unsent) {
                let crate::AnyValue::Int(series) = point.attributes[0].value else { panic!() };
                let Some(Number::Int(value)) = point.value else { panic!() };
                let slot = &mut found[usize::try_from(series).unwrap()];
                prop_assert_eq!(*slot, None, "one point per series");
                *slot = Some(value);
            }
            prop_assert_eq!(found.map(Option::unwrap_or_default), expected);
        }
    }

    /// The sum of the values at an index of a scale, or of an explicit bucket, is what these are for.
    type Values = Vec<(bool, u16, bool)>;

    /// A point of so many rounds, with the count, sum, minimum and maximum of `values`: 0, or 2^-8 to 2^7, of either sign.
    fn exponential(round: u64, scale: i32, values: &Values) -> ExponentialHistogramPoint {
        let mut point = ExponentialHistogramPoint::new(round + 1);
        (point.start_time_unix_nano, point.scale, point.count) = (round, scale, values.len() as u64);
        point.sum = Some(values.iter().map(of_value).sum());
        point.min = values.iter().map(of_value).reduce(f64::min);
        point.max = values.iter().map(of_value).reduce(f64::max);
        point.zero_count = values.iter().filter(|value| of_value(value) == 0.0).count() as u64;
        for (negative, buckets) in [(false, &mut point.positive), (true, &mut point.negative)] {
            let values = values.iter().map(of_value).filter(|value| *value != 0.0 && (*value < 0.0) == negative);
            // Powers of two have the same index in each bucket of width one: at scale 0 it is the exponent less one.
            let indices: Vec<_> = values.map(|value| index(value.abs(), scale)).collect();
            let Some(offset) = indices.iter().copied().min() else { continue };
            let mut counts = vec![0; usize::try_from(indices.iter().max().unwrap() - offset + 1).unwrap()];
            indices.iter().for_each(|index| counts[usize::try_from(index - offset).unwrap()] += 1);
            *buckets = Some(crate::Buckets { offset, counts });
        }
        point
    }

    fn of_value((negative, exponent, zero): &(bool, u16, bool)) -> f64 {
        let value = f64::from(i32::from(exponent % 16) - 8).exp2();
        if *zero {
            0.0
        } else if *negative {
            -value
        } else {
            value
        }
    }

    /// The bucket of a power of two: base^index < value <= base^(index + 1), base = 2^(2^-scale).
    #[expect(clippy::cast_possible_truncation, reason = "at most 2^3 times 2^4")]
    fn index(value: f64, scale: i32) -> i32 {
        (value.log2() * f64::from(scale).exp2()).ceil() as i32 - 1
    }

    proptest! {
        /// However often sending fails, an exponential histogram has the count, sum, minimum, maximum, zeros and buckets of all
        /// values, in one point.
        #[test]
        fn f03_a_merged_exponential_histogram_is_that_of_all_values(
            rounds in vec((0_i32..4, vec((any::<bool>(), any::<u16>(), proptest::bool::weighted(0.2)), 1..6)), 1..8),
        ) {
            let mut unsent = Vec::new();
            for (round, (scale, values)) in rounds.iter().enumerate() {
                let points = vec![exponential(round as u64, *scale, values)];
                let data = MetricData::ExponentialHistogram { points, temporality: Temporality::Delta };
                unsent = merge(unsent, vec![scoped("histogram", data)]);
            }
            let scale = rounds.iter().map(|(scale, _)| *scale).min().unwrap();
            let all: Values = rounds.iter().flat_map(|(_, values)| values.iter().copied()).collect();
            let mut expected = exponential(0, scale, &all);
            expected.time_unix_nano = rounds.len() as u64;
            let Some(MetricData::ExponentialHistogram { points, .. }) = &unsent[0].metric.data else { panic!() };
            // Powers of two add up without rounding, in any order.
            prop_assert_eq!((unsent.len(), points), (1, &vec![expected]));
        }
    }

    #[test]
    fn a_merged_delta_covers_the_time_of_both() {
        let merged = merge(deltas(5, &[(1, 3)]), deltas(6, &[(1, 4)]));
        let points = numbers(&merged);
        assert_eq!(points.len(), 1);
        assert_eq!((points[0].start_time_unix_nano, points[0].time_unix_nano), (4, 6));
        assert_eq!(points[0].value, Some(Number::Int(7)));
    }

    #[test]
    fn a_gauge_and_a_cumulative_sum_are_kept_until_there_is_a_newer_value() {
        let gauge = |time, series: i32, value: f64| {
            vec![scoped("gauge", MetricData::Gauge(vec![NumberPoint::new(time, value).attribute("series", series)]))]
        };
        let merged = merge(gauge(1, 1, 0.5), gauge(2, 2, 0.7));
        assert_eq!(numbers(&merged).len(), 2, "each series has its value");
        let merged = merge(merged, gauge(3, 1, 0.9));
        let values: Vec<_> = numbers(&merged).iter().map(|point| point.value).collect();
        assert_eq!(values, [Some(Number::Double(0.7)), Some(Number::Double(0.9))]);

        let sum = |start, time, value: i64| {
            let points = vec![NumberPoint::new(time, value).since(start)];
            vec![scoped("sum", MetricData::Sum { points, temporality: Temporality::Cumulative, monotonic: true })]
        };
        let merged = merge(sum(1, 2, 10), sum(1, 3, 15));
        assert_eq!(numbers(&merged).iter().map(|point| point.value).collect::<Vec<_>>(), [Some(Number::Int(15))]);
        let merged = merge(merged, sum(4, 5, 2));
        assert_eq!(numbers(&merged).len(), 2, "the counting has restarted, so the earlier count is not in it");
    }

    #[test]
    fn f03_exemplars_do_not_grow_with_each_failed_export() {
        let mut unsent = Vec::new();
        for round in 0..100 {
            let mut fresh = vec![(round, 0), (round, 1), (round, 2)];
            add_exemplars(std::mem::take(&mut unsent), &mut fresh);
            unsent = fresh;
        }
        assert_eq!(unsent.len(), 20);
        assert_eq!((unsent[0], unsent[19]), ((93, 1), (99, 2)), "the newest are kept, in their order");
    }

    #[test]
    fn histograms_with_other_bounds_stay_apart() {
        let histogram = |time, bounds: &[f64], counts: &[u64]| {
            let mut point = HistogramPoint::new(time);
            (point.explicit_bounds, point.bucket_counts) = (bounds.to_vec(), counts.to_vec());
            (point.count, point.sum, point.min) = (counts.iter().sum(), Some(1.5), Some(time as f64));
            let points = vec![point];
            vec![scoped("histogram", MetricData::Histogram { points, temporality: Temporality::Delta })]
        };
        let merged = merge(histogram(1, &[1.0], &[2, 3]), histogram(2, &[1.0], &[5, 7]));
        let Some(MetricData::Histogram { points, .. }) = &merged[0].metric.data else { panic!() };
        assert_eq!((points.len(), &*points[0].bucket_counts, points[0].count), (1, &[7, 10][..], 17));
        assert_eq!((points[0].sum, points[0].min), (Some(3.0), Some(1.0)));
        let merged = merge(merged, histogram(3, &[2.0], &[1, 1]));
        assert_eq!((merged.len(), super::points(&merged)), (1, 2));
    }
}
