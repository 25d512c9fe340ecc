use super::{
    Temporality,
    exemplar::{Exemplar, ExemplarMessage, ExemplarWriter},
};
use crate::{
    value::{AnyValue, AttributesWriter, KeyValue},
    wire::{Attributed, Field, Message, fields, setters},
};
use std::borrow::Cow;

/// Takes the points of a gauge.
pub trait GaugeWriter {
    /// Takes the fields of a point.
    type Point<'a>: NumberPointWriter;

    /// Adds a point.
    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>));
}

/// Takes the points of a sum and their temporality.
pub trait SumWriter {
    /// Takes the fields of a point.
    type Point<'a>: NumberPointWriter;

    /// Adds a point.
    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>));
    /// The time over which the values are summed.
    fn aggregation_temporality(&mut self, temporality: Temporality);
    /// Whether the sum never falls; `false` by default.
    fn is_monotonic(&mut self, monotonic: bool);
}

/// Takes the fields of one point of a gauge or a sum.
///
/// Any order is valid. The order of the methods here, with the attributes before the flags, is the canonical one.
pub trait NumberPointWriter: AttributesWriter {
    /// Takes the fields of an exemplar.
    type Exemplar<'a>: ExemplarWriter;

    /// The start of the sum, in nanoseconds since 1970; ignored for a gauge.
    fn start_time_unix_nano(&mut self, nanos: u64);
    /// When the value was taken, in nanoseconds since 1970.
    fn time_unix_nano(&mut self, nanos: u64);
    /// The value, if it is not an integer.
    fn double(&mut self, value: f64);
    /// The value, if it is an integer.
    fn int(&mut self, value: i64);
    /// Adds an example of the measured values.
    fn exemplar(&mut self, write: impl FnOnce(&mut Self::Exemplar<'_>));
    /// 1 if there is no value, to say that the series has ended.
    fn flags(&mut self, flags: u32);
}

/// The value of a point or an exemplar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A signed integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
}

/// A point of a gauge or a sum, owned.
///
/// ```
/// let point = forebay_otlp::NumberPoint::new(2_000, 7_i64).since(1_000).attribute("cpu", 3);
/// assert_eq!(point.start_time_unix_nano, 1_000);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct NumberPoint {
    /// The attributes that distinguish its series from the others of the metric.
    pub attributes: Vec<KeyValue>,
    /// The start of the sum, in nanoseconds since 1970; ignored for a gauge.
    pub start_time_unix_nano: u64,
    /// When the value was taken, in nanoseconds since 1970.
    pub time_unix_nano: u64,
    /// The value.
    pub value: Option<Number>,
    /// Examples of the measured values.
    pub exemplars: Vec<Exemplar>,
    /// 1 if there is no value, to say that the series has ended.
    pub flags: u32,
}

/// The kind of a `Gauge`.
#[derive(Debug)]
pub enum GaugeMessage {}

/// The kind of a `Sum`.
#[derive(Debug)]
pub enum SumMessage {}

/// The kind of a `NumberDataPoint`.
#[derive(Debug)]
pub enum NumberPointMessage {}

fields! {
    // Gauge and Sum
    DATA_POINTS = 1, "dataPoints";
    AGGREGATION_TEMPORALITY = 2, "aggregationTemporality";
    IS_MONOTONIC = 3, "isMonotonic";
    // NumberDataPoint
    START_TIME_UNIX_NANO = 2, "startTimeUnixNano";
    TIME_UNIX_NANO = 3, "timeUnixNano";
    AS_DOUBLE = 4, "asDouble";
    EXEMPLARS = 5, "exemplars";
    AS_INT = 6, "asInt";
    ATTRIBUTES = 7, "attributes";
    FLAGS = 8, "flags";
}

// === impl GaugeMessage ===

#[doc(hidden)]
impl<M: Message<Kind = GaugeMessage>> GaugeWriter for M {
    type Point<'a> = M::Child<'a, NumberPointMessage>;

    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>)) {
        self.element(DATA_POINTS, write);
    }
}

// === impl SumMessage ===

#[doc(hidden)]
impl<M: Message<Kind = SumMessage>> SumWriter for M {
    type Point<'a> = M::Child<'a, NumberPointMessage>;

    fn point(&mut self, write: impl FnOnce(&mut Self::Point<'_>)) {
        self.element(DATA_POINTS, write);
    }

    setters! {
        aggregation_temporality(temporality: Temporality) => AGGREGATION_TEMPORALITY: uint32(temporality.number().into());
        is_monotonic(monotonic: bool) => IS_MONOTONIC: bool(monotonic);
    }
}

// === impl NumberPointMessage ===

impl Attributed for NumberPointMessage {
    const ATTRIBUTES: Field = ATTRIBUTES;
}

#[doc(hidden)]
impl<M: Message<Kind = NumberPointMessage>> NumberPointWriter for M {
    type Exemplar<'a> = M::Child<'a, ExemplarMessage>;

    setters! {
        start_time_unix_nano(nanos: u64) => START_TIME_UNIX_NANO: fixed64(nanos);
        time_unix_nano(nanos: u64) => TIME_UNIX_NANO: fixed64(nanos);
        flags(flags: u32) => FLAGS: uint32(flags);
    }

    fn double(&mut self, value: f64) {
        // Only one of the two is written, so both use one bit.
        if self.first(AS_DOUBLE) {
            self.some_double(AS_DOUBLE, value);
        }
    }

    fn int(&mut self, value: i64) {
        if self.first(AS_DOUBLE) {
            self.some_sfixed64(AS_INT, value);
        }
    }

    fn exemplar(&mut self, write: impl FnOnce(&mut Self::Exemplar<'_>)) {
        self.element(EXEMPLARS, write);
    }
}

// === impl Number ===

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}

// === impl NumberPoint ===

impl NumberPoint {
    /// The value `value`, taken at this time, in nanoseconds since 1970.
    #[must_use]
    pub fn new(time_unix_nano: u64, value: impl Into<Number>) -> Self {
        Self { time_unix_nano, value: Some(value.into()), ..Self::default() }
    }

    /// Sets the start of the sum, in nanoseconds since 1970.
    #[must_use]
    pub fn since(mut self, start_time_unix_nano: u64) -> Self {
        self.start_time_unix_nano = start_time_unix_nano;
        self
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attribute(mut self, key: impl Into<Cow<'static, str>>, value: impl Into<AnyValue>) -> Self {
        self.attributes.push(KeyValue::new(key, value));
        self
    }

    /// Writes its fields.
    pub fn write<W: NumberPointWriter>(&self, w: &mut W) {
        w.start_time_unix_nano(self.start_time_unix_nano);
        w.time_unix_nano(self.time_unix_nano);
        match self.value {
            Some(Number::Double(value)) => w.double(value),
            Some(Number::Int(value)) => w.int(value),
            None => {}
        }
        self.exemplars.iter().for_each(|exemplar| w.exemplar(|w| exemplar.write(w)));
        self.attributes.iter().for_each(|kv| w.attribute(&kv.key, &kv.value));
        w.flags(self.flags);
    }
}
