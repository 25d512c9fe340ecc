//! The response of the server: refused items are counted and never sent again, and no response does harm.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{DropReason, Fate, Observe, Settlement};
use forebay_export::Encode;
use forebay_otlp::{
    Encoder, LogRecord, Logs, LogsEncoder, Metric, Metrics, OtlpEvent, Protocol, ServerText, Signal, SignalKind, Span,
    Traces, Unreadable,
};
use http::{Response, header, response};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse},
    metrics::v1::{ExportMetricsPartialSuccess, ExportMetricsServiceResponse},
    trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse},
};
use proptest::{collection::vec, prelude::*};
use prost::Message;
use std::sync::{Arc, Mutex};

const DELIVERED: Settlement = Settlement::All(Fate::Delivered);

fn rejected(dropped: usize) -> Settlement {
    Settlement::Partial { dropped, reason: DropReason::Rejected }
}

fn head(content_type: Option<&str>) -> response::Parts {
    let mut head = Response::new(()).into_parts().0;
    if let Some(content_type) = content_type {
        head.headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    }
    head
}

/// Keeps the one event of a response.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Option<OtlpEvent>>>);

impl Observe<OtlpEvent> for Seen {
    fn observe(&self, event: &OtlpEvent) {
        assert!(self.0.lock().unwrap().replace(event.clone()).is_none(), "a response has one event");
    }
}

/// The settlement of a request of ten items of this signal by a response, and the event for the observer.
fn settle_as<S: SignalKind, T>(
    protocol: Protocol,
    head: &response::Parts,
    body: &[u8],
) -> (Settlement, Option<OtlpEvent>)
where
    Encoder<S, Seen>: Encode<T>,
{
    let seen = Seen::default();
    let encoder = Encoder::<S>::builder().protocol(protocol).observe(seen.clone()).build().unwrap();
    let settlement = encoder.settle(head, body, 10);
    let event = seen.0.lock().unwrap().take();
    (settlement, event)
}

/// Whether a settlement is possible for items that a server has accepted.
fn is_final(settlement: &Settlement) -> bool {
    matches!(settlement, &DELIVERED | Settlement::Partial { .. })
}

fn settle(protocol: Protocol, body: &[u8]) -> (Settlement, Option<OtlpEvent>) {
    settle_as::<Logs, LogRecord>(protocol, &head(None), body)
}

fn logs_response(rejected_log_records: i64, error_message: &str) -> Vec<u8> {
    let partial_success = ExportLogsPartialSuccess { rejected_log_records, error_message: error_message.to_owned() };
    ExportLogsServiceResponse { partial_success: Some(partial_success) }.encode_to_vec()
}

/// The text of the server in an event.
fn text(event: Option<OtlpEvent>) -> Option<ServerText> {
    match event? {
        OtlpEvent::Rejected { message, .. } | OtlpEvent::Warning { message, .. } => Some(message),
        _ => None,
    }
}

#[test]
fn a_full_success_is_silent() {
    for body in [&b""[..], &ExportLogsServiceResponse::default().encode_to_vec(), &logs_response(0, "")] {
        assert_eq!(settle(Protocol::HttpProtobuf, body), (DELIVERED, None));
    }
    for body in ["", "{}", "{\"partialSuccess\":{}}", "{\"partialSuccess\":null}", " {\"later\":[{}]}\n"] {
        assert_eq!(settle(Protocol::HttpJson, body.as_bytes()), (DELIVERED, None), "{body}");
    }
}

/// OTLP forbids to send anything of a partial success again, so there is no remainder to retry.
#[test]
fn r11_what_was_refused_is_dropped_and_never_sent_again() {
    let (settlement, event) = settle(Protocol::HttpProtobuf, &logs_response(3, "too old"));
    assert_eq!(settlement, rejected(3));
    assert_eq!(event.as_ref().unwrap().to_string(), "the server refused 3 of 10 items of logs: too old");
    let silent = settle(Protocol::HttpProtobuf, &logs_response(3, "")).1.unwrap();
    assert_eq!(silent.to_string(), "the server refused 3 of 10 items of logs");
    for body in [
        r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"too old"}}"#,
        r#"{"partialSuccess":{"errorMessage":"too old","new":{"a":[1]},"rejectedLogRecords":3}}"#,
    ] {
        assert_eq!(settle(Protocol::HttpJson, body.as_bytes()), (rejected(3), event.clone()), "{body}");
    }
}

#[test]
fn every_signal_has_its_own_name_for_it() {
    let partial_success = Some(ExportTracePartialSuccess { rejected_spans: 2, error_message: String::new() });
    let spans = ExportTraceServiceResponse { partial_success }.encode_to_vec();
    let json = br#"{"partialSuccess":{"rejectedSpans":"2","rejectedLogRecords":"9"}}"#;
    for (protocol, body) in [(Protocol::HttpProtobuf, &spans[..]), (Protocol::HttpJson, json)] {
        let (settlement, event) = settle_as::<Traces, Span>(protocol, &head(None), body);
        assert_eq!((settlement, event.unwrap().signal()), (rejected(2), Signal::Traces));
    }
    let partial_success = Some(ExportMetricsPartialSuccess { rejected_data_points: 4, error_message: String::new() });
    let points = ExportMetricsServiceResponse { partial_success }.encode_to_vec();
    let json = br#"{"partialSuccess":{"rejectedDataPoints":4}}"#;
    for (protocol, body) in [(Protocol::HttpProtobuf, &points[..]), (Protocol::HttpJson, json)] {
        let (settlement, event) = settle_as::<Metrics, Metric>(protocol, &head(None), body);
        assert_eq!((settlement, event.unwrap().signal()), (rejected(4), Signal::Metrics));
    }
}

#[test]
fn a_message_without_a_number_is_a_warning() {
    let (settlement, event) = settle(Protocol::HttpProtobuf, &logs_response(0, "use v2"));
    assert_eq!(settlement, DELIVERED);
    assert_eq!(event.unwrap().to_string(), "the server accepted all logs with a warning: use v2");
}

#[test]
fn impossible_numbers_are_clamped() {
    assert_eq!(settle(Protocol::HttpProtobuf, &logs_response(i64::MAX, "")).0, rejected(10));
    assert_eq!(settle(Protocol::HttpProtobuf, &logs_response(i64::MIN, "")), (DELIVERED, None));
    assert_eq!(settle(Protocol::HttpProtobuf, &logs_response(-1, "odd")).0, DELIVERED);
    let huge = r#"{"partialSuccess":{"rejectedLogRecords":"9223372036854775808"}}"#;
    assert!(matches!(settle(Protocol::HttpJson, huge.as_bytes()), (DELIVERED, Some(OtlpEvent::Unreadable { .. }))));
}

#[test]
fn text_of_the_server_is_bounded_and_safe_to_log() {
    let hostile = format!("\u{1b}[31mred\r\n{}", "x".repeat(100_000));
    let said = text(settle(Protocol::HttpProtobuf, &logs_response(1, &hostile)).1).unwrap();
    let message = said.as_str();
    assert!(message.starts_with("\\u{1b}[31mred\\r\\nxxx"), "{message}");
    assert!(message.len() <= ServerText::MAX_LEN);
    // Not UTF-8: field 2 of the partial success is a lone continuation byte.
    let said = text(settle(Protocol::HttpProtobuf, b"\x0a\x05\x08\x01\x12\x01\x80").1).unwrap();
    assert_eq!(said.as_str(), "\u{fffd}");
}

#[test]
fn a_response_is_read_in_the_encoding_that_it_names() {
    let json = br#"{"partialSuccess":{"rejectedLogRecords":"1"}}"#;
    for name in ["application/json", "Application/JSON; charset=utf-8"] {
        let (settlement, _) = settle_as::<Logs, LogRecord>(Protocol::HttpProtobuf, &head(Some(name)), json);
        assert_eq!(settlement, rejected(1), "{name}");
    }
    for name in ["application/x-protobuf", "application/protobuf"] {
        let (settlement, _) =
            settle_as::<Logs, LogRecord>(Protocol::HttpJson, &head(Some(name)), &logs_response(1, ""));
        assert_eq!(settlement, rejected(1), "{name}");
    }
}

#[test]
fn a_response_that_cannot_be_read_changes_nothing_and_is_reported() {
    let unreadable = |reason| (DELIVERED, Some(OtlpEvent::Unreadable { signal: Signal::Logs, reason }));
    let page = settle_as::<Logs, LogRecord>(Protocol::HttpProtobuf, &head(Some("text/html")), b"<html>");
    assert_eq!(page, unreadable(Unreadable::ContentType));

    let mut compressed = head(Some("application/x-protobuf"));
    compressed.headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
    let gzip = settle_as::<Logs, LogRecord>(Protocol::HttpProtobuf, &compressed, b"\x1f\x8b");
    assert_eq!(gzip, unreadable(Unreadable::Compressed));

    let (eleven, overflow) = ([&b"\x0a\x0c\x08"[..], &[0xff; 10], &[0]], [&b"\x0a\x0b\x08"[..], &[0xff; 9], &[2]]);
    for body in [eleven.concat(), overflow.concat()] {
        assert_eq!(settle(Protocol::HttpProtobuf, &body), unreadable(Unreadable::Malformed), "{body:x?}");
    }
    for body in [&b"\x0a"[..], b"\x0a\x05\x08\x01", b"\x08\x01", b"\x0a\x02\x0a\x00", b"\x0b\x0c", b"\x00\x00", b"\xff"]
    {
        assert_eq!(settle(Protocol::HttpProtobuf, body), unreadable(Unreadable::Malformed), "{body:x?}");
    }
    for body in ["{", "[]", "null", "{} {}", r#"{"partialSuccess":[]}"#, r#"{"partialSuccess":{"errorMessage":1}}"#] {
        assert_eq!(settle(Protocol::HttpJson, body.as_bytes()), unreadable(Unreadable::Malformed), "{body}");
    }
    assert_eq!(settle(Protocol::HttpJson, &[b'['; 100_000]), unreadable(Unreadable::Malformed));
    let deep = format!("{{\"x\":{}", "[".repeat(100_000));
    assert_eq!(settle(Protocol::HttpJson, deep.as_bytes()), unreadable(Unreadable::Malformed));
}

#[test]
fn without_an_observer_a_response_is_settled_all_the_same() {
    let encoder = LogsEncoder::builder().build().unwrap();
    let settlement = Encode::<LogRecord>::settle(&encoder, &head(None), &logs_response(2, "why"), 10);
    assert_eq!(settlement, rejected(2));
}

/// What `prost` reads, in our terms; `None` if it reads nothing.
fn by_prost(body: &[u8]) -> Option<Settlement> {
    let read = ExportLogsServiceResponse::decode(body).ok()?;
    match read.partial_success.unwrap_or_default().rejected_log_records {
        count @ 1.. => Some(rejected(usize::try_from(count).unwrap().min(10))),
        _ => Some(DELIVERED),
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic_and_never_mean_a_retry(body in vec(any::<u8>(), 0..200), protocol in prop::sample::select(Protocol::ALL.to_vec())) {
        let (settlement, _) = settle(protocol, &body);
        prop_assert!(is_final(&settlement));
    }

    /// Of what both can read, both read the same; what prost cannot read, text that is no UTF-8 apart, we cannot.
    #[test]
    fn a_mutated_response_is_read_as_prost_reads_it(
        count in any::<i64>(),
        message in ".{0,20}",
        mutations in vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = [logs_response(count, &message), logs_response(1, "")].concat();
        for (at, byte) in mutations {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let (settlement, event) = settle(Protocol::HttpProtobuf, &body);
        match by_prost(&body) {
            Some(expected) => {
                let groups = matches!(event, Some(OtlpEvent::Unreadable { .. })) && body.iter().any(|byte| byte & 7 == 3);
                prop_assert!(groups || settlement == expected, "{body:x?}: {settlement:?}, {expected:?}");
            }
            None => prop_assert!(is_final(&settlement)),
        }
    }

    #[test]
    fn mutated_json_never_panics(
        mutations in vec((any::<prop::sample::Index>(), prop::sample::select(br#"{}[]":,0-e\ "#.to_vec())), 0..5),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut body = br#"{"partialSuccess":{"rejectedLogRecords":"12","errorMessage":"a\u00e9\n"}}"#.to_vec();
        for (at, byte) in mutations {
            let at = at.index(body.len());
            body[at] = byte;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let (settlement, _) = settle(Protocol::HttpJson, &body);
        prop_assert!(is_final(&settlement));
    }
}

#[test]
fn the_message_of_a_refusal_is_found_in_either_encoding() {
    let encoder = LogsEncoder::builder().build().unwrap();
    let explain = |media_type: &'static str, body: &[u8]| {
        let value = http::HeaderValue::from_static(media_type);
        Encode::<LogRecord>::explain(&encoder, Some(&value), body).to_string()
    };
    // google.rpc.Status { code: 3, message: "no\nsuch" }
    assert_eq!(explain("application/x-protobuf", b"\x08\x03\x12\x07no\nsuch"), "no\\nsuch");
    assert_eq!(explain("application/json", br#"{"code":3,"message":"no such"}"#), "no such");
    assert_eq!(explain("application/json; charset=utf-8", br#"{"error":"x"}"#), r#"{"error":"x"}"#);
    assert_eq!(explain("text/html", b"<h1>Bad gateway</h1>"), "<h1>Bad gateway</h1>");
    assert_eq!(explain("application/x-protobuf", b"\xff\xff"), "");
}
