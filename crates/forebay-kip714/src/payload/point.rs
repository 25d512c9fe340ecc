use forebay_otlp::{
    ExponentialHistogramPoint, HistogramPoint, KeyValue, Metric, MetricData, NumberPoint, SummaryPoint, Temporality,
};
use std::borrow::Cow;

/// One series of a metric, with its value as the source gave it or as it is to be sent.
#[derive(Clone, Debug)]
pub(super) struct Point {
    pub(super) name: Cow<'static, str>,
    pub(super) description: Cow<'static, str>,
    pub(super) unit: Cow<'static, str>,
    pub(super) value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Gauge(NumberPoint),
    Sum { point: NumberPoint, temporality: Temporality, monotonic: bool },
    Histogram { point: HistogramPoint, temporality: Temporality },
    Exponential { point: ExponentialHistogramPoint, temporality: Temporality },
    Summary(SummaryPoint),
}

// === impl Point ===

impl Point {
    /// The series of a metric, one by one.
    pub(super) fn each(metric: Metric, mut take: impl FnMut(Self)) {
        let Metric { name, description, unit, data, .. } = metric;
        let mut give = |value| {
            take(Self { name: name.clone(), description: description.clone(), unit: unit.clone(), value });
        };
        match data {
            Some(MetricData::Gauge(points)) => points.into_iter().map(Value::Gauge).for_each(give),
            Some(MetricData::Sum { points, temporality, monotonic }) => {
                points.into_iter().for_each(|point| give(Value::Sum { point, temporality, monotonic }));
            }
            Some(MetricData::Histogram { points, temporality }) => {
                points.into_iter().for_each(|point| give(Value::Histogram { point, temporality }));
            }
            Some(MetricData::ExponentialHistogram { points, temporality }) => {
                points.into_iter().for_each(|point| give(Value::Exponential { point, temporality }));
            }
            Some(MetricData::Summary(points)) => points.into_iter().map(Value::Summary).for_each(give),
            // A kind that did not exist when this was written has no rule here yet.
            Some(_) | None => {}
        }
    }
}

// === impl Value ===

impl Value {
    /// Whether two series can stand under one name in one metric.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Gauge(_), Self::Gauge(_)) | (Self::Summary(_), Self::Summary(_)) => true,
            (Self::Sum { temporality: a, monotonic: m, .. }, Self::Sum { temporality: b, monotonic: n, .. }) => {
                a == b && m == n
            }
            (Self::Histogram { temporality: a, .. }, Self::Histogram { temporality: b, .. })
            | (Self::Exponential { temporality: a, .. }, Self::Exponential { temporality: b, .. }) => a == b,
            _ => false,
        }
    }

    pub(super) fn attributes(&self) -> &[KeyValue] {
        match self {
            Self::Gauge(point) | Self::Sum { point, .. } => &point.attributes,
            Self::Histogram { point, .. } => &point.attributes,
            Self::Exponential { point, .. } => &point.attributes,
            Self::Summary(point) => &point.attributes,
        }
    }

    /// Since when and when it was taken, in nanoseconds since 1970.
    pub(super) fn times(&mut self) -> (&mut u64, &mut u64) {
        match self {
            Self::Gauge(point) | Self::Sum { point, .. } => {
                (&mut point.start_time_unix_nano, &mut point.time_unix_nano)
            }
            Self::Histogram { point, .. } => (&mut point.start_time_unix_nano, &mut point.time_unix_nano),
            Self::Exponential { point, .. } => (&mut point.start_time_unix_nano, &mut point.time_unix_nano),
            Self::Summary(point) => (&mut point.start_time_unix_nano, &mut point.time_unix_nano),
        }
    }
}
