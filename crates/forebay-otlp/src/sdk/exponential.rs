//! Adds two exponential histograms, as the [data model] says: at the finest scale at which the sum is bounded.
//!
//! [data model]: https://opentelemetry.io/docs/specs/otel/metrics/data-model/#exponential-histogram

use crate::{Buckets, ExponentialHistogramPoint};

/// The greatest number of buckets of a sum for each sign: the default maximum of the SDK's aggregation.
const MAX_BUCKETS: usize = 160;

/// The buckets of a sum.
pub(super) struct Sum {
    pub(super) scale: i32,
    pub(super) positive: Option<Buckets>,
    pub(super) negative: Option<Buckets>,
}

/// The buckets of one sign, and their scale.
type Side<'a> = (Option<&'a Buckets>, i32);

/// The buckets of both points together. Each sign has at most 160, or as many as the larger point had: an aggregation with a
/// greater maximum keeps its resolution.
///
/// `None` where no scale can hold both, which happens only with a scale or an offset at the end of its range.
pub(super) fn sum(one: &ExponentialHistogramPoint, two: &ExponentialHistogramPoint) -> Option<Sum> {
    let positive = [(one.positive.as_ref(), one.scale), (two.positive.as_ref(), two.scale)];
    let negative = [(one.negative.as_ref(), one.scale), (two.negative.as_ref(), two.scale)];
    let mut scale = one.scale.min(two.scale);
    // Each step halves the number of buckets: after 32 steps every index is 0 or -1.
    while !fits(positive, scale) || !fits(negative, scale) {
        scale = scale.checked_sub(1)?;
    }
    Some(Sum { scale, positive: add(positive, scale)?, negative: add(negative, scale)? })
}

fn fits(sides: [Side<'_>; 2], scale: i32) -> bool {
    let own = sides.iter().filter_map(|(buckets, _)| Some(buckets.as_ref()?.counts.len())).max().unwrap_or_default();
    match extent(sides, scale) {
        Some((first, last)) => (last - first).unsigned_abs() < MAX_BUCKETS.max(own) as u64,
        None => true,
    }
}

/// The first and the last index at `scale` with a count.
fn extent(sides: [Side<'_>; 2], scale: i32) -> Option<(i64, i64)> {
    let indices = || sides.into_iter().flat_map(move |side| counted(side, scale)).map(|(index, _)| index);
    Some((indices().min()?, indices().max()?))
}

/// The indices at `scale` that have a count, with the count. Several may be equal.
fn counted((buckets, from): Side<'_>, scale: i32) -> impl Iterator<Item = (i64, u64)> + '_ {
    // An index has at most 33 bits with its sign: shifted further it stays 0 or -1.
    let shift = (i64::from(from) - i64::from(scale)).clamp(0, 62);
    let offset = buckets.map_or(0, |buckets| i64::from(buckets.offset));
    let counts = buckets.map_or(&[][..], |buckets| &buckets.counts);
    let counts = (offset..).zip(counts.iter().copied()).filter(|(_, count)| *count > 0);
    counts.map(move |(index, count)| (index >> shift, count))
}

/// `None` where the offset would be out of its range.
#[expect(
    clippy::option_option,
    reason = "the outer option is whether the sum exists, the inner one whether it has buckets"
)]
fn add(sides: [Side<'_>; 2], scale: i32) -> Option<Option<Buckets>> {
    if sides.iter().all(|(buckets, _)| buckets.is_none()) {
        return Some(None);
    }
    let mut sum = Buckets { offset: 0, counts: Vec::new() };
    let Some((first, last)) = extent(sides, scale) else { return Some(Some(sum)) };
    sum.offset = i32::try_from(first).ok()?;
    sum.counts = vec![0; usize::try_from(last - first + 1).ok()?];
    for (index, count) in sides.into_iter().flat_map(|side| counted(side, scale)) {
        let slot = usize::try_from(index - first).ok().and_then(|place| sum.counts.get_mut(place))?;
        *slot = slot.saturating_add(count);
    }
    Some(Some(sum))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{collection::vec, prelude::*};
    use std::collections::BTreeMap;

    /// The index of the bucket at `scale` that holds `value`: base^index < value <= base^(index + 1), base = 2^(2^-scale).
    #[expect(clippy::cast_possible_truncation, reason = "an index of a double fits")]
    fn index(value: f64, scale: i32) -> i32 {
        (value.log2() * f64::from(scale).exp2()).ceil() as i32 - 1
    }

    fn point(
        scale: i32,
        positive: Option<(i32, Vec<u64>)>,
        negative: Option<(i32, Vec<u64>)>,
    ) -> ExponentialHistogramPoint {
        let mut point = ExponentialHistogramPoint::new(1);
        let buckets = |(offset, counts)| Buckets { offset, counts };
        (point.scale, point.positive, point.negative) = (scale, positive.map(buckets), negative.map(buckets));
        point
    }

    fn of(value: f64) -> ExponentialHistogramPoint {
        point(20, Some((index(value, 20), vec![1])), None)
    }

    #[test]
    fn f03_two_values_however_far_apart_take_at_most_the_maximum_of_buckets() {
        for (small, large) in
            [(1.0, 2.0), (1e-9, 1e9), (1e-300, 1e300), (f64::MIN_POSITIVE, f64::MAX), (1.0, 1.000_001)]
        {
            let sum = sum(&of(small), &of(large)).unwrap();
            let buckets = sum.positive.unwrap();
            assert!(buckets.counts.len() <= MAX_BUCKETS, "{small} {large}: {}", buckets.counts.len());
            for value in [small, large] {
                let place = usize::try_from(index(value, sum.scale) - buckets.offset).unwrap();
                assert_eq!(buckets.counts[place], 1, "{value} at {}", sum.scale);
            }
            // One step finer would be too many.
            let (first, last) = (index(small, sum.scale + 1), index(large, sum.scale + 1));
            assert!(sum.scale == 20 || last - first >= 160, "{small} {large} at {}", sum.scale);
        }
    }

    #[test]
    fn f03_ends_of_the_ranges_are_no_overflow() {
        let ends = [i32::MIN, i32::MIN + 1, -1, 0, 1, i32::MAX - 1, i32::MAX];
        for scales in ends.iter().flat_map(|one| ends.map(|two| (*one, two))) {
            for offsets in ends.iter().flat_map(|one| ends.map(|two| (*one, two))) {
                let counts = || vec![u64::MAX, 0, u64::MAX];
                let one = point(scales.0, Some((offsets.0, counts())), None);
                let two = point(scales.1, None, Some((offsets.1, counts())));
                for (one, two) in [(&one, &one), (&one, &two), (&two, &one)] {
                    let sides = sum(one, two).map(|sum| [sum.positive, sum.negative]);
                    assert!(sides.into_iter().flatten().flatten().all(|buckets| buckets.counts.len() <= MAX_BUCKETS));
                }
            }
        }
        // Where no coarser scale is left, the points stay apart.
        let at_the_end = |offset| point(i32::MIN, Some((offset, vec![1])), None);
        assert!(sum(&at_the_end(-1000), &at_the_end(1000)).is_none());
    }

    #[test]
    fn f03_an_aggregation_with_a_greater_maximum_keeps_its_resolution() {
        let wide = || point(3, Some((0, vec![1; 320])), None);
        let sum = sum(&wide(), &wide()).unwrap();
        assert_eq!((sum.scale, sum.positive.unwrap().counts), (3, vec![2; 320]));
    }

    /// Offset and counts at a scale, within what a double reaches.
    fn side(scale: i32) -> impl Strategy<Value = Option<(i32, Vec<u64>)>> {
        let reach = if scale >= 0 { 1070_i32.saturating_mul(1 << scale) } else { (1070 >> -scale).max(1) };
        proptest::option::of((-reach..reach, vec(0_u64..9, 0..160)))
    }

    proptest! {
        /// Any sequence of merges has each value in the bucket whose bounds hold its own, and never too many buckets.
        #[test]
        fn f03_any_sequence_of_merges_does_what_a_plain_model_does(
            rounds in vec((-10_i32..=20).prop_flat_map(|scale| (Just(scale), side(scale), side(scale))), 1..10),
        ) {
            let points: Vec<_> = rounds.into_iter().map(|(scale, up, down)| point(scale, up, down)).collect();
            let mut all = points[0].clone();
            for next in &points[1..] {
                let sum = sum(&all, next).unwrap();
                (all.scale, all.positive, all.negative) = (sum.scale, sum.positive, sum.negative);
            }
            for (of, found) in [
                ((|point| point.positive.as_ref()) as fn(&ExponentialHistogramPoint) -> Option<&Buckets>, &all.positive),
                (|point| point.negative.as_ref(), &all.negative),
            ] {
                let mut expected = BTreeMap::new();
                for point in &points {
                    let Some(buckets) = of(point) else { continue };
                    for (index, count) in (buckets.offset..).zip(&buckets.counts).filter(|(_, count)| **count > 0) {
                        let index = index.div_euclid(1_i32.checked_shl((point.scale - all.scale).cast_unsigned()).unwrap_or(i32::MAX));
                        *expected.entry(index).or_insert(0) += count;
                    }
                }
                prop_assert_eq!(found.is_some(), points.iter().any(|point| of(point).is_some()));
                let Some(found) = found else { continue };
                prop_assert!(found.counts.len() <= MAX_BUCKETS);
                let found: BTreeMap<_, _> =
                    (found.offset..).zip(found.counts.iter().copied()).filter(|(_, count)| *count > 0).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
