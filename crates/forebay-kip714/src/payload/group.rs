use super::{assemble::Ready, point::Value};
use forebay_otlp::{
    AsMetric, ExponentialHistogramWriter, GaugeWriter, HistogramWriter, MetricWriter, SumWriter, SummaryWriter,
};

/// Series of one name and kind, which become one metric.
pub(super) struct Group<'a>(&'a [Ready]);

// === impl Group ===

impl<'a> Group<'a> {
    /// Splits series, in which those of one name stand side by side, into metrics.
    pub(super) fn split(series: &'a [Ready]) -> Vec<Self> {
        let alike = |a: &Ready, b: &Ready| a.point.name == b.point.name && a.point.value.is_like(&b.point.value);
        series.chunk_by(alike).map(Self).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn values(&self) -> impl Iterator<Item = &Value> {
        self.0.iter().map(|ready| &ready.point.value)
    }
}

impl AsMetric for Group<'_> {
    fn metric<W: MetricWriter>(&self, w: &mut W) {
        // A chunk has at least one element.
        let Some(first) = self.0.first() else { return };
        w.name(&first.point.name);
        w.description(&first.point.description);
        w.unit(&first.point.unit);
        match &first.point.value {
            Value::Gauge(_) => w.gauge(|w| {
                for value in self.values() {
                    if let Value::Gauge(point) = value {
                        w.point(|w| point.write(w));
                    }
                }
            }),
            Value::Sum { temporality, monotonic, .. } => w.sum(|w| {
                for value in self.values() {
                    if let Value::Sum { point, .. } = value {
                        w.point(|w| point.write(w));
                    }
                }
                w.aggregation_temporality(*temporality);
                w.is_monotonic(*monotonic);
            }),
            Value::Histogram { temporality, .. } => w.histogram(|w| {
                for value in self.values() {
                    if let Value::Histogram { point, .. } = value {
                        w.point(|w| point.write(w));
                    }
                }
                w.aggregation_temporality(*temporality);
            }),
            Value::Exponential { temporality, .. } => w.exponential_histogram(|w| {
                for value in self.values() {
                    if let Value::Exponential { point, .. } = value {
                        w.point(|w| point.write(w));
                    }
                }
                w.aggregation_temporality(*temporality);
            }),
            Value::Summary(_) => w.summary(|w| {
                for value in self.values() {
                    if let Value::Summary(point) = value {
                        w.point(|w| point.write(w));
                    }
                }
            }),
        }
    }
}
