use super::{
    Temporality,
    exemplar::{Exemplar, ExemplarMessage, ExemplarWriter},
};
use crate::{
    value::{AnyValue, AttributesWriter, KeyValue},
    wire::{Attributed, Field, Message, fields, setters},
};
use std::borrow::Cow;

/// Takes the points of an exponential histogram and their temporality.
pub trait ExponentialHistogramWriter {
    /// Takes the fields of a point.
    type Point<'a>: ExponentialHistogramPointWriter;

    /// Adds a point.
    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>));
    /// The time over which the values are counted.
    fn aggregation_temporality(&mut self, temporality: Temporality);
}

/// Takes the fields of one point of an exponential histogram.
///
/// Any order is valid. The order of the methods here, with the attributes first, is the canonical one.
pub trait ExponentialHistogramPointWriter: AttributesWriter {
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
    /// The resolution: each bucket is `2^(2^-scale)` times as wide as the one before it.
    fn scale(&mut self, scale: i32);
    /// The number of values within the threshold around zero.
    fn zero_count(&mut self, count: u64);
    /// The number of values in each bucket above zero, from the bucket `offset` on.
    fn positive(&mut self, offset: i32, counts: impl IntoIterator<Item = u64>);
    /// The number of values in each bucket below zero, from the bucket `offset` on.
    fn negative(&mut self, offset: i32, counts: impl IntoIterator<Item = u64>);
    /// 1 if there are no values, to say that the series has ended.
    fn flags(&mut self, flags: u32);
    /// Adds an example of the measured values.
    fn exemplar(&mut self, write: impl FnOnce(&mut Self::Exemplar<'_>));
    /// The smallest value.
    fn min(&mut self, min: f64);
    /// The largest value.
    fn max(&mut self, max: f64);
    /// The distance from zero up to which a value counts as zero.
    fn zero_threshold(&mut self, threshold: f64);
}

/// A point of an exponential histogram, owned.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct ExponentialHistogramPoint {
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
    /// The resolution: each bucket is `2^(2^-scale)` times as wide as the one before it.
    pub scale: i32,
    /// The number of values within the threshold around zero.
    pub zero_count: u64,
    /// The values above zero.
    pub positive: Option<Buckets>,
    /// The values below zero.
    pub negative: Option<Buckets>,
    /// 1 if there are no values, to say that the series has ended.
    pub flags: u32,
    /// Examples of the measured values.
    pub exemplars: Vec<Exemplar>,
    /// The smallest value.
    pub min: Option<f64>,
    /// The largest value.
    pub max: Option<f64>,
    /// The distance from zero up to which a value counts as zero.
    pub zero_threshold: f64,
}

/// The counts of consecutive exponential buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Buckets {
    /// The index of the first one.
    pub offset: i32,
    /// The number of values in each.
    pub counts: Vec<u64>,
}

/// The kind of an `ExponentialHistogram`.
#[derive(Debug)]
pub enum ExponentialHistogramMessage {}

/// The kind of an `ExponentialHistogramDataPoint`.
#[derive(Debug)]
pub enum ExponentialHistogramPointMessage {}

/// The kind of an `ExponentialHistogramDataPoint.Buckets`.
enum BucketsMessage {}

fields! {
    // ExponentialHistogram
    DATA_POINTS = 1, "dataPoints";
    AGGREGATION_TEMPORALITY = 2, "aggregationTemporality";
    // ExponentialHistogramDataPoint
    ATTRIBUTES = 1, "attributes";
    START_TIME_UNIX_NANO = 2, "startTimeUnixNano";
    TIME_UNIX_NANO = 3, "timeUnixNano";
    COUNT = 4, "count";
    SUM = 5, "sum";
    SCALE = 6, "scale";
    ZERO_COUNT = 7, "zeroCount";
    POSITIVE = 8, "positive";
    NEGATIVE = 9, "negative";
    FLAGS = 10, "flags";
    EXEMPLARS = 11, "exemplars";
    MIN = 12, "min";
    MAX = 13, "max";
    ZERO_THRESHOLD = 14, "zeroThreshold";
    // Buckets
    OFFSET = 1, "offset";
    BUCKET_COUNTS = 2, "bucketCounts";
}

// === impl ExponentialHistogramMessage ===

#[doc(hidden)]
impl<M: Message<Kind = ExponentialHistogramMessage>> ExponentialHistogramWriter for M {
    type Point<'a> = M::Child<'a, ExponentialHistogramPointMessage>;

    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>)) {
        self.element(DATA_POINTS.wide(2), write);
    }

    setters! {
        aggregation_temporality(temporality: Temporality) => AGGREGATION_TEMPORALITY: uint32(temporality.number().into());
    }
}

// === impl ExponentialHistogramPointMessage ===

impl Attributed for ExponentialHistogramPointMessage {
    const ATTRIBUTES: Field = ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = ExponentialHistogramPointMessage>> ExponentialHistogramPointWriter for M {
    type Exemplar<'a> = M::Child<'a, ExemplarMessage>;

    setters! {
        start_time_unix_nano(nanos: u64) => START_TIME_UNIX_NANO: fixed64(nanos);
        time_unix_nano(nanos: u64) => TIME_UNIX_NANO: fixed64(nanos);
        count(count: u64) => COUNT: fixed64(count);
        sum(sum: f64) => SUM: some_double(sum);
        scale(scale: i32) => SCALE: sint32(scale);
        zero_count(count: u64) => ZERO_COUNT: fixed64(count);
        flags(flags: u32) => FLAGS: uint32(flags);
        min(min: f64) => MIN: some_double(min);
        max(max: f64) => MAX: some_double(max);
        zero_threshold(threshold: f64) => ZERO_THRESHOLD: double(threshold);
    }

    fn positive(&mut self, offset: i32, counts: impl IntoIterator<Item = u64>) {
        buckets(self, POSITIVE, offset, counts);
    }

    fn negative(&mut self, offset: i32, counts: impl IntoIterator<Item = u64>) {
        buckets(self, NEGATIVE, offset, counts);
    }

    fn exemplar(&mut self, write: impl FnOnce(&mut Self::Exemplar<'_>)) {
        self.element(EXEMPLARS, write);
    }
}

fn buckets<M: Message>(point: &mut M, field: Field, offset: i32, counts: impl IntoIterator<Item = u64>) {
    if point.first(field) {
        point.message::<BucketsMessage>(field, |m| {
            m.sint32(OFFSET, offset);
            m.uint64s(BUCKET_COUNTS, counts);
        });
    }
}

// === impl ExponentialHistogramPoint ===

impl ExponentialHistogramPoint {
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
    pub fn write<W: ExponentialHistogramPointWriter>(&self, w: &mut W) {
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
        w.start_time_unix_nano(self.start_time_unix_nano);
        w.time_unix_nano(self.time_unix_nano);
        w.count(self.count);
        self.sum.into_iter().for_each(|sum| w.sum(sum));
        w.scale(self.scale);
        w.zero_count(self.zero_count);
        self.positive.iter().for_each(|buckets| w.positive(buckets.offset, buckets.counts.iter().copied()));
        self.negative.iter().for_each(|buckets| w.negative(buckets.offset, buckets.counts.iter().copied()));
        w.flags(self.flags);
        self.exemplars.iter().for_each(|exemplar| w.exemplar(|w| exemplar.write(w)));
        self.min.into_iter().for_each(|min| w.min(min));
        self.max.into_iter().for_each(|max| w.max(max));
        w.zero_threshold(self.zero_threshold);
    }
}
