use super::values::{
    Doubles, attributes, double, double_but_negative_zero, id, integer, proto_attributes, proto_id, small, text,
    unsigned,
};
use forebay_otlp::{
    Buckets, Exemplar, ExponentialHistogramPoint, HistogramPoint, Metric, MetricData, Number, NumberPoint, Quantile,
    SummaryPoint, Temporality,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        self as proto, exemplar, exponential_histogram_data_point, metric, number_data_point, summary_data_point,
    },
};
use proptest::{collection::vec, option, prelude::*};

fn number(doubles: Doubles) -> impl Strategy<Value = Number> {
    prop_oneof![integer().prop_map(Number::Int), double(doubles).prop_map(Number::Double)]
}

fn exemplars(doubles: Doubles) -> impl Strategy<Value = Vec<Exemplar>> {
    let fields = (attributes(doubles), unsigned(), option::of(number(doubles)), id(), id());
    let exemplar = fields.prop_map(|(attributes, time, value, span, trace)| {
        let mut exemplar = Exemplar::default();
        exemplar.filtered_attributes = attributes;
        exemplar.time_unix_nano = time;
        exemplar.value = value;
        exemplar.span_id = span;
        exemplar.trace_id = trace;
        exemplar
    });
    vec(exemplar, 0..3)
}

fn numbers(doubles: Doubles) -> impl Strategy<Value = Vec<NumberPoint>> {
    let fields =
        (attributes(doubles), unsigned(), unsigned(), option::of(number(doubles)), exemplars(doubles), small());
    let point = fields.prop_map(|(attributes, start, time, value, exemplars, flags)| {
        let mut point = NumberPoint::default();
        point.attributes = attributes;
        point.start_time_unix_nano = start;
        point.time_unix_nano = time;
        point.value = value;
        point.exemplars = exemplars;
        point.flags = flags;
        point
    });
    vec(point, 0..4)
}

fn histograms(doubles: Doubles) -> impl Strategy<Value = Vec<HistogramPoint>> {
    let fields = (
        (attributes(doubles), unsigned(), unsigned(), unsigned(), exemplars(doubles), small()),
        (vec(unsigned(), 0..20), vec(double(doubles), 0..20)),
        (option::of(double(doubles)), option::of(double(doubles)), option::of(double(doubles))),
    );
    let point = fields.prop_map(|((attributes, start, time, count, exemplars, flags), (counts, bounds), sums)| {
        let mut point = HistogramPoint::new(time);
        point.attributes = attributes;
        point.start_time_unix_nano = start;
        point.count = count;
        point.exemplars = exemplars;
        point.flags = flags;
        point.bucket_counts = counts;
        point.explicit_bounds = bounds;
        (point.sum, point.min, point.max) = sums;
        point
    });
    vec(point, 0..3)
}

fn buckets() -> impl Strategy<Value = Buckets> {
    (any::<i32>(), vec(unsigned(), 0..30)).prop_map(|(offset, counts)| Buckets { offset, counts })
}

fn exponentials(doubles: Doubles) -> impl Strategy<Value = Vec<ExponentialHistogramPoint>> {
    let fields = (
        (attributes(doubles), unsigned(), unsigned(), unsigned(), exemplars(doubles), small()),
        (any::<i32>(), unsigned(), option::of(buckets()), option::of(buckets()), double_but_negative_zero(doubles)),
        (option::of(double(doubles)), option::of(double(doubles)), option::of(double(doubles))),
    );
    let point = fields.prop_map(|((attributes, start, time, count, exemplars, flags), rest, sums)| {
        let mut point = ExponentialHistogramPoint::new(time);
        point.attributes = attributes;
        point.start_time_unix_nano = start;
        point.count = count;
        point.exemplars = exemplars;
        point.flags = flags;
        (point.scale, point.zero_count, point.positive, point.negative, point.zero_threshold) = rest;
        (point.sum, point.min, point.max) = sums;
        point
    });
    vec(point, 0..3)
}

fn summaries(doubles: Doubles) -> impl Strategy<Value = Vec<SummaryPoint>> {
    let quantile = (double_but_negative_zero(doubles), double_but_negative_zero(doubles))
        .prop_map(|(quantile, value)| Quantile { quantile, value });
    let fields = (
        attributes(doubles),
        unsigned(),
        unsigned(),
        unsigned(),
        double_but_negative_zero(doubles),
        vec(quantile, 0..4),
        small(),
    );
    let point = fields.prop_map(|(attributes, start, time, count, sum, quantiles, flags)| {
        let mut point = SummaryPoint::new(time);
        point.attributes = attributes;
        point.start_time_unix_nano = start;
        point.count = count;
        point.sum = sum;
        point.quantiles = quantiles;
        point.flags = flags;
        point
    });
    vec(point, 0..3)
}

fn data(doubles: Doubles) -> impl Strategy<Value = MetricData> {
    use Temporality::{Cumulative, Delta, Unspecified};
    let temporality = || prop::sample::select(vec![Unspecified, Delta, Cumulative]);
    prop_oneof![
        numbers(doubles).prop_map(MetricData::Gauge),
        (numbers(doubles), temporality(), any::<bool>()).prop_map(|(points, temporality, monotonic)| MetricData::Sum {
            points,
            temporality,
            monotonic
        }),
        (histograms(doubles), temporality())
            .prop_map(|(points, temporality)| MetricData::Histogram { points, temporality }),
        (exponentials(doubles), temporality())
            .prop_map(|(points, temporality)| MetricData::ExponentialHistogram { points, temporality }),
        summaries(doubles).prop_map(MetricData::Summary),
    ]
}

pub(crate) fn metric(doubles: Doubles) -> impl Strategy<Value = Metric> {
    (text(), text(), text(), option::weighted(0.9, data(doubles)), attributes(doubles)).prop_map(
        |(name, description, unit, data, metadata)| {
            let mut metric = Metric::default();
            metric.name = name;
            metric.description = description;
            metric.unit = unit;
            metric.data = data;
            metric.metadata = metadata;
            metric
        },
    )
}

fn proto_exemplars(exemplars: &[Exemplar]) -> Vec<proto::Exemplar> {
    let one = |exemplar: &Exemplar| proto::Exemplar {
        filtered_attributes: proto_attributes(&exemplar.filtered_attributes),
        time_unix_nano: exemplar.time_unix_nano,
        span_id: proto_id(&exemplar.span_id),
        trace_id: proto_id(&exemplar.trace_id),
        value: exemplar.value.map(|value| match value {
            Number::Int(value) => exemplar::Value::AsInt(value),
            Number::Double(value) => exemplar::Value::AsDouble(value),
        }),
    };
    exemplars.iter().map(one).collect()
}

fn proto_numbers(points: &[NumberPoint]) -> Vec<proto::NumberDataPoint> {
    let one = |point: &NumberPoint| proto::NumberDataPoint {
        attributes: proto_attributes(&point.attributes),
        start_time_unix_nano: point.start_time_unix_nano,
        time_unix_nano: point.time_unix_nano,
        exemplars: proto_exemplars(&point.exemplars),
        flags: point.flags,
        value: point.value.map(|value| match value {
            Number::Int(value) => number_data_point::Value::AsInt(value),
            Number::Double(value) => number_data_point::Value::AsDouble(value),
        }),
    };
    points.iter().map(one).collect()
}

fn proto_histograms(points: &[HistogramPoint]) -> Vec<proto::HistogramDataPoint> {
    let one = |point: &HistogramPoint| proto::HistogramDataPoint {
        attributes: proto_attributes(&point.attributes),
        start_time_unix_nano: point.start_time_unix_nano,
        time_unix_nano: point.time_unix_nano,
        count: point.count,
        sum: point.sum,
        bucket_counts: point.bucket_counts.clone(),
        explicit_bounds: point.explicit_bounds.clone(),
        exemplars: proto_exemplars(&point.exemplars),
        flags: point.flags,
        min: point.min,
        max: point.max,
    };
    points.iter().map(one).collect()
}

fn proto_buckets(buckets: &Buckets) -> exponential_histogram_data_point::Buckets {
    exponential_histogram_data_point::Buckets { offset: buckets.offset, bucket_counts: buckets.counts.clone() }
}

fn proto_exponentials(points: &[ExponentialHistogramPoint]) -> Vec<proto::ExponentialHistogramDataPoint> {
    let one = |point: &ExponentialHistogramPoint| proto::ExponentialHistogramDataPoint {
        attributes: proto_attributes(&point.attributes),
        start_time_unix_nano: point.start_time_unix_nano,
        time_unix_nano: point.time_unix_nano,
        count: point.count,
        sum: point.sum,
        scale: point.scale,
        zero_count: point.zero_count,
        positive: point.positive.as_ref().map(proto_buckets),
        negative: point.negative.as_ref().map(proto_buckets),
        flags: point.flags,
        exemplars: proto_exemplars(&point.exemplars),
        min: point.min,
        max: point.max,
        zero_threshold: point.zero_threshold,
    };
    points.iter().map(one).collect()
}

fn proto_summaries(points: &[SummaryPoint]) -> Vec<proto::SummaryDataPoint> {
    let quantile = |q: &Quantile| summary_data_point::ValueAtQuantile { quantile: q.quantile, value: q.value };
    let one = |point: &SummaryPoint| proto::SummaryDataPoint {
        attributes: proto_attributes(&point.attributes),
        start_time_unix_nano: point.start_time_unix_nano,
        time_unix_nano: point.time_unix_nano,
        count: point.count,
        sum: point.sum,
        quantile_values: point.quantiles.iter().map(quantile).collect(),
        flags: point.flags,
    };
    points.iter().map(one).collect()
}

fn proto_data(data: &MetricData) -> metric::Data {
    match data {
        MetricData::Gauge(points) => metric::Data::Gauge(proto::Gauge { data_points: proto_numbers(points) }),
        MetricData::Sum { points, temporality, monotonic } => metric::Data::Sum(proto::Sum {
            data_points: proto_numbers(points),
            aggregation_temporality: temporality.number().into(),
            is_monotonic: *monotonic,
        }),
        MetricData::Histogram { points, temporality } => metric::Data::Histogram(proto::Histogram {
            data_points: proto_histograms(points),
            aggregation_temporality: temporality.number().into(),
        }),
        MetricData::ExponentialHistogram { points, temporality } => {
            metric::Data::ExponentialHistogram(proto::ExponentialHistogram {
                data_points: proto_exponentials(points),
                aggregation_temporality: temporality.number().into(),
            })
        }
        MetricData::Summary(points) => metric::Data::Summary(proto::Summary { data_points: proto_summaries(points) }),
        other => unreachable!("a kind of data that the tests do not know: {other:?}"),
    }
}

pub(crate) fn proto_metric(metric: &Metric) -> proto::Metric {
    proto::Metric {
        name: metric.name.to_string(),
        description: metric.description.to_string(),
        unit: metric.unit.to_string(),
        metadata: proto_attributes(&metric.metadata),
        data: metric.data.as_ref().map(proto_data),
    }
}

/// The request of an encoder without resource and scope.
pub(crate) fn proto_request(metrics: &[Metric]) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![proto::ScopeMetrics {
        scope: None,
        metrics: metrics.iter().map(proto_metric).collect(),
        schema_url: String::new(),
    }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![proto::ResourceMetrics { resource: None, scope_metrics, schema_url: String::new() }],
    }
}
