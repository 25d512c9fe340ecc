use crate::{
    clock::nanos_of,
    series::{Histogram, LabelValue, Labels, Number, Series, Temporality, Value},
    source::{Gathering, Source},
};
use opentelemetry::{KeyValue, Value as OtelValue};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    metrics::{
        InstrumentKind, ManualReader, Pipeline, Temporality as OtelTemporality,
        data::{AggregatedMetrics, HistogramDataPoint, Metric, MetricData, ResourceMetrics},
        reader::MetricReader,
    },
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

/// The instruments of OpenTelemetry's SDK, as a [`Source`].
///
/// A clone of it is the reader of a meter provider; every report gathers the cumulative values of the provider's instruments.
/// Exponential histograms are not gathered: a view can give such an instrument explicit buckets.
#[derive(Clone, Debug)]
pub struct OpenTelemetrySource(Arc<ManualReader>);

// === impl OpenTelemetrySource ===

impl OpenTelemetrySource {
    /// A reader for a meter provider.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(ManualReader::builder().with_temporality(OtelTemporality::Cumulative).build()))
    }
}

impl Default for OpenTelemetrySource {
    fn default() -> Self {
        Self::new()
    }
}

impl MetricReader for OpenTelemetrySource {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> OtelTemporality {
        self.0.temporality(kind)
    }
}

impl Source for OpenTelemetrySource {
    fn gather(&mut self, into: &mut Gathering<'_>) {
        let mut metrics = ResourceMetrics::default();
        // It fails before a provider has it and after its shutdown, when there is nothing to gather.
        if self.0.collect(&mut metrics).is_err() {
            return;
        }
        for metric in metrics.scope_metrics().flat_map(|scope| scope.metrics()) {
            if into.wants(metric.name()) {
                push(metric, into);
            }
        }
    }
}

fn push(metric: &Metric, into: &mut Gathering<'_>) {
    match metric.data() {
        AggregatedMetrics::F64(data) => push_data(metric, data, Number::Double, |sum| sum, into),
        AggregatedMetrics::I64(data) => push_data(metric, data, Number::Int, |sum| Number::Int(sum).as_f64(), into),
        AggregatedMetrics::U64(data) => push_data(metric, data, Number::from, |sum| Number::from(sum).as_f64(), into),
    }
}

fn push_data<T: Copy>(
    metric: &Metric,
    data: &MetricData<T>,
    number: impl Fn(T) -> Number,
    float: impl Fn(T) -> f64,
    into: &mut Gathering<'_>,
) {
    let mut push = |value, attributes: &mut dyn Iterator<Item = &KeyValue>, start: u64, time| {
        let labels: Labels = attributes.map(|kv| (kv.key.as_str().to_owned(), label(&kv.value))).collect();
        let series = Series::new(metric.name().to_owned(), time, value).labels(labels).since(start);
        into.push(series.unit(metric.unit().to_owned()).description(metric.description().to_owned()));
    };
    match data {
        MetricData::Gauge(gauge) => gauge.data_points().for_each(|point| {
            push(Value::Gauge(number(point.value())), &mut point.attributes(), 0, nanos_of(gauge.time()));
        }),
        MetricData::Sum(sum) => sum.data_points().for_each(|point| {
            let value = Value::Sum {
                value: number(point.value()),
                monotonic: sum.is_monotonic(),
                temporality: temporality(sum.temporality()),
            };
            push(value, &mut point.attributes(), nanos_of(sum.start_time()), nanos_of(sum.time()));
        }),
        MetricData::Histogram(all) => all.data_points().for_each(|point| {
            let value =
                Value::Histogram { histogram: histogram(point, &float), temporality: temporality(all.temporality()) };
            push(value, &mut point.attributes(), nanos_of(all.start_time()), nanos_of(all.time()));
        }),
        MetricData::ExponentialHistogram(_) => {}
    }
}

fn histogram<T: Copy>(point: &HistogramDataPoint<T>, float: &impl Fn(T) -> f64) -> Histogram {
    let mut histogram = Histogram::new(point.bounds().collect::<Vec<_>>());
    histogram.counts = point.bucket_counts().collect();
    histogram.count = point.count();
    histogram.sum = Some(float(point.sum()));
    histogram.min = point.min().map(float);
    histogram.max = point.max().map(float);
    histogram
}

fn temporality(temporality: OtelTemporality) -> Temporality {
    match temporality {
        OtelTemporality::Delta => Temporality::Delta,
        // The reader requests cumulative values.
        _ => Temporality::Cumulative,
    }
}

fn label(value: &OtelValue) -> LabelValue {
    match value {
        OtelValue::Bool(value) => LabelValue::Bool(*value),
        OtelValue::I64(value) => LabelValue::Int(*value),
        OtelValue::F64(value) => LabelValue::Double(*value),
        // A label is one value, so a list becomes text.
        other => LabelValue::String(other.as_str().into_owned().into()),
    }
}
