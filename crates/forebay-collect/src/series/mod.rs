//! Series: one number or one histogram each, with a name and a set of labels.

mod deltas;
mod footprint;
mod histogram;
mod labels;
mod merge;
#[cfg(test)]
mod tests;

pub use self::{
    deltas::{Deltas, Pending, Reported},
    histogram::Histogram,
    labels::{LabelValue, Labels, Precedence},
    merge::NotMerged,
};

use std::borrow::Cow;

/// One metric with one set of labels, and its value at one instant.
///
/// `forebay-otlp` encodes it (its feature `collect`), alone or with the other series of the same name.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Series {
    /// The name of the metric.
    pub name: Cow<'static, str>,
    /// Its meaning, for human readers; may be empty.
    pub description: Cow<'static, str>,
    /// The unit of its values, in the notation of UCUM; may be empty.
    pub unit: Cow<'static, str>,
    /// The labels that distinguish it from others of its name.
    pub labels: Labels,
    /// The start of its counting, in nanoseconds since 1970; 0 if unknown, and for gauges.
    pub start_unix_nanos: u64,
    /// When the value was taken, in nanoseconds since 1970.
    pub time_unix_nanos: u64,
    /// The value.
    pub value: Value,
}

/// The value of a [`Series`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A current value.
    Gauge(Number),
    /// A value that is summed over time.
    Sum {
        /// The sum.
        value: Number,
        /// Whether the sum never falls, unless it restarts.
        monotonic: bool,
        /// The start of the sum.
        temporality: Temporality,
    },
    /// The distribution of values over given buckets.
    Histogram {
        /// The buckets.
        histogram: Histogram,
        /// The start of the sum.
        temporality: Temporality,
    },
}

/// An integer or a float.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// A signed integer.
    Int(i64),
    /// A floating point number.
    Double(f64),
}

/// The start of a sum or a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Temporality {
    /// Since the previous report.
    Delta,
    /// Since a fixed start: a lost report loses nothing, because the next one includes it.
    Cumulative,
}

// === impl Series ===

impl Series {
    /// A value that was taken at this time, without labels.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, time_unix_nanos: u64, value: Value) -> Self {
        Self {
            name: name.into(),
            description: Cow::Borrowed(""),
            unit: Cow::Borrowed(""),
            labels: Labels::default(),
            start_unix_nanos: 0,
            time_unix_nanos,
            value,
        }
    }

    /// Sets the labels that distinguish it from others of its name.
    #[must_use]
    pub fn labels(mut self, labels: impl Into<Labels>) -> Self {
        self.labels = labels.into();
        self
    }

    /// Sets the start of its counting, in nanoseconds since 1970.
    #[must_use]
    pub fn since(mut self, start_unix_nanos: u64) -> Self {
        self.start_unix_nanos = start_unix_nanos;
        self
    }

    /// Sets its meaning, for human readers.
    #[must_use]
    pub fn description(mut self, description: impl Into<Cow<'static, str>>) -> Self {
        self.description = description.into();
        self
    }

    /// Sets the unit of its values, in the notation of UCUM.
    #[must_use]
    pub fn unit(mut self, unit: impl Into<Cow<'static, str>>) -> Self {
        self.unit = unit.into();
        self
    }
}

// === impl Value ===

impl Value {
    /// A current value.
    pub fn gauge(value: impl Into<Number>) -> Self {
        Self::Gauge(value.into())
    }

    /// A cumulative sum that never falls.
    pub fn counter(value: impl Into<Number>) -> Self {
        Self::Sum { value: value.into(), monotonic: true, temporality: Temporality::Cumulative }
    }

    /// A cumulative sum that may fall.
    pub fn up_down(value: impl Into<Number>) -> Self {
        Self::Sum { value: value.into(), monotonic: false, temporality: Temporality::Cumulative }
    }

    /// A cumulative histogram.
    #[must_use]
    pub const fn histogram(histogram: Histogram) -> Self {
        Self::Histogram { histogram, temporality: Temporality::Cumulative }
    }

    /// The temporality; `None` for a gauge.
    #[must_use]
    pub const fn temporality(&self) -> Option<Temporality> {
        match self {
            Self::Gauge(_) => None,
            Self::Sum { temporality, .. } | Self::Histogram { temporality, .. } => Some(*temporality),
        }
    }
}

// === impl Number ===

impl Number {
    /// As a float; integers beyond 2^53 are rounded.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "stated")]
    pub const fn as_f64(self) -> f64 {
        match self {
            Self::Int(value) => value as f64,
            Self::Double(value) => value,
        }
    }

    /// The sum. Integers stay integers, and saturate.
    #[must_use]
    pub(crate) fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.saturating_add(b)),
            (a, b) => Self::Double(a.as_f64() + b.as_f64()),
        }
    }

    /// The difference. Integers stay integers, and saturate.
    pub(crate) fn minus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => Self::Int(a.saturating_sub(b)),
            (a, b) => Self::Double(a.as_f64() - b.as_f64()),
        }
    }

    pub(crate) fn is_below(self, other: Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a < b,
            (a, b) => a.as_f64() < b.as_f64(),
        }
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Number {
    /// A value beyond the protocol's `int64` saturates.
    fn from(value: u64) -> Self {
        Self::Int(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Double(value)
    }
}
