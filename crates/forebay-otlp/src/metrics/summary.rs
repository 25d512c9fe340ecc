use crate::{
    value::{AnyValue, AttributesWriter, KeyValue},
    wire::{Attributed, Field, Message, fields, setters},
};
use std::borrow::Cow;

/// Takes the points of a summary.
pub trait SummaryWriter {
    /// Takes the fields of a point.
    type Point<'a>: SummaryPointWriter;

    /// Adds a point.
    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>));
}

/// Takes the fields of one point of a summary.
///
/// Any order is valid. The order of the methods here, with the attributes before the flags, is the canonical one.
pub trait SummaryPointWriter: AttributesWriter {
    /// The start of the counting, in nanoseconds since 1970.
    fn start_time_unix_nano(&mut self, nanos: u64);
    /// The end of the counting, in nanoseconds since 1970.
    fn time_unix_nano(&mut self, nanos: u64);
    /// The number of values.
    fn count(&mut self, count: u64);
    /// Their sum.
    fn sum(&mut self, sum: f64);
    /// Adds a quantile, from 0.0 (the smallest value) to 1.0 (the largest); ascending.
    fn quantile(&mut self, quantile: Quantile);
    /// 1 if there are no values, to say that the series has ended.
    fn flags(&mut self, flags: u32);
}

/// A point of a summary, owned.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SummaryPoint {
    /// The attributes that distinguish its series from the others of the metric.
    pub attributes: Vec<KeyValue>,
    /// The start of the counting, in nanoseconds since 1970.
    pub start_time_unix_nano: u64,
    /// The end of the counting, in nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// The number of values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Quantiles, ascending.
    pub quantiles: Vec<Quantile>,
    /// 1 if there are no values, to say that the series has ended.
    pub flags: u32,
}

/// A value, and the share of the values that is not above it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quantile {
    /// The share, from 0.0 to 1.0.
    pub quantile: f64,
    /// The value.
    pub value: f64,
}

/// The kind of a `Summary`.
#[derive(Debug)]
pub enum SummaryMessage {}

/// The kind of a `SummaryDataPoint`.
#[derive(Debug)]
pub enum SummaryPointMessage {}

/// The kind of a `SummaryDataPoint.ValueAtQuantile`.
enum QuantileMessage {}

fields! {
    // Summary
    DATA_POINTS = 1, "dataPoints";
    // SummaryDataPoint
    START_TIME_UNIX_NANO = 2, "startTimeUnixNano";
    TIME_UNIX_NANO = 3, "timeUnixNano";
    COUNT = 4, "count";
    SUM = 5, "sum";
    QUANTILE_VALUES = 6, "quantileValues";
    ATTRIBUTES = 7, "attributes";
    FLAGS = 8, "flags";
    // ValueAtQuantile
    QUANTILE = 1, "quantile";
    VALUE = 2, "value";
}

// === impl SummaryMessage ===

#[doc(hidden)]
impl<M: Message<Kind = SummaryMessage>> SummaryWriter for M {
    type Point<'a> = M::Child<'a, SummaryPointMessage>;

    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>)) {
        self.element(DATA_POINTS.wide(2), write);
    }
}

// === impl SummaryPointMessage ===

impl Attributed for SummaryPointMessage {
    const ATTRIBUTES: Field = ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = SummaryPointMessage>> SummaryPointWriter for M {
    setters! {
        start_time_unix_nano(nanos: u64) => START_TIME_UNIX_NANO: fixed64(nanos);
        time_unix_nano(nanos: u64) => TIME_UNIX_NANO: fixed64(nanos);
        count(count: u64) => COUNT: fixed64(count);
        sum(sum: f64) => SUM: double(sum);
        flags(flags: u32) => FLAGS: uint32(flags);
    }

    fn quantile(&mut self, Quantile { quantile, value }: Quantile) {
        self.element::<QuantileMessage>(QUANTILE_VALUES, |m| {
            m.double(QUANTILE, quantile);
            m.double(VALUE, value);
        });
    }
}

// === impl SummaryPoint ===

impl SummaryPoint {
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
    pub fn write<W: SummaryPointWriter>(&self, w: &mut W) {
        w.start_time_unix_nano(self.start_time_unix_nano);
        w.time_unix_nano(self.time_unix_nano);
        w.count(self.count);
        w.sum(self.sum);
        self.quantiles.iter().for_each(|quantile| w.quantile(*quantile));
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
        w.flags(self.flags);
    }
}
