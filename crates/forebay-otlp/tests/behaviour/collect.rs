//! What `forebay-collect` gathers is what a receiver reads.

#![cfg(feature = "collect")]
#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::BytesMut;
use forebay_collect::{Histogram, Labels, Series, Value};
use forebay_export::Encode;
use forebay_otlp::{AsMetric, Metric, MetricsEncoder, Protocol};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest as Request,
    metrics::v1::{Metric as Read, metric::Data, number_data_point::Value as NumberValue},
};
use prost::Message;

fn series() -> Vec<Series> {
    let mut histogram = Histogram::new(&[1.0, 10.0][..]);
    [0.5, 1.0, 7.0, 70.0].into_iter().for_each(|value| histogram.record(value));
    vec![
        Series::new("requests", 20, Value::counter(3_i64)).since(10).labels([("route", "a")]).unit("{request}"),
        Series::new("heap", 20, Value::gauge(1.5)).labels(Labels::new().with("node", 7_i64).with("up", true)),
        Series::new("took", 20, Value::histogram(histogram)).since(10).unit("ms"),
        Series::new("requests", 20, Value::counter(4_i64)).since(10).labels([("route", "b")]).unit("{request}"),
    ]
}

fn read<T: AsMetric>(items: &[T]) -> Vec<Read> {
    let encoder = MetricsEncoder::builder().protocol(Protocol::HttpProtobuf).build().unwrap();
    let mut body = BytesMut::new();
    Encode::<T>::encode(&encoder, items, &mut body).unwrap();
    let request = Request::decode(body.freeze()).unwrap();
    request.resource_metrics.into_iter().flat_map(|r| r.scope_metrics).flat_map(|s| s.metrics).collect()
}

#[test]
fn a_series_is_a_metric_with_one_point() {
    let metrics = read(&series());
    assert_eq!(metrics.len(), 4);
    let Some(Data::Sum(sum)) = &metrics[0].data else { panic!("{:?}", metrics[0]) };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
    let point = &sum.data_points[0];
    assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (10, 20));
    assert_eq!(point.value, Some(NumberValue::AsInt(3)));
    assert_eq!(point.attributes[0].key, "route");
    let Some(Data::Histogram(took)) = &metrics[2].data else { panic!("{:?}", metrics[2]) };
    let point = &took.data_points[0];
    assert_eq!((point.count, point.sum, &point.bucket_counts[..]), (4, Some(78.5), &[2, 1, 1][..]));
    assert_eq!((point.min, point.max), (Some(0.5), Some(70.0)));
}

#[test]
fn series_of_one_name_are_one_metric_with_the_same_points() {
    let one_by_one = read(&series());
    let together = read(&Metric::from_series(series()));
    assert_eq!(together.iter().map(|metric| &*metric.name).collect::<Vec<_>>(), ["requests", "heap", "took"]);
    let points = |metric: &Read| match metric.data.clone().unwrap() {
        Data::Sum(sum) => sum.data_points,
        Data::Gauge(gauge) => gauge.data_points,
        other => panic!("{other:?}"),
    };
    assert_eq!(points(&together[0]), [points(&one_by_one[0]), points(&one_by_one[3])].concat());
    assert_eq!(together[1], one_by_one[1]);
    assert_eq!(together[2], one_by_one[2]);
}
