use super::{
    Temporality,
    exemplar::{Exemplar, ExemplarMessage, ExemplarWriter},
};
use crate::{
    value::{AnyValue, AttributesWriter, KeyValue},
    wire::{Attributed, Field, Message, fields, setters},
};
use std::borrow::Cow;

/// Takes the points of a histogram and their temporality.
pub trait HistogramWriter {
    /// Takes the fields of a point.
    type Point<'a>: HistogramPointWriter;

    /// Adds a point.
    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>));
    /// The time over which the values are counted.
    fn aggregation_temporality(&mut self, temporality: Temporality);
}

/// Takes the fields of one point of a histogram.
///
/// Any order is valid. The order of the methods here, with the attributes before the flags, is the canonical one.
pub trait HistogramPointWriter: AttributesWriter {
    /// Takes the fields of an exemplar.
    type Exemplar<'a>: ExemplarWriter;

    /// The start of the counting, in nanoseconds since 1970.
    fn start_time_unix_nano(&mut self, nanos: u64);
    /// The end of the counting, in nanoseconds since 1970.
    fn time_unix_nano(&mut self, nanos: u64);
    /// The number of values.
    fn count(&mut self, count: u64);
    /// Their sum; left out if values may be negative.
    fn sum(&mut self, sum: f64);
    /// The number of values in each bucket; there is one bucket more than bounds.
    fn bucket_counts(&mut self, counts: impl IntoIterator<Item = u64>);
    /// The upper bounds of the buckets, inclusive and ascending; the last bucket has none.
    fn explicit_bounds(&mut self, bounds: impl IntoIterator<Item = f64>);
    /// Adds an example of the measured values.
    fn exemplar(&mut self, write: impl FnOnce(&mut Self::Exemplar<'_>));
    /// 1 if there are no values, to say that the series has ended.
    fn flags(&mut self, flags: u32);
    /// The smallest value.
    fn min(&mut self, min: f64);
    /// The largest value.
    fn max(&mut self, max: f64);
}

/// A point of a histogram, owned.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct HistogramPoint {
    /// The attributes that distinguish its series from the others of the metric.
    pub attributes: Vec<KeyValue>,
    /// The start of the counting, in nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// The end of the counting, in nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// The number of values.
    pub count: u64,
    /// Their sum; left out if values may be negative.
    pub sum: Option<f64>,
    /// The number of values in each bucket; there is one bucket more than bounds.
    pub bucket_counts: Vec<u64>,
    /// The upper bounds of the buckets, inclusive and ascending; the last bucket has none.
    pub explicit_bounds: Vec<f64>,
    /// Examples of the measured values.
    pub exemplars: Vec<Exemplar>,
    /// 1 if there are no values, to say that the series has ended.
    pub flags: u32,
    /// The smallest value.
    pub min: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
}

/// The kind of a `Histogram`.
#[derive(Debug)]
pub enum HistogramMessage {}

/// The kind of a `HistogramDataPoint`.
#[derive(Debug)]
pub enum HistogramPointMessage {}

fields! {
    // Histogram
    DATA_POINTS = 1, "dataPoints";
    AGGREGATION_TEMPORALITY = 2, "aggregationTemporality";
    // HistogramDataPoint
    START_TIME_UNIX_NANO = 2, "startTimeUnixNano";
    TIME_UNIX_NANO = 3, "timeUnixNano";
    COUNT = 4, "count";
    SUM = 5, "sum";
    BUCKET_COUNTS = 6, "bucketCounts";
    EXPLICIT_BOUNDS = 7, "explicitBounds";
    EXEMPLARS = 8, "exemplars";
    ATTRIBUTES = 9, "attributes";
    FLAGS = 10, "flags";
    MIN = 11, "min";
    MAX = 12, "max";
}

// === impl HistogramMessage ===

#[doc(hidden)]
impl<M: Message<Kind = HistogramMessage>> HistogramWriter for M {
    type Point<'a> = M::Child<'a, HistogramPointMessage>;

    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>)) {
        self.element(DATA_POINTS.wide(2), write);
    }

    setters! {
        aggregation_temporality(temporality: Temporality) => AGGREGATION_TEMPORALITY: uint32(temporality.number().into());
    }
}

// === impl HistogramPointMessage ===

impl Attributed for HistogramPointMessage {
    const ATTRIBUTES: Field = ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = HistogramPointMessage>> HistogramPointWriter for M {
    type Exemplar<'a> = M::Child<'a, ExemplarMessage>;

    setters! {
        start_time_unix_nano(nanos: u64) => START_TIME_UNIX_NANO: fixed64(nanos);
        time_unix_nano(nanos: u64) => TIME_UNIX_NANO: fixed64(nanos);
        count(count: u64) => COUNT: fixed64(count);
        sum(sum: f64) => SUM: some_double(sum);
        bucket_counts(counts: impl IntoIterator<Item = u64>) => BUCKET_COUNTS: fixed64s(counts);
        explicit_bounds(bounds: impl IntoIterator<Item = f64>) => EXPLICIT_BOUNDS: doubles(bounds);
        flags(flags: u32) => FLAGS: uint32(flags);
        min(min: f64) => MIN: some_double(min);
        max(max: f64) => MAX: some_double(max);
    }

    fn exemplar(&mut self, write: impl FnOnce(&mut Self::Exemplar<'_>)) {
        self.element(EXEMPLARS, write);
    }
}

// === impl HistogramPoint ===

impl HistogramPoint {
    /// An empty point that ends at this time, in nanoseconds since 1970.
    #[must_use]
    pub fn new(time_unix_nano: u64) -> Self {
        Self { time_unix_nano, ..Self::default() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Writes its fields.
    pub fn write<W: HistogramPointWriter>(&self, w: &mut W) {
        w.start_time_unix_nano(self.start_time_unix_nano);
        w.time_unix_nano(self.time_unix_nano);
        w.count(self.count);
        self.sum.into_iter().for_each(|sum| w.sum(sum));
        w.bucket_counts(self.bucket_counts.iter().copied());
        w.explicit_bounds(self.explicit_bounds.iter().copied());
        self.exemplars.iter().for_each(|exemplar| w.exemplar(|w| exemplar.write(w)));
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
        w.flags(self.flags);
        self.min.into_iter().for_each(|min| w.min(min));
        self.max.into_iter().for_each(|max| w.max(max));
    }
}
