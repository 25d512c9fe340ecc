//! OTLP/JSON as senders write it.

use crate::support::{Gate, Sender, config, failing, value};
use bytes::BytesMut;
use forebay::{export::Encode, otlp::Signal};
use forebay_gateway::{Config, Gateway};
use forebay_otlp::{
    AnyValue, Buckets, Encoder, Exemplar, ExponentialHistogramPoint, HistogramPoint, KeyValue, LogRecord, LogsEncoder,
    Metric, MetricData, MetricsEncoder, NumberPoint, Protocol, Quantile, SignalKind, Span, SpanEvent, SpanLink,
    SummaryPoint, Temporality, TracesEncoder,
};
use forebay_testkit::receiver::{Signal as Of, read_json};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use proptest::{collection::vec, prelude::*};
use prost::Message;
use std::fmt::Debug;

const JSON: (&str, &str) = ("content-type", "application/json");

fn points(points: &str) -> Vec<u8> {
    format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{points}]}}]}}]}}"#).into_bytes()
}

#[tokio::test]
async fn f06_what_is_valid_is_taken_and_only_what_cannot_be_read_is_refused() {
    let gateway = Gateway::start(config(), failing(0)).await.unwrap();
    let sender = Sender::to(&gateway);
    // What the metrics are, how many points are taken, how many are refused.
    for (metrics, taken, refused) in [
        (r#"{"gauge":{"dataPoints":[{"attributes":null,"asDouble":1}]}}"#, 1, 0),
        (
            r#"{"gauge":{"dataPoints":[{"asDouble":"NaN"},{"asDouble":"-Infinity"},{"asInt":9.0},{"asInt":"1.5e18"}]}}"#,
            4,
            0,
        ),
        (r#"{"gauge":{"dataPoints":[{"asInt":1.5e18,"timeUnixNano":"2.0","startTimeUnixNano":3e0}]}}"#, 1, 0),
        (r#"{"histogram":{"dataPoints":[{"count":"1","sum":"NaN","min":null,"bucketCounts":null}]}}"#, 1, 0),
        (
            r#"{"sum":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA","isMonotonic":null,"dataPoints":[{}]}}"#,
            1,
            0,
        ),
        (r#"{"sum":{"aggregation_temporality":1,"data_points":[{"as_int":"1","time_unix_nano":"5"}]}}"#, 1, 0),
        (
            r#"{"gauge":{"dataPoints":[{"attributes":[{"key":"a","value":{"arrayValue":{}}},{"key":"b","value":{"kvlistValue":{"values":null}}},{"key":"c","value":null},{"key":"d","value":{"intValue":9.0}},{"key":"e","value":{"bytesValue":"+/8="}}]}]}}"#,
            1,
            0,
        ),
        (r#"{"gauge":{"dataPoints":[],"new":{"a":[1]}}},{"gauge":null},{"name":null}"#, 0, 0),
        (r#"{"gauge":{"dataPoints":[{"asInt":"many"},{"asInt":1},null,7]}}"#, 1, 3),
        (r#"{"name":7,"gauge":{"dataPoints":[{"asInt":1},{"asInt":2}]}},{"gauge":{"dataPoints":[{}]}}"#, 1, 2),
        (r#"{"gauge":{"dataPoints":[{"exemplars":[{"traceId":"xyz"}]},{}]}},7"#, 1, 2),
    ] {
        let before = gateway.summary().pages[2].records().offered;
        let told = sender.post(Signal::Metrics, &[JSON], points(metrics)).await;
        assert_eq!(told.status, 200, "{metrics}: {:?}", told.body);
        gateway.flush().await;
        assert_eq!(gateway.summary().pages[2].records().offered - before, taken, "{metrics}");
        let said: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
        let partial = &said["partialSuccess"];
        if refused == 0 {
            assert!(partial.is_null(), "{metrics}: {said}");
        } else {
            assert_eq!(partial["rejectedDataPoints"], refused.to_string(), "{metrics}: {said}");
            assert!(partial["errorMessage"].as_str().unwrap().contains("could not be read"), "{said}");
        }
    }
    let unreadable = value(&sender.get("/metrics").await.1, "forebay_gateway_unreadable_total");
    assert_eq!(unreadable, Some(7.0));
    for no_request in ["[]", "{", "7", "null"] {
        assert_eq!(sender.post(Signal::Metrics, &[JSON], no_request.into()).await.status, 400, "{no_request}");
    }
}

/// A request is bounded by what is made of it too: two bytes of JSON can be eight of protobuf.
#[tokio::test]
async fn f23_a_request_in_json_is_no_larger_in_protobuf_than_one_may_be() {
    let gateway = Gateway::start(Config { max_body: 100_000, ..config() }, failing(0)).await.unwrap();
    let sender = Sender::to(&gateway);
    for (counts, status) in [(10_000, 200), (40_000, 413)] {
        let buckets = vec!["1"; counts].join(",");
        let body = points(&format!(r#"{{"histogram":{{"dataPoints":[{{"bucketCounts":[{buckets}]}}]}}}}"#));
        assert!(body.len() < 100_000);
        assert_eq!(sender.post(Signal::Metrics, &[JSON], body).await.status, status, "{counts}");
    }
    assert_eq!(gateway.summary().queue.offered, 1);
}

#[tokio::test]
async fn f26_a_value_nested_64_000_deep_costs_its_own_record() {
    let gate = Gate::closed();
    gate.let_through(9);
    let gateway = Gateway::start(config(), gate.sink()).await.unwrap();
    let depth = 64_000;
    let deep = format!("{}{{}}{}", r#"{"arrayValue":{"values":["#.repeat(depth), "]}}".repeat(depth));
    let body = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{deep}}},{{}}]}}]}}]}}"#);
    let told = Sender::to(&gateway).post(Signal::Logs, &[JSON], body.into_bytes()).await;
    let said: serde_json::Value = serde_json::from_slice(&told.body).unwrap();
    assert_eq!(said["partialSuccess"]["rejectedLogRecords"], "1", "{said}");
    gateway.flush().await;
    assert_eq!(gateway.summary().pages[1].records().delivered, 1);
}

/// What the encoder writes in JSON is read back as what it writes in protobuf; NaN is compared as NaN.
fn same<S: SignalKind, T, P>(of: Of, make: impl Fn(Protocol) -> Encoder<S>, items: &[T]) -> Result<(), TestCaseError>
where
    Encoder<S>: Encode<T>,
    P: Message + Default + Debug,
{
    let [mut json, mut protobuf] = [BytesMut::new(), BytesMut::new()];
    make(Protocol::HttpJson).encode(items, &mut json).unwrap();
    make(Protocol::HttpProtobuf).encode(items, &mut protobuf).unwrap();
    let read = read_json(of, &json).unwrap();
    prop_assert_eq!((read.refused, &*read.why), (0, ""));
    let (read, expected) = (P::decode(&*read.protobuf).unwrap(), P::decode(&*protobuf).unwrap());
    prop_assert_eq!(format!("{read:?}"), format!("{expected:?}"));
    Ok(())
}

fn double() -> impl Strategy<Value = f64> {
    let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX, f64::MIN_POSITIVE, -0.0];
    prop_oneof![any::<f64>(), prop::sample::select(special.to_vec())]
}

fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![any::<i64>(), Just(i64::MIN), Just(i64::MAX)]
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(AnyValue::Empty),
        any::<String>().prop_map(AnyValue::from),
        any::<bool>().prop_map(AnyValue::from),
        integer().prop_map(AnyValue::from),
        double().prop_map(AnyValue::from),
        vec(any::<u8>(), 0..9).prop_map(AnyValue::from),
    ];
    leaf.prop_recursive(6, 24, 3, |inner| {
        let pair = (any::<String>(), inner.clone()).prop_map(|(key, value)| KeyValue::new(key, value));
        prop_oneof![vec(inner, 0..3).prop_map(AnyValue::Array), vec(pair, 0..3).prop_map(AnyValue::KvList)]
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((any::<String>(), any_value()).prop_map(|(key, value)| KeyValue::new(key, value)), 0..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn f06_logs_that_our_encoder_writes_are_read_back(
        all in vec((any_value(), attributes(), any::<u64>(), any::<[u8; 16]>(), any::<u32>()), 1..4),
    ) {
        let records: Vec<_> = all.into_iter().map(|(body, attributes, time, id, flags)| {
            let mut record = LogRecord::new(body);
            (record.attributes, record.time_unix_nano, record.trace_id, record.flags) = (attributes, time, id, flags);
            record
        }).collect();
        let make = |protocol| LogsEncoder::builder().protocol(protocol).build().unwrap();
        same::<_, _, ExportLogsServiceRequest>(Of::Logs, make, &records)?;
    }

    #[test]
    fn f06_spans_that_our_encoder_writes_are_read_back(
        all in vec((attributes(), any::<u64>(), any::<[u8; 16]>(), any::<[u8; 8]>(), any::<String>()), 1..4),
    ) {
        let spans: Vec<_> = all.into_iter().map(|(attributes, time, trace, id, name)| {
            let mut span = Span::default();
            let (mut event, mut link) = (SpanEvent::new(time, name.clone()), SpanLink::new(trace, id));
            (event.attributes, link.attributes) = (attributes.clone(), attributes.clone());
            (span.events, span.links, span.attributes) = (vec![event], vec![link], attributes);
            (span.trace_id, span.span_id, span.start_time_unix_nano) = (trace, id, time);
            span.name = name.into();
            span
        }).collect();
        let make = |protocol| TracesEncoder::builder().protocol(protocol).build().unwrap();
        same::<_, _, ExportTraceServiceRequest>(Of::Traces, make, &spans)?;
    }

    #[test]
    fn f06_metrics_that_our_encoder_writes_are_read_back(
        attributes in attributes(), time in any::<u64>(), integer in integer(), doubles in vec(double(), 4),
        counts in vec(any::<u64>(), 0..6), scale in any::<i32>(),
    ) {
        let mut exemplar = Exemplar::new(time, doubles[0]);
        exemplar.filtered_attributes = attributes.clone();
        let mut number = NumberPoint::new(time, doubles[1]);
        (number.attributes, number.exemplars) = (attributes.clone(), vec![exemplar.clone()]);
        let mut histogram = HistogramPoint::new(time);
        (histogram.count, histogram.bucket_counts, histogram.explicit_bounds) = (time, counts.clone(), doubles.clone());
        (histogram.sum, histogram.min, histogram.exemplars) = (Some(doubles[2]), Some(doubles[3]), vec![exemplar]);
        let mut exponential = ExponentialHistogramPoint::new(time);
        (exponential.scale, exponential.sum, exponential.attributes) = (scale, Some(doubles[0]), attributes);
        exponential.positive = Some(Buckets { offset: scale, counts });
        let mut summary = SummaryPoint::new(time);
        summary.quantiles = vec![Quantile { quantile: doubles[1], value: doubles[2] }];
        let (points, temporality) = (vec![number, NumberPoint::new(1, integer)], Temporality::Delta);
        let metrics = [
            MetricData::Gauge(points.clone()),
            MetricData::Sum { points, temporality, monotonic: true },
            MetricData::Histogram { points: vec![histogram], temporality },
            MetricData::ExponentialHistogram { points: vec![exponential], temporality },
            MetricData::Summary(vec![summary]),
        ].map(|data| Metric::new("metric", data));
        let make = |protocol| MetricsEncoder::builder().protocol(protocol).build().unwrap();
        same::<_, _, ExportMetricsServiceRequest>(Of::Metrics, make, &metrics)?;
    }
}
