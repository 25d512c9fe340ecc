//! The series of `forebay-collect` as metrics.

use crate::{
    metrics::{
        AsMetric, GaugeWriter, HistogramPoint, HistogramPointWriter, HistogramWriter, Metric, MetricData, MetricWriter,
        NumberPoint, NumberPointWriter, SumWriter, Temporality,
    },
    value::{AnyValue, AsValue, AttributesWriter, KeyValue, ValueWriter},
};
use forebay_collect::{Histogram, LabelValue, Number, Series, Value};
use std::{borrow::Cow, collections::HashMap};

impl AsMetric for Series {
    fn metric<W: MetricWriter>(&self, w: &mut W) {
        w.name(&self.name);
        w.description(&self.description);
        w.unit(&self.unit);
        match &self.value {
            Value::Gauge(number) => w.gauge(|w| w.point(|w| write_number(self, *number, w))),
            Value::Sum { value, monotonic, temporality } => w.sum(|w| {
                w.point(|w| write_number(self, *value, w));
                w.aggregation_temporality((*temporality).into());
                w.is_monotonic(*monotonic);
            }),
            Value::Histogram { histogram, temporality } => w.histogram(|w| {
                w.point(|w| write_histogram(self, histogram, w));
                w.aggregation_temporality((*temporality).into());
            }),
            // A kind of value that is newer than this encoder makes a metric without points.
            _ => {}
        }
    }
}

impl Metric {
    /// Puts series of the same name, unit and kind into one metric each, in the order of their first series.
    ///
    /// A request with many series of few names is smaller by the name, the unit and the description of each; some servers
    /// refuse a request that has a name twice.
    #[must_use]
    pub fn from_series(series: impl IntoIterator<Item = Series>) -> Vec<Self> {
        let mut metrics: Vec<Self> = Vec::new();
        let mut places = HashMap::new();
        for one in series {
            let Some((kind, data)) = data_of(&one) else { continue };
            let Series { name, description, unit, .. } = one;
            let place = *places.entry((name.clone(), unit.clone(), kind)).or_insert_with(|| {
                metrics.push(Self::new(name, data.emptied()).description(description).unit(unit));
                metrics.len() - 1
            });
            if let Some(all) = metrics.get_mut(place).and_then(|metric| metric.data.as_mut()) {
                all.append(data);
            }
        }
        metrics
    }
}

fn write_number<W: NumberPointWriter>(series: &Series, number: Number, w: &mut W) {
    w.start_time_unix_nano(series.start_unix_nanos);
    w.time_unix_nano(series.time_unix_nanos);
    match number {
        Number::Int(value) => w.int(value),
        Number::Double(value) => w.double(value),
    }
    write_labels(series, w);
}

fn write_histogram<W: HistogramPointWriter>(series: &Series, histogram: &Histogram, w: &mut W) {
    w.start_time_unix_nano(series.start_unix_nanos);
    w.time_unix_nano(series.time_unix_nanos);
    w.count(histogram.count);
    histogram.sum.into_iter().for_each(|sum| w.sum(sum));
    w.bucket_counts(histogram.counts.iter().copied());
    w.explicit_bounds(histogram.bounds.iter().copied());
    write_labels(series, w);
    histogram.min.into_iter().for_each(|min| w.min(min));
    histogram.max.into_iter().for_each(|max| w.max(max));
}

fn write_labels<W: AttributesWriter>(series: &Series, w: &mut W) {
    series.labels.iter().for_each(|(name, value)| w.attribute(name, OfLabel(value)));
}

/// The properties that all points of one metric share.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum PointKind {
    Gauge,
    Sum { monotonic: bool, temporality: Temporality },
    Histogram { temporality: Temporality },
}

fn data_of(series: &Series) -> Option<(PointKind, MetricData)> {
    let attributes = || -> Vec<KeyValue> {
        series.labels.iter().map(|(name, value)| KeyValue::new(name.to_owned(), OfLabel(value).any())).collect()
    };
    let number = |number: Number| {
        let mut point = match number {
            Number::Int(value) => NumberPoint::new(series.time_unix_nanos, value),
            Number::Double(value) => NumberPoint::new(series.time_unix_nanos, value),
        };
        point.start_time_unix_nano = series.start_unix_nanos;
        point.attributes = attributes();
        vec![point]
    };
    Some(match &series.value {
        Value::Gauge(value) => (PointKind::Gauge, MetricData::Gauge(number(*value))),
        Value::Sum { value, monotonic, temporality } => {
            let (monotonic, temporality) = (*monotonic, Temporality::from(*temporality));
            let data = MetricData::Sum { points: number(*value), temporality, monotonic };
            (PointKind::Sum { monotonic, temporality }, data)
        }
        Value::Histogram { histogram, temporality } => {
            let temporality = Temporality::from(*temporality);
            let mut point = HistogramPoint::new(series.time_unix_nanos);
            point.attributes = attributes();
            point.start_time_unix_nano = series.start_unix_nanos;
            point.count = histogram.count;
            point.sum = histogram.sum;
            point.bucket_counts.clone_from(&histogram.counts);
            point.explicit_bounds = histogram.bounds.to_vec();
            point.min = histogram.min;
            point.max = histogram.max;
            (PointKind::Histogram { temporality }, MetricData::Histogram { points: vec![point], temporality })
        }
        _ => return None,
    })
}

// === impl MetricData ===

impl MetricData {
    /// Data of the same kind, without points.
    fn emptied(&self) -> Self {
        match self {
            Self::Gauge(_) => Self::Gauge(Vec::new()),
            Self::Sum { temporality, monotonic, .. } => {
                Self::Sum { points: Vec::new(), temporality: *temporality, monotonic: *monotonic }
            }
            Self::Histogram { temporality, .. } => Self::Histogram { points: Vec::new(), temporality: *temporality },
            other => other.clone(),
        }
    }

    /// Appends the points of `other`, which is of the same kind.
    fn append(&mut self, other: Self) {
        match (self, other) {
            (Self::Gauge(points), Self::Gauge(more)) => points.extend(more),
            (Self::Sum { points, .. }, Self::Sum { points: more, .. }) => points.extend(more),
            (Self::Histogram { points, .. }, Self::Histogram { points: more, .. }) => points.extend(more),
            // The kind is part of the key under which the two were found.
            _ => {}
        }
    }
}

/// A label's value, which implements this crate's trait for the type of that crate.
struct OfLabel<'a>(&'a LabelValue);

// === impl OfLabel ===

impl OfLabel<'_> {
    fn any(&self) -> AnyValue {
        match self.0 {
            LabelValue::String(text) => AnyValue::String(Cow::clone(text)),
            LabelValue::Bool(value) => AnyValue::Bool(*value),
            LabelValue::Int(value) => AnyValue::Int(*value),
            LabelValue::Double(value) => AnyValue::Double(*value),
        }
    }
}

impl AsValue for OfLabel<'_> {
    fn value<W: ValueWriter>(&self, w: W) -> W::Done {
        match self.0 {
            LabelValue::String(text) => w.string(text),
            LabelValue::Bool(value) => w.bool(*value),
            LabelValue::Int(value) => w.int(*value),
            LabelValue::Double(value) => w.double(*value),
        }
    }
}

// === impl Temporality ===

impl From<forebay_collect::Temporality> for Temporality {
    fn from(temporality: forebay_collect::Temporality) -> Self {
        match temporality {
            forebay_collect::Temporality::Delta => Self::Delta,
            forebay_collect::Temporality::Cumulative => Self::Cumulative,
        }
    }
}
