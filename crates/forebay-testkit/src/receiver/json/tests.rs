//! Against the JSON writer of `opentelemetry-proto` on random messages, and case by case where that writer has no say.

use crate::receiver::{
    payload::{Payload, Signal},
    proto::{
        collector::{
            logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
            trace::v1::ExportTraceServiceRequest,
        },
        common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        metrics::v1::{
            Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
            Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
            exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
            summary_data_point::ValueAtQuantile,
        },
        resource::v1::Resource,
        trace::v1::{
            ResourceSpans, ScopeSpans, Span, Status,
            span::{Event, Link},
        },
    },
};
use proptest::{collection::vec, option, prelude::*};

fn decode(signal: Signal, json: &str) -> Result<Payload, String> {
    let protobuf = super::to_protobuf(signal.message(), json.as_bytes()).map_err(|error| error.to_string())?;
    Payload::decode(signal, &protobuf).map_err(|error| error.to_string())
}

fn record(fields: &str) -> Result<LogRecord, String> {
    let json = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{{fields}}}]}}]}}]}}"#);
    decode(Signal::Logs, &json).map(|payload| payload.log_records().next().expect("one record").clone())
}

fn body(value: &str) -> Result<Option<Value>, String> {
    Ok(record(&format!(r#""body":{{{value}}}"#))?.body.and_then(|body| body.value))
}

fn data(fields: &str) -> Option<Data> {
    let json = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{{fields}}}]}}]}}]}}"#);
    decode(Signal::Metrics, &json).unwrap().metrics().next().expect("one metric").data.clone()
}

#[test]
fn what_is_absent_null_or_unknown_is_the_default() {
    let default = LogRecord::default();
    for fields in [
        "",
        r#""timeUnixNano":null,"severityNumber":null,"severityText":null,"body":null,"attributes":null,"traceId":null"#,
        r#""attributes":[],"flags":0,"traceId":"","severityText":"""#,
        r#""zork":{"timeUnixNano":[1,{"a":null}]},"Zork":1"#,
        // Original names are no keys of OTLP/JSON.
        r#""time_unix_nano":5,"severity_text":"x""#,
    ] {
        assert_eq!(record(fields), Ok(default.clone()), "{fields}");
    }
    assert_eq!(decode(Signal::Logs, "{}"), Ok(Payload::Logs(ExportLogsServiceRequest::default())));
    assert_eq!(decode(Signal::Logs, r#"{"resourceLogs":null}"#).map(|payload| payload.len()), Ok(0));
    assert_eq!(body(""), Ok(None));
    assert_eq!(body(r#""arrayValue":{}"#), Ok(Some(Value::ArrayValue(ArrayValue::default()))));
    assert_eq!(body(r#""kvlistValue":{}"#), Ok(Some(Value::KvlistValue(KeyValueList::default()))));
    assert_eq!(record(r#""attributes":[{"value":{"boolValue":true}}]"#).unwrap().attributes.len(), 1, "no key");
}

#[test]
fn integers_are_numbers_or_text() {
    let time = |json: &str| record(&format!(r#""timeUnixNano":{json}"#)).map(|record| record.time_unix_nano);
    for json in ["5", r#""5""#, "5.0", "50e-1", r#""5.0""#, r#""5e0""#] {
        assert_eq!(time(json), Ok(5), "{json}");
    }
    assert_eq!(time("18446744073709551615"), Ok(u64::MAX));
    assert_eq!(time(r#""18446744073709551615""#), Ok(u64::MAX));
    for json in ["-1", "5.5", r#""five""#, r#""""#, "18446744073709551616", "1e300", "true", "{}", "[5]"] {
        assert!(time(json).is_err(), "{json}");
    }
    assert_eq!(body(r#""intValue":"-9223372036854775808""#), Ok(Some(Value::IntValue(i64::MIN))));
    assert_eq!(body(r#""intValue":-9223372036854775808"#), Ok(Some(Value::IntValue(i64::MIN))));
    assert!(body(r#""intValue":9223372036854775808"#).is_err());
    assert_eq!(record(r#""flags":"255","droppedAttributesCount":4294967295"#).unwrap().flags, 255);
    assert!(record(r#""droppedAttributesCount":4294967296"#).is_err());
}

#[test]
fn an_enum_is_a_number_and_never_a_name() {
    assert_eq!(record(r#""severityNumber":9"#).unwrap().severity_number, 9);
    assert_eq!(record(r#""severityNumber":99"#).unwrap().severity_number, 99, "unknown values are kept");
    let error = record(r#""severityNumber":"SEVERITY_NUMBER_INFO""#).unwrap_err();
    assert!(error.contains("`severityNumber`") && error.contains("the number of an enum value"), "{error}");
}

#[test]
fn ids_are_hexadecimal_in_either_case() {
    let id = |json: &str| record(&format!(r#""traceId":"{json}","spanId":"0aFf""#)).map(|record| record.trace_id);
    let bytes = vec![0x5B, 0x8E, 0xFF, 0xF7];
    assert_eq!(id("5B8EFFF7"), Ok(bytes.clone()));
    assert_eq!(id("5b8efff7"), Ok(bytes));
    for wrong in ["5b8", "0x5b8e", "W48=", "5b 8e"] {
        assert!(id(wrong).is_err(), "{wrong}");
    }
    let traces =
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"parentSpanId":"00ff","links":[{"traceId":"01"}]}]}]}]}"#;
    let span = decode(Signal::Traces, traces).unwrap().spans().next().cloned().unwrap();
    assert_eq!((span.parent_span_id, span.links[0].trace_id.clone()), (vec![0, 255], vec![1]));
}

#[test]
fn bytes_are_base64_of_either_alphabet() {
    let bytes = |json: &str| body(&format!(r#""bytesValue":"{json}""#));
    for json in ["+/8=", "-_8=", "-_8", "+/8"] {
        assert_eq!(bytes(json), Ok(Some(Value::BytesValue(vec![0xFB, 0xFF]))), "{json}");
    }
    assert!(bytes("+_8").is_err() && bytes("!").is_err());
}

#[test]
fn doubles_may_be_text_and_need_not_be_finite() {
    let double = |json: &str| match body(&format!(r#""doubleValue":{json}"#)) {
        Ok(Some(Value::DoubleValue(double))) => Ok(double),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error),
    };
    for (json, expected) in [("1.5", 1.5), (r#""1.5""#, 1.5), ("3", 3.0), (r#""-Infinity""#, f64::NEG_INFINITY)] {
        assert_eq!(double(json).unwrap().to_bits(), expected.to_bits(), "{json}");
    }
    assert!(double(r#""NaN""#).unwrap().is_nan());
    assert!(double(r#""inf""#).is_err() && double("true").is_err());

    let Some(Data::Gauge(gauge)) = data(r#""gauge":{"dataPoints":[{"asDouble":"NaN"},{"asInt":"-3"}]}"#) else {
        panic!("no gauge")
    };
    assert!(matches!(gauge.data_points[0].value, Some(number_data_point::Value::AsDouble(nan)) if nan.is_nan()));
    assert_eq!(gauge.data_points[1].value, Some(number_data_point::Value::AsInt(-3)));
    let histogram = r#""histogram":{"dataPoints":[{"count":"3","sum":"Infinity","min":0,
        "bucketCounts":["1",2],"explicitBounds":[1,"2.5"]}]}"#;
    let Some(Data::Histogram(histogram)) = data(histogram) else { panic!("no histogram") };
    let point = &histogram.data_points[0];
    assert_eq!((point.count, point.sum, point.min, point.max), (3, Some(f64::INFINITY), Some(0.0), None));
    assert_eq!((&*point.bucket_counts, &*point.explicit_bounds), (&[1, 2][..], &[1.0, 2.5][..]));
}

#[test]
fn what_is_malformed_is_refused_and_named() {
    for json in ["", "[]", "null", "7", "{", "{}{}", r#"{"resourceLogs":{}}"#, r#"{"resourceLogs":[7]}"#] {
        assert!(decode(Signal::Logs, json).is_err(), "{json}");
    }
    let error = record(r#""attributes":[null]"#).unwrap_err();
    assert!(error.contains("`attributes`"), "{error}");
    let error = record(r#""severityText":7"#).unwrap_err();
    assert!(error.contains("`severityText`") && error.contains("a string"), "{error}");
    assert!(record(r#""body":"text""#).is_err() && record(r#""severityText":{}"#).is_err());
    let deep = r#"{"arrayValue":{"values":["#.repeat(1000);
    assert!(body(&format!(r#""arrayValue":{{"values":[{deep}"#)).is_err(), "no overflow of the stack");
}

fn text() -> impl Strategy<Value = String> {
    "\\PC{0,8}"
}

/// A double that JSON has a number for.
fn finite() -> impl Strategy<Value = f64> {
    use proptest::num::f64::{NEGATIVE, NORMAL, POSITIVE, ZERO};
    NORMAL | ZERO | POSITIVE | NEGATIVE
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        text().prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        finite().prop_map(Value::DoubleValue),
        vec(any::<u8>(), 0..8).prop_map(Value::BytesValue),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        let inner = option::of(inner).prop_map(|value| AnyValue { value });
        let pair =
            (text(), option::of(inner.clone())).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 });
        prop_oneof![
            vec(inner, 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            vec(pair, 0..3).prop_map(|values| Value::KvlistValue(KeyValueList { values })),
        ]
    });
    option::weighted(0.9, value).prop_map(|value| AnyValue { value })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    vec((text(), option::of(any_value())).prop_map(|(key, value)| KeyValue { key, value, key_strindex: 0 }), 0..3)
}

fn resource() -> impl Strategy<Value = Option<Resource>> {
    let entity = (text(), text(), vec(text(), 0..2)).prop_map(|(schema_url, r#type, id_keys)| EntityRef {
        schema_url,
        r#type,
        description_keys: id_keys.clone(),
        id_keys,
    });
    option::of((attributes(), any::<u32>(), vec(entity, 0..2)).prop_map(
        |(attributes, dropped_attributes_count, entity_refs)| Resource {
            attributes,
            dropped_attributes_count,
            entity_refs,
        },
    ))
}

fn scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    option::of((text(), text(), attributes(), any::<u32>()).prop_map(
        |(name, version, attributes, dropped_attributes_count)| InstrumentationScope {
            name,
            version,
            attributes,
            dropped_attributes_count,
        },
    ))
}

fn log_record() -> impl Strategy<Value = LogRecord> {
    let times = (any::<u64>(), any::<u64>(), any::<i32>(), any::<u32>());
    let rest = (text(), option::of(any_value()), attributes(), vec(any::<u8>(), 0..17));
    (times, rest).prop_map(|((time, observed, severity, flags), (text, body, attributes, id))| LogRecord {
        time_unix_nano: time,
        observed_time_unix_nano: observed,
        severity_number: severity,
        severity_text: text.clone(),
        body,
        attributes,
        dropped_attributes_count: flags / 2,
        flags,
        span_id: id.iter().copied().take(8).collect(),
        trace_id: id,
        event_name: text,
    })
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (vec(any::<u8>(), 16), vec(any::<u8>(), 8), any::<u32>());
    (ids, any::<u64>(), any::<i32>(), text(), attributes()).prop_map(
        |((trace_id, span_id, flags), time, kind, name, attributes)| Span {
            trace_id: trace_id.clone(),
            span_id: span_id.clone(),
            trace_state: name.clone(),
            parent_span_id: span_id.clone(),
            flags,
            name: name.clone(),
            kind,
            start_time_unix_nano: time,
            end_time_unix_nano: !time,
            attributes: attributes.clone(),
            dropped_attributes_count: flags,
            events: vec![Event {
                time_unix_nano: time,
                name: name.clone(),
                attributes: attributes.clone(),
                dropped_attributes_count: flags,
            }],
            dropped_events_count: flags,
            links: vec![Link {
                trace_id,
                span_id,
                trace_state: name.clone(),
                attributes,
                dropped_attributes_count: flags,
                flags,
            }],
            dropped_links_count: flags,
            status: Some(Status { message: name, code: kind }),
        },
    )
}

fn metric() -> impl Strategy<Value = Metric> {
    let numbers = (any::<u64>(), any::<i64>(), any::<i32>(), any::<u32>());
    (text(), numbers, vec(finite(), 4), attributes(), 0..5_u8).prop_map(
        |(name, (time, integer, scale, flags), doubles, attributes, kind)| {
            let exemplars = vec![Exemplar {
                filtered_attributes: attributes.clone(),
                time_unix_nano: time,
                span_id: vec![1; 8],
                trace_id: vec![2; 16],
                value: Some(exemplar::Value::AsDouble(doubles[0])),
            }];
            let number = |value| NumberDataPoint {
                attributes: attributes.clone(),
                start_time_unix_nano: time,
                time_unix_nano: !time,
                exemplars: exemplars.clone(),
                flags,
                value: Some(value),
            };
            let points = vec![
                number(number_data_point::Value::AsInt(integer)),
                number(number_data_point::Value::AsDouble(doubles[1])),
            ];
            let data = match kind {
                0 => Data::Gauge(Gauge { data_points: points }),
                1 => Data::Sum(Sum { data_points: points, aggregation_temporality: scale, is_monotonic: scale > 0 }),
                2 => Data::Histogram(Histogram {
                    data_points: vec![HistogramDataPoint {
                        attributes: attributes.clone(),
                        start_time_unix_nano: time,
                        time_unix_nano: time,
                        count: time,
                        sum: Some(doubles[2]),
                        bucket_counts: vec![time, 0, 1],
                        explicit_bounds: doubles.clone(),
                        exemplars,
                        flags,
                        min: None,
                        max: Some(doubles[3]),
                    }],
                    aggregation_temporality: scale,
                }),
                3 => Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: vec![ExponentialHistogramDataPoint {
                        attributes: attributes.clone(),
                        time_unix_nano: time,
                        count: time,
                        scale,
                        zero_count: time,
                        positive: Some(Buckets { offset: scale, bucket_counts: vec![time, 3] }),
                        negative: None,
                        exemplars,
                        zero_threshold: doubles[0],
                        ..ExponentialHistogramDataPoint::default()
                    }],
                    aggregation_temporality: scale,
                }),
                _ => Data::Summary(Summary {
                    data_points: vec![SummaryDataPoint {
                        attributes: attributes.clone(),
                        start_time_unix_nano: time,
                        time_unix_nano: time,
                        count: time,
                        sum: doubles[0],
                        quantile_values: vec![ValueAtQuantile { quantile: doubles[1], value: doubles[2] }],
                        flags,
                    }],
                }),
            };
            Metric {
                name: name.clone(),
                description: name,
                unit: "1".to_owned(),
                metadata: attributes,
                data: Some(data),
            }
        },
    )
}

/// What their writer writes, and our reader reads.
fn there_and_back(payload: &Payload) -> Result<Payload, String> {
    let json = match payload {
        Payload::Logs(logs) => serde_json::to_string(logs),
        Payload::Traces(traces) => serde_json::to_string(traces),
        Payload::Metrics(metrics) => serde_json::to_string(metrics),
    };
    decode(payload.signal(), &json.unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn logs_are_read_as_they_were_written(
        resource in resource(), scope in scope(), log_records in vec(log_record(), 0..3), schema_url in text(),
    ) {
        let scope_logs = vec![ScopeLogs { scope, log_records, schema_url: schema_url.clone() }];
        let resource_logs = vec![ResourceLogs { resource, scope_logs, schema_url }];
        let payload = Payload::Logs(ExportLogsServiceRequest { resource_logs });
        prop_assert_eq!(there_and_back(&payload), Ok(payload));
    }

    #[test]
    fn traces_are_read_as_they_were_written(
        resource in resource(), scope in scope(), spans in vec(span(), 0..3), schema_url in text(),
    ) {
        let scope_spans = vec![ScopeSpans { scope, spans, schema_url: schema_url.clone() }];
        let resource_spans = vec![ResourceSpans { resource, scope_spans, schema_url }];
        let payload = Payload::Traces(ExportTraceServiceRequest { resource_spans });
        prop_assert_eq!(there_and_back(&payload), Ok(payload));
    }

    #[test]
    fn metrics_are_read_as_they_were_written(
        resource in resource(), scope in scope(), metrics in vec(metric(), 0..3), schema_url in text(),
    ) {
        let scope_metrics = vec![ScopeMetrics { scope, metrics, schema_url: schema_url.clone() }];
        let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, schema_url }];
        let payload = Payload::Metrics(ExportMetricsServiceRequest { resource_metrics });
        prop_assert_eq!(there_and_back(&payload), Ok(payload));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in vec(any::<u8>(), 0..64)) {
        let _read_or_not = super::to_protobuf(Signal::Logs.message(), &bytes);
    }
}
