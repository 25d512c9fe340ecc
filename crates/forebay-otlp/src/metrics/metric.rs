use super::{
    AsMetric, ExponentialHistogramPoint, ExponentialHistogramWriter, GaugeWriter, HistogramPoint, HistogramWriter,
    MetricWriter, NumberPoint, SumWriter, SummaryPoint, SummaryWriter, Temporality,
};
use crate::value::KeyValue;
use std::borrow::Cow;

/// A metric, owned.
///
/// ```
/// use forebay_otlp::{Metric, MetricData, NumberPoint};
///
/// let points = vec![NumberPoint::new(1_732_000_000_000_000_000, 0.75)];
/// let metric = Metric::new("system.cpu.utilization", MetricData::Gauge(points)).unit("1");
/// assert_eq!(metric.unit, "1");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name.
    pub name: Cow<'static, str>,
    /// Its meaning, for human readers.
    pub description: Cow<'static, str>,
    /// The unit of its values, in the notation of UCUM.
    pub unit: Cow<'static, str>,
    /// Its points.
    pub data: Option<MetricData>,
    /// Attributes of the metric as a whole, which do not identify it.
    pub metadata: Vec<KeyValue>,
}

/// The points of a metric, all of one kind.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum MetricData {
    /// Current values.
    Gauge(Vec<NumberPoint>),
    /// Values that add up over time.
    Sum {
        /// The points.
        points: Vec<NumberPoint>,
        /// The time over which they are summed.
        temporality: Temporality,
        /// Whether the sum never falls.
        monotonic: bool,
    },
    /// The distribution of values over given buckets.
    Histogram {
        /// The points.
        points: Vec<HistogramPoint>,
        /// The time over which they are counted.
        temporality: Temporality,
    },
    /// The distribution of values over buckets that grow exponentially.
    ExponentialHistogram {
        /// The points.
        points: Vec<ExponentialHistogramPoint>,
        /// The time over which they are counted.
        temporality: Temporality,
    },
    /// Quantiles of values, only for metrics that are translated from Prometheus.
    Summary(Vec<SummaryPoint>),
}

// === impl Metric ===

impl Metric {
    /// A metric of this name with these points.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>, data: MetricData) -> Self {
        Self { name: name.into(), data: Some(data), ..Self::default() }
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

impl AsMetric for Metric {
    fn metric<W: MetricWriter>(&self, w: &mut W) {
        w.name(&self.name);
        w.description(&self.description);
        w.unit(&self.unit);
        if let Some(data) = &self.data {
            data.write(w);
        }
        self.metadata.iter().for_each(|kv| w.metadata(&kv.key, &kv.value));
    }
}

// === impl MetricData ===

impl MetricData {
    /// Writes the points as the data of a metric.
    pub fn write<W: MetricWriter>(&self, w: &mut W) {
        match self {
            Self::Gauge(points) => w.gauge(|w| points.iter().for_each(|point| w.point(|w| point.write(w)))),
            Self::Sum { points, temporality, monotonic } => w.sum(|w| {
                points.iter().for_each(|point| w.point(|w| point.write(w)));
                w.aggregation_temporality(*temporality);
                w.is_monotonic(*monotonic);
            }),
            Self::Histogram { points, temporality } => w.histogram(|w| {
                points.iter().for_each(|point| w.point(|w| point.write(w)));
                w.aggregation_temporality(*temporality);
            }),
            Self::ExponentialHistogram { points, temporality } => w.exponential_histogram(|w| {
                points.iter().for_each(|point| w.point(|w| point.write(w)));
                w.aggregation_temporality(*temporality);
            }),
            Self::Summary(points) => w.summary(|w| points.iter().for_each(|point| w.point(|w| point.write(w)))),
        }
    }
}
