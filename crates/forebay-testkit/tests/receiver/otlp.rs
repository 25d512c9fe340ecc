//! Every signal in every encoding means the same.

use crate::support::{JSON, PROTOBUF, attribute, call, client, scripted, spans, text, to};
use forebay_testkit::receiver::{
    Fault, Payload, Receiver, Signal,
    proto::{
        collector::{
            logs::v1::ExportLogsServiceRequest,
            metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse},
            trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
        },
        common::v1::InstrumentationScope,
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        metrics::v1::{
            Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point::Value,
        },
        resource::v1::Resource,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    },
};
use http::{StatusCode, header::CONTENT_TYPE};
use prost::Message;
use std::io::Write;

fn resource() -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("service.name", "checkout")], ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "checkout.cart".to_owned(), ..InstrumentationScope::default() })
}

fn log_request() -> ExportLogsServiceRequest {
    let record = LogRecord {
        time_unix_nano: 1_544_712_660_300_000_000,
        observed_time_unix_nano: u64::MAX,
        severity_number: 17,
        severity_text: "Error".to_owned(),
        body: Some(text("out of \u{1f9fb}")),
        attributes: vec![attribute("cart.id", "7")],
        flags: 1,
        trace_id: (0..16).collect(),
        span_id: (0xF8..=0xFF).collect(),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records: vec![record], ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }
}

fn trace_request() -> ExportTraceServiceRequest {
    let span = Span {
        trace_id: vec![0xAB; 16],
        span_id: vec![0xCD; 8],
        parent_span_id: vec![0xEF; 8],
        name: "checkout".to_owned(),
        kind: 2,
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        attributes: vec![attribute("a", "b")],
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { scope: scope(), spans: vec![span.clone(), span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }
}

fn metric_request() -> ExportMetricsServiceRequest {
    let point = |value| NumberDataPoint { time_unix_nano: 5, value: Some(value), ..NumberDataPoint::default() };
    let data_points = vec![point(Value::AsInt(i64::MIN)), point(Value::AsDouble(0.5)), point(Value::AsInt(3))];
    let data = Some(Data::Gauge(Gauge { data_points }));
    let metrics = vec![Metric { name: "cart.size".to_owned(), unit: "1".to_owned(), data, ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

/// A request in both formats, and what it decodes to.
fn requests() -> [(Payload, Vec<u8>, Vec<u8>); 3] {
    let (logs, traces, metrics) = (log_request(), trace_request(), metric_request());
    [
        (Payload::Logs(logs.clone()), logs.encode_to_vec(), json(&logs)),
        (Payload::Traces(traces.clone()), traces.encode_to_vec(), json(&traces)),
        (Payload::Metrics(metrics.clone()), metrics.encode_to_vec(), json(&metrics)),
    ]
}

fn json(message: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(message).unwrap()
}

type Encode = fn(&[u8]) -> Vec<u8>;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[cfg(feature = "zstd")]
fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

const ENCODINGS: &[(&str, Encode)] = &[
    ("identity", <[u8]>::to_vec),
    ("gzip", gzip),
    ("GZIP", gzip),
    // Two members, or frames, one after the other are one body.
    ("x-gzip", |bytes| [gzip(&bytes[..10]), gzip(&bytes[10..])].concat()),
    #[cfg(feature = "zstd")]
    ("zstd", zstd),
    #[cfg(feature = "zstd")]
    ("zstd", |bytes| [zstd(&bytes[..10]), zstd(&bytes[10..])].concat()),
];

#[tokio::test]
async fn logs_traces_and_metrics_mean_the_same_in_every_encoding() {
    for (payload, protobuf, json) in requests() {
        let receiver = scripted([]).await;
        let http = client();
        for (name, encode) in ENCODINGS {
            for (content_type, body) in [(PROTOBUF, &protobuf), (JSON, &json)] {
                let mut request = to(&receiver, payload.signal()).body(encode(body).into()).unwrap();
                request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
                request.headers_mut().insert("content-encoding", name.parse().unwrap());
                let response = call(&http, request).await.unwrap();
                assert_eq!(response.status(), StatusCode::OK, "{name} {content_type} {response:?}");
                assert_eq!(response.headers()[CONTENT_TYPE], content_type);
                assert_eq!(response.body(), if content_type == JSON { "{}" } else { "" });

                let received = receiver.requests().pop().unwrap();
                assert_eq!(**received.decoded.as_ref().unwrap(), payload, "{name} {content_type}");
                assert_eq!(received.decoded_length, Some(body.len() as u64));
                assert_eq!(received.wire_length, encode(body).len() as u64);
                assert_eq!(received.body, encode(body));
                assert_eq!(received.content_encoding(), *name);
            }
        }
        let arrived = receiver.requests().len();
        assert_eq!(arrived, 2 * ENCODINGS.len());
        assert_eq!(receiver.totals().accepted, (arrived * payload.len()) as u64);
        assert_eq!(receiver.totals().connections, 1, "kept alive");
        assert_eq!(receiver.spans().len(), if payload.signal() == Signal::Traces { 2 * arrived } else { 0 });
        assert_eq!(receiver.metrics().len(), if payload.signal() == Signal::Metrics { arrived } else { 0 });
    }
}

#[tokio::test]
async fn a_log_shows_what_tests_look_at() {
    let receiver = scripted([]).await;
    let body = log_request().encode_to_vec();
    call(&client(), to(&receiver, Signal::Logs).body(body.into()).unwrap()).await.unwrap();
    let [log] = receiver.logs().try_into().unwrap();
    assert_eq!(log.body, "out of \u{1f9fb}");
    assert_eq!((log.severity_number, log.severity_text.as_str()), (17, "Error"));
    assert_eq!((log.time_unix_nano, log.observed_time_unix_nano), (1_544_712_660_300_000_000, u64::MAX));
    assert_eq!(log.attribute("cart.id").as_deref(), Some("7"));
    assert_eq!(log.attribute("nothing"), None);
    assert_eq!(log.resource_attribute("service.name").as_deref(), Some("checkout"));
    assert_eq!(log.scope.name, "checkout.cart");
    assert_eq!(receiver.count("out of \u{1f9fb}").accepted, 1);
}

#[tokio::test]
async fn a_body_that_is_no_string_has_a_text_too() {
    let receiver = scripted([]).await;
    let body = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[
        {"body":{"intValue":"-7"}}, {"body":{"bytesValue":"/wBh"}}, {},
        {"body":{"kvlistValue":{"values":[{"key":"a","value":{"arrayValue":{"values":[{"boolValue":true},{}]}}},
            {"key":"b","value":{"doubleValue":"NaN"}}]}}}
    ]}]}]}"#;
    let mut request = to(&receiver, Signal::Logs).body(body.into()).unwrap();
    request.headers_mut().insert(CONTENT_TYPE, JSON.parse().unwrap());
    assert_eq!(call(&client(), request).await.unwrap().status(), StatusCode::OK);
    let bodies: Vec<_> = receiver.logs().into_iter().map(|log| log.body).collect();
    assert_eq!(bodies, ["-7", "\u{fffd}\0a", "", r#"{"a":[true,null],"b":"NaN"}"#]);
    assert_eq!(receiver.count(b"\xff\0a").accepted, 1, "bytes are counted as they are");
}

#[tokio::test]
async fn a_partial_success_has_the_words_of_its_signal() {
    let partial = || Fault::Partial { rejected: 2, message: "no room".to_owned() };
    let receiver = scripted([partial(), partial(), partial(), partial()]).await;
    let http = client();
    let send = async |signal, content_type: &'static str, body: Vec<u8>| {
        let mut request = to(&receiver, signal).body(body.into()).unwrap();
        request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        call(&http, request).await.unwrap().into_body()
    };
    let [_, (_, spans, json_spans), (_, points, json_points)] = requests();
    let response = ExportTraceServiceResponse::decode(send(Signal::Traces, PROTOBUF, spans).await).unwrap();
    assert_eq!(response.partial_success.unwrap().rejected_spans, 2);
    let response = ExportMetricsServiceResponse::decode(send(Signal::Metrics, PROTOBUF, points).await).unwrap();
    assert_eq!(response.partial_success.unwrap().rejected_data_points, 2);
    let json = |body: bytes::Bytes| serde_json::from_slice::<serde_json::Value>(&body).unwrap();
    let response = json(send(Signal::Traces, JSON, json_spans).await);
    assert_eq!(response, serde_json::json!({"partialSuccess": {"rejectedSpans": "2", "errorMessage": "no room"}}));
    let response = json(send(Signal::Metrics, JSON, json_points).await);
    assert_eq!(response["partialSuccess"]["rejectedDataPoints"], "2");
    assert_eq!((receiver.totals().accepted, receiver.totals().rejected), (2, 8), "one data point of three, twice");
    assert_eq!(receiver.spans().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_works_on_many_threads() {
    let receiver = Receiver::builder().start().await.unwrap();
    let http = client();
    let calls = (0..50).map(|n: u8| {
        let body = spans([n.to_string().as_str()]).encode_to_vec();
        let (http, request) = (http.clone(), to(&receiver, Signal::Traces).body(body.into()).unwrap());
        tokio::spawn(async move { call(&http, request).await.unwrap().status() })
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    let mut names: Vec<u8> = receiver.spans().iter().map(|span| span.name.parse().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, (0..50).collect::<Vec<_>>());
}
