//! What OTLP/JSON writes differently from plain JSON, byte for byte.

use bytes::BytesMut;
use forebay_export::Encode;
use forebay_otlp::{
    AnyValue, AsLogRecord, Buckets, Encoder, Exemplar, ExponentialHistogramPoint, HistogramPoint, KeyValue, LogRecord,
    LogRecordWriter, LogsEncoder, Metric, MetricData, MetricsEncoder, Number, NumberPoint, Protocol, Quantile,
    Resource, Scope, Severity, SignalKind, Span, SpanEvent, SpanKind, SpanLink, StatusCode, SummaryPoint, Temporality,
    TracesEncoder,
};

fn json<S: SignalKind, T>(encoder: &Encoder<S>, items: &[T]) -> String
where
    Encoder<S>: Encode<T>,
{
    let mut body = BytesMut::new();
    encoder.encode(items, &mut body).unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}

#[test]
fn a_log_record() {
    let resource = Resource::new().attribute("service.name", "shop").schema_url("https://example.com/r");
    let encoder = LogsEncoder::builder()
        .protocol(Protocol::HttpJson)
        .resource(resource)
        .scope(Scope::new("checkout").version("1.2"))
        .build()
        .unwrap();
    let trace =
        (*b"\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c", *b"\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74");
    let record = LogRecord::new("paid \"42\"\n")
        .time_unix_nano(1_544_712_660_300_000_000)
        .severity(Severity::Info2)
        .attribute("int", -7_i64)
        .attribute("bytes", vec![0xfb, 0xff])
        .attribute("list", vec![AnyValue::Bool(true), AnyValue::Double(0.5), AnyValue::Empty])
        .attribute("map", vec![KeyValue::new("k", "v")])
        .attribute("none", AnyValue::Array(Vec::new()))
        .trace(trace.0, trace.1, 1);
    let expected = concat!(
        r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"#,
        r#""scopeLogs":[{"scope":{"name":"checkout","version":"1.2"},"#,
        r#""logRecords":[{"timeUnixNano":"1544712660300000000","severityNumber":10,"#,
        r#""body":{"stringValue":"paid \"42\"\n"},"#,
        r#""attributes":[{"key":"int","value":{"intValue":"-7"}},"#,
        r#"{"key":"bytes","value":{"bytesValue":"+/8="}},"#,
        r#"{"key":"list","value":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":0.5},{}]}}},"#,
        r#"{"key":"map","value":{"kvlistValue":{"values":[{"key":"k","value":{"stringValue":"v"}}]}}},"#,
        r#"{"key":"none","value":{"arrayValue":{"values":[]}}}],"#,
        r#""flags":1,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}],"#,
        r#""schemaUrl":"https://example.com/r"}]}"#,
    );
    assert_eq!(json(&encoder, &[record]), expected);
}

#[test]
fn a_span() {
    let encoder = TracesEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
    let span = Span::new([1; 16], [2; 8], "GET")
        .parent([3; 8])
        .kind(SpanKind::Client)
        .times(5, 6)
        .event(SpanEvent::new(7, "sent"))
        .link(SpanLink::new([4; 16], [5; 8]))
        .status(StatusCode::Error, "reset");
    let expected = concat!(
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"#,
        r#""traceId":"01010101010101010101010101010101","spanId":"0202020202020202","#,
        r#""parentSpanId":"0303030303030303","name":"GET","kind":3,"startTimeUnixNano":"5","endTimeUnixNano":"6","#,
        r#""events":[{"timeUnixNano":"7","name":"sent"}],"#,
        r#""links":[{"traceId":"04040404040404040404040404040404","spanId":"0505050505050505"}],"#,
        r#""status":{"message":"reset","code":2}}]}]}]}"#,
    );
    assert_eq!(json(&encoder, &[span]), expected);
}

/// `opentelemetry-proto` does not read the strings that stand for these, so they are compared as text.
#[test]
fn doubles_that_are_no_numbers_are_strings_in_every_place() {
    let encoder = MetricsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
    let mut number = NumberPoint::new(1, f64::NAN).attribute("inf", f64::INFINITY);
    number.exemplars = vec![Exemplar::new(2, Number::Double(f64::NEG_INFINITY))];
    let mut histogram = HistogramPoint::new(1);
    (histogram.sum, histogram.min, histogram.max) = (Some(f64::NAN), Some(f64::NEG_INFINITY), Some(f64::INFINITY));
    histogram.explicit_bounds = vec![1.5, f64::INFINITY];
    histogram.bucket_counts = vec![1, 2, 3];
    let mut exponential = ExponentialHistogramPoint::new(1);
    exponential.scale = -2;
    exponential.zero_threshold = f64::NAN;
    exponential.positive = Some(Buckets { offset: -1, counts: vec![0, u64::MAX] });
    let mut summary = SummaryPoint::new(1);
    summary.sum = f64::INFINITY;
    summary.quantiles = vec![Quantile { quantile: 0.5, value: f64::NAN }];

    let (points, temporality) = (vec![number], Temporality::Delta);
    let metrics = [
        Metric::new("a", MetricData::Sum { points, temporality, monotonic: true }),
        Metric::new("b", MetricData::Histogram { points: vec![histogram], temporality }),
        Metric::new("c", MetricData::ExponentialHistogram { points: vec![exponential], temporality }),
        Metric::new("d", MetricData::Summary(vec![summary])),
        Metric::new("e", MetricData::Gauge(Vec::new())),
    ];
    let expected = concat!(
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":["#,
        r#"{"name":"a","sum":{"dataPoints":[{"timeUnixNano":"1","asDouble":"NaN","#,
        r#""exemplars":[{"timeUnixNano":"2","asDouble":"-Infinity"}],"#,
        r#""attributes":[{"key":"inf","value":{"doubleValue":"Infinity"}}]}],"#,
        r#""aggregationTemporality":1,"isMonotonic":true}},"#,
        r#"{"name":"b","histogram":{"dataPoints":[{"timeUnixNano":"1","sum":"NaN","bucketCounts":["1","2","3"],"#,
        r#""explicitBounds":[1.5,"Infinity"],"min":"-Infinity","max":"Infinity"}],"aggregationTemporality":1}},"#,
        r#"{"name":"c","exponentialHistogram":{"dataPoints":[{"timeUnixNano":"1","scale":-2,"#,
        r#""positive":{"offset":-1,"bucketCounts":["0","18446744073709551615"]},"zeroThreshold":"NaN"}],"#,
        r#""aggregationTemporality":1}},"#,
        r#"{"name":"d","summary":{"dataPoints":[{"timeUnixNano":"1","sum":"Infinity","#,
        r#""quantileValues":[{"quantile":0.5,"value":"NaN"}]}]}},"#,
        r#"{"name":"e","gauge":{}}]}]}]}"#,
    );
    assert_eq!(json(&encoder, &metrics), expected);
}

#[test]
fn a_body_of_bytes_that_are_no_text_is_sent_unharmed() {
    struct Line(&'static [u8]);

    impl AsLogRecord for Line {
        fn record<W: LogRecordWriter>(&self, w: &mut W) {
            w.body_bytes(self.0);
        }
    }

    let encoder = LogsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
    let expected = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"bytesValue":"Y2Fm6Q=="}}]}]}]}"#;
    assert_eq!(json(&encoder, &[Line(b"caf\xe9")]), expected);
}

#[test]
fn an_empty_batch_is_a_valid_request() {
    let encoder = LogsEncoder::builder().protocol(Protocol::HttpJson).build().unwrap();
    assert_eq!(json(&encoder, &[] as &[LogRecord]), r#"{"resourceLogs":[{"scopeLogs":[{}]}]}"#);
}
