//! Converts the metrics that the SDK lends for a call into owned metrics.

use crate::{
    AnyValue, Buckets, Exemplar, ExponentialHistogramPoint, HistogramPoint, KeyValue, Metric, MetricData, Number,
    NumberPoint, Scope, Temporality, unix_nanos,
};
use opentelemetry::{Array, InstrumentationScope, Value};
use opentelemetry_sdk::metrics::{
    Temporality as SdkTemporality,
    data::{self, AggregatedMetrics, ExponentialBucket},
};

/// How the numbers of an instrument are written.
#[derive(Clone, Copy)]
struct Numbers<T> {
    number: fn(T) -> Number,
    double: fn(T) -> f64,
}

pub(super) fn scope(scope: &InstrumentationScope) -> Scope {
    let mut own = Scope::new(scope.name().to_owned());
    own.version = scope.version().unwrap_or_default().to_owned().into();
    own.schema_url = scope.schema_url().unwrap_or_default().to_owned().into();
    own.attributes = attributes(scope.attributes());
    own
}

pub(super) fn metric(metric: &data::Metric) -> Metric {
    let data = match metric.data() {
        AggregatedMetrics::F64(data) => of(data, Numbers { number: Number::Double, double: |value| value }),
        AggregatedMetrics::I64(data) => of(data, Numbers { number: Number::Int, double: |value| value as f64 }),
        // OTLP has no larger integers.
        AggregatedMetrics::U64(data) => {
            let number = |value| Number::Int(i64::try_from(value).unwrap_or(i64::MAX));
            of(data, Numbers { number, double: |value| value as f64 })
        }
    };
    let (name, description) = (metric.name().to_owned(), metric.description().to_owned());
    Metric::new(name, data).description(description).unit(metric.unit().to_owned())
}

fn of<T: Copy>(data: &data::MetricData<T>, numbers: Numbers<T>) -> MetricData {
    match data {
        data::MetricData::Gauge(gauge) => {
            let (start, time) = (gauge.start_time().map_or(0, unix_nanos), unix_nanos(gauge.time()));
            let points = gauge.data_points().map(|point| {
                let mut own = NumberPoint::new(time, (numbers.number)(point.value())).since(start);
                own.attributes = attributes(point.attributes());
                own.exemplars = exemplars(point.exemplars(), numbers);
                own
            });
            MetricData::Gauge(points.collect())
        }
        data::MetricData::Sum(sum) => {
            let (start, time) = (unix_nanos(sum.start_time()), unix_nanos(sum.time()));
            let points = sum.data_points().map(|point| {
                let mut own = NumberPoint::new(time, (numbers.number)(point.value())).since(start);
                own.attributes = attributes(point.attributes());
                own.exemplars = exemplars(point.exemplars(), numbers);
                own
            });
            let (temporality, monotonic) = (temporality(sum.temporality()), sum.is_monotonic());
            MetricData::Sum { points: points.collect(), temporality, monotonic }
        }
        data::MetricData::Histogram(histogram) => {
            let (start, time) = (unix_nanos(histogram.start_time()), unix_nanos(histogram.time()));
            let points = histogram.data_points().map(|point| {
                let mut own = HistogramPoint::new(time);
                own.start_time_unix_nano = start;
                own.attributes = attributes(point.attributes());
                own.count = point.count();
                own.sum = Some((numbers.double)(point.sum()));
                own.min = point.min().map(numbers.double);
                own.max = point.max().map(numbers.double);
                own.bucket_counts = point.bucket_counts().collect();
                own.explicit_bounds = point.bounds().collect();
                own.exemplars = exemplars(point.exemplars(), numbers);
                own
            });
            MetricData::Histogram { points: points.collect(), temporality: temporality(histogram.temporality()) }
        }
        data::MetricData::ExponentialHistogram(histogram) => {
            let (start, time) = (unix_nanos(histogram.start_time()), unix_nanos(histogram.time()));
            let points = histogram.data_points().map(|point| {
                let mut own = ExponentialHistogramPoint::default();
                (own.start_time_unix_nano, own.time_unix_nano) = (start, time);
                own.attributes = attributes(point.attributes());
                own.count = point.count() as u64;
                own.sum = Some((numbers.double)(point.sum()));
                own.min = point.min().map(numbers.double);
                own.max = point.max().map(numbers.double);
                own.scale = point.scale().into();
                own.zero_count = point.zero_count();
                own.zero_threshold = point.zero_threshold();
                own.positive = Some(buckets(point.positive_bucket()));
                own.negative = Some(buckets(point.negative_bucket()));
                own.exemplars = exemplars(point.exemplars(), numbers);
                own
            });
            let temporality = temporality(histogram.temporality());
            MetricData::ExponentialHistogram { points: points.collect(), temporality }
        }
    }
}

fn temporality(temporality: SdkTemporality) -> Temporality {
    match temporality {
        SdkTemporality::Delta => Temporality::Delta,
        // The preference of a reader (`LowMemory`) is never that of a point.
        _ => Temporality::Cumulative,
    }
}

fn buckets(buckets: &ExponentialBucket) -> Buckets {
    Buckets { offset: buckets.offset(), counts: buckets.counts().collect() }
}

fn exemplars<'a, T: Copy + 'a>(
    exemplars: impl Iterator<Item = &'a data::Exemplar<T>>,
    numbers: Numbers<T>,
) -> Vec<Exemplar> {
    let of = |exemplar: &data::Exemplar<T>| Exemplar {
        filtered_attributes: attributes(exemplar.filtered_attributes()),
        time_unix_nano: unix_nanos(exemplar.time()),
        value: Some((numbers.number)(exemplar.value)),
        span_id: *exemplar.span_id(),
        trace_id: *exemplar.trace_id(),
    };
    exemplars.map(of).collect()
}

fn attributes<'a>(pairs: impl Iterator<Item = &'a opentelemetry::KeyValue>) -> Vec<KeyValue> {
    pairs.map(|pair| KeyValue::new(pair.key.as_str().to_owned(), value(&pair.value))).collect()
}

fn value(value: &Value) -> AnyValue {
    fn list<T: Clone + Into<AnyValue>>(values: &[T]) -> AnyValue {
        AnyValue::Array(values.iter().cloned().map(Into::into).collect())
    }
    match value {
        Value::Bool(value) => (*value).into(),
        Value::I64(value) => (*value).into(),
        Value::F64(value) => (*value).into(),
        Value::String(value) => value.as_str().to_owned().into(),
        Value::Array(Array::Bool(values)) => list(values),
        Value::Array(Array::I64(values)) => list(values),
        Value::Array(Array::F64(values)) => list(values),
        Value::Array(Array::String(values)) => {
            AnyValue::Array(values.iter().map(|value| value.as_str().to_owned().into()).collect())
        }
        // A later SDK may have a kind that OTLP does not have.
        _ => AnyValue::Empty,
    }
}
