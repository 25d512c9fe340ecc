//! Values may be nested as deep as decoders go, and deeper ones cost only their own record.

use bytes::BytesMut;
use forebay_core::{Advice, DropReason, Verdict};
use forebay_export::{Encode, Skipped};
use forebay_otlp::{
    AnyValue, Exemplar, KeyValue, LogRecord, LogsEncoder, MAX_DEPTH, Metric, MetricData, MetricsEncoder,
    NothingEncodable, NumberPoint, Protocol, Resource,
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};
use prost::Message;

/// A plain value in `depth` lists of pairs, the kind of list that takes the most levels.
fn pairs(depth: usize) -> AnyValue {
    (0..depth).fold(AnyValue::from("core"), |inner, _| AnyValue::KvList(vec![KeyValue::new("in", inner)]))
}

fn arrays(depth: usize) -> AnyValue {
    (0..depth).fold(AnyValue::from("core"), |inner, _| AnyValue::Array(vec![inner]))
}

#[test]
fn the_deepest_value_reads_back_at_the_deepest_place() {
    // No attribute of OTLP lies deeper than that of an exemplar.
    let mut exemplar = Exemplar::new(1, 1);
    exemplar.filtered_attributes = vec![KeyValue::new("deep", pairs(MAX_DEPTH))];
    let mut point = NumberPoint::new(1, 1);
    point.exemplars = vec![exemplar];
    let metrics = [Metric::new("metric", MetricData::Gauge(vec![point]))];

    for protocol in Protocol::ALL {
        let mut body = BytesMut::new();
        let encoder = MetricsEncoder::builder().protocol(protocol).build().unwrap();
        assert_eq!(encoder.encode(&metrics, &mut body).unwrap(), Skipped::NONE);
        let read: ExportMetricsServiceRequest = match protocol {
            Protocol::HttpProtobuf | Protocol::Grpc => ExportMetricsServiceRequest::decode(body).unwrap(),
            _ => serde_json::from_slice(&body).unwrap(),
        };
        assert_eq!(read.resource_metrics.len(), 1);
    }
}

#[test]
fn a_deeper_value_is_skipped_wherever_it_stands_and_its_neighbours_are_sent() {
    let good = |at: i64| LogRecord::new("good").attribute("at", at);
    for deep in [pairs(MAX_DEPTH + 1), arrays(MAX_DEPTH + 1), arrays(500)] {
        let batch = [
            LogRecord::new(deep.clone()),
            good(1),
            good(2).attribute("deep", deep.clone()).attribute("after", 1),
            good(3),
            LogRecord::new(AnyValue::Array(vec![AnyValue::Empty, deep, AnyValue::Empty])),
        ];
        for protocol in Protocol::ALL {
            let encoder = LogsEncoder::builder().protocol(protocol).build().unwrap();
            let [mut body, mut expected] = [BytesMut::new(), BytesMut::new()];
            assert_eq!(encoder.encode(&batch, &mut body).unwrap(), Skipped(vec![0, 2, 4]));
            encoder.encode(&[good(1), good(3)], &mut expected).unwrap();
            assert_eq!(body, expected);
        }
    }
}

#[test]
fn the_depth_is_counted_for_each_value() {
    let batch = [LogRecord::new(arrays(MAX_DEPTH)).attribute("a", pairs(MAX_DEPTH)).attribute("b", arrays(MAX_DEPTH))];
    let mut body = BytesMut::new();
    assert_eq!(LogsEncoder::builder().build().unwrap().encode(&batch, &mut body).unwrap(), Skipped::NONE);
    ExportLogsServiceRequest::decode(body).unwrap();
}

#[test]
fn a_batch_of_nothing_else_is_an_error_that_leaves_the_body_empty() {
    let batch = [LogRecord::new(arrays(MAX_DEPTH + 1)), LogRecord::new(pairs(MAX_DEPTH + 1))];
    for protocol in Protocol::ALL {
        let mut body = BytesMut::new();
        let error = LogsEncoder::builder().protocol(protocol).build().unwrap().encode(&batch, &mut body).unwrap_err();
        assert!(body.is_empty());
        assert!(error.is::<NothingEncodable>());
        let verdict = Verdict::of(&*error).unwrap();
        assert_eq!((verdict.reason(), verdict.advice()), (DropReason::Encode, Advice::Never));
        assert_eq!(error.to_string(), "none of 2 items can be encoded: values are nested too deep");
    }
}

#[test]
fn a_resource_that_cannot_be_encoded_is_refused_when_the_encoder_is_built() {
    let resource = Resource::new().attribute("deep", arrays(MAX_DEPTH + 1));
    let error = LogsEncoder::builder().resource(resource).build().unwrap_err();
    assert_eq!(error.to_string(), "`resource` is nested too deep; allowed: values nested up to 28 deep");
}

#[test]
fn f26_a_value_nested_64_000_deep_is_skipped_and_dropped_in_little_stack() {
    // As much stack as a worker has.
    let small = std::thread::Builder::new().stack_size(2 << 20);
    let run = || {
        for deep in [arrays, pairs] {
            let batch = [LogRecord::new(deep(64_000)).attribute("deep", deep(64_000)), LogRecord::new("good")];
            for protocol in Protocol::ALL {
                let encoder = LogsEncoder::builder().protocol(protocol).build().unwrap();
                assert_eq!(encoder.encode(&batch, &mut BytesMut::new()).unwrap(), Skipped(vec![0]));
            }
        }
    };
    small.spawn(run).unwrap().join().unwrap();
}
