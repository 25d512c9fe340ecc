//! What is in a request: is it OTLP, how much is in it, and is any of it urgent?

use super::{batch::Facts, expansion};
use forebay::otlp::Signal;
use forebay_testkit::receiver::{Read, read_json};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    logs::v1::SeverityNumber,
    metrics::v1::{Metric, metric::Data},
    trace::v1::{Span, status::StatusCode},
};
use prost::{DecodeError, Message};
use std::time::Duration;

/// How a request is looked into.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// What a span must take to be slow.
    pub(super) slow: Duration,
    /// The most memory that it may take.
    pub(super) max_decoded: usize,
}

/// Why a request is none.
#[derive(Debug)]
pub(super) enum NotLooked {
    /// It is not the message that its signal asks for.
    Malformed(String),
    /// It would take more memory than it may.
    TooLarge,
}

/// Looks into a request in protobuf.
///
/// # Errors
///
/// When it is not the message that `signal` asks for, or too large.
pub(super) fn protobuf(signal: Signal, body: &[u8], look: Look) -> Result<Facts, NotLooked> {
    expansion::protobuf(signal, body, look.max_decoded)?;
    let slow = look.slow;
    Ok(match signal {
        Signal::Traces => traces(&Message::decode(body)?, slow),
        Signal::Logs => logs(&Message::decode(body)?),
        Signal::Metrics => metrics(&Message::decode(body)?),
    })
}

/// A request in JSON, as far as it could be read.
#[derive(Debug)]
pub(super) struct FromJson {
    /// What was found in the readable part.
    pub(super) facts: Facts,
    /// The readable part in protobuf.
    pub(super) body: Vec<u8>,
    /// How many spans, log records or data points could not be read.
    pub(super) refused: u64,
    /// Why the first of them could not be read.
    pub(super) why: String,
}

/// The same for a request in JSON.
///
/// The reader of the testkit follows the descriptors, so it knows every field of OTLP; the decoder of
/// `opentelemetry-proto` refuses nulls, NaN and whole numbers with a fraction, and loses a metric without an error.
///
/// # Errors
///
/// When it is no JSON object of the message that `signal` asks for, or too large.
pub(super) fn json(signal: Signal, body: &[u8], look: Look) -> Result<FromJson, NotLooked> {
    let of = match signal {
        Signal::Traces => forebay_testkit::receiver::Signal::Traces,
        Signal::Logs => forebay_testkit::receiver::Signal::Logs,
        Signal::Metrics => forebay_testkit::receiver::Signal::Metrics,
    };
    let Read { protobuf, refused, why } = read_json(of, body)?;
    // The text and the read bytes are in memory while the structures are made.
    let taken = body.len().saturating_add(protobuf.capacity().saturating_sub(protobuf.len()));
    let most = look.max_decoded.checked_sub(taken).ok_or(NotLooked::TooLarge)?;
    expansion::protobuf(signal, &protobuf, most)?;
    let slow = look.slow;
    let (facts, body) = match signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(&*protobuf)?;
            drop(protobuf);
            (traces(&request, slow), request.encode_to_vec())
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(&*protobuf)?;
            drop(protobuf);
            (logs(&request), request.encode_to_vec())
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(&*protobuf)?;
            drop(protobuf);
            (metrics(&request), request.encode_to_vec())
        }
    };
    Ok(FromJson { facts, body, refused, why })
}

fn traces(request: &ExportTraceServiceRequest, slow: Duration) -> Facts {
    let slow = u64::try_from(slow.as_nanos()).unwrap_or(u64::MAX);
    let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
    let mut facts = Facts::default();
    for span in scopes.flat_map(|scope| &scope.spans) {
        facts.records += 1;
        facts.has_error |= is_error(span);
        // A clock that was set back gives no slow span.
        facts.has_slow |= span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano) >= slow;
    }
    facts
}

fn is_error(span: &Span) -> bool {
    span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32)
}

fn logs(request: &ExportLogsServiceRequest) -> Facts {
    let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
    let mut facts = Facts::default();
    for log in scopes.flat_map(|scope| &scope.log_records) {
        facts.records += 1;
        facts.has_error |= log.severity_number >= SeverityNumber::Error as i32;
    }
    facts
}

fn metrics(request: &ExportMetricsServiceRequest) -> Facts {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let records = scopes.flat_map(|scope| &scope.metrics).map(points).sum::<usize>() as u64;
    Facts { records, ..Facts::default() }
}

fn points(metric: &Metric) -> usize {
    match &metric.data {
        None => 0,
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
    }
}

// === impl NotLooked ===

impl From<expansion::Refused> for NotLooked {
    fn from(refused: expansion::Refused) -> Self {
        match refused {
            expansion::Refused::TooLarge => Self::TooLarge,
            expansion::Refused::Malformed => Self::Malformed("no protobuf".to_owned()),
        }
    }
}

impl From<DecodeError> for NotLooked {
    fn from(error: DecodeError) -> Self {
        Self::Malformed(error.to_string())
    }
}

impl From<serde_json::Error> for NotLooked {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::{
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
        trace::v1::{ResourceSpans, ScopeSpans, Status},
    };

    const LOOK: Look = Look { slow: Duration::from_millis(500), max_decoded: 1 << 20 };

    fn spans(spans: Vec<Span>) -> Vec<u8> {
        let scope_spans = vec![ScopeSpans::default(), ScopeSpans { spans, ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans::default(), ResourceSpans { scope_spans, ..ResourceSpans::default() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn took(nanos: u64) -> Span {
        Span { start_time_unix_nano: 1_000, end_time_unix_nano: 1_000 + nanos, ..Span::default() }
    }

    #[test]
    fn one_error_or_one_slow_span_makes_the_batch_urgent() {
        let look = |list| protobuf(Signal::Traces, &spans(list), LOOK).unwrap();
        let healthy = look(vec![took(1), took(499_999_999)]);
        assert_eq!(healthy, Facts { records: 2, has_error: false, has_slow: false });
        assert!(look(vec![took(1), took(500_000_000)]).has_slow);
        let failed = Span { status: Some(Status { code: 2, ..Status::default() }), ..took(1) };
        assert!(look(vec![took(1), failed]).has_error);
        let backwards = Span { start_time_unix_nano: 9, end_time_unix_nano: 1, ..Span::default() };
        assert!(!look(vec![backwards]).has_slow);
    }

    #[test]
    fn a_log_record_of_error_or_fatal_makes_the_batch_urgent() {
        for (severity, urgent) in [(0, false), (9, false), (16, false), (17, true), (21, true)] {
            let record = LogRecord { severity_number: severity, ..LogRecord::default() };
            let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
            let request = ExportLogsServiceRequest {
                resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }],
            };
            let facts = protobuf(Signal::Logs, &request.encode_to_vec(), LOOK).unwrap();
            assert_eq!((facts.records, facts.has_error), (1, urgent), "severity {severity}");
        }
    }

    #[test]
    fn json_and_protobuf_say_the_same() {
        let text = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"5b8efff798038103d269b633813fc60c",
            "spanId":"eee19b7ec3c1b174","name":"GET /","kind":2,"startTimeUnixNano":"1","endTimeUnixNano":"600000001",
            "attributes":[{"key":"n","value":{"intValue":"7"}},{"key":"m","value":{"intValue":7}}],
            "status":{"code":2},"unknown":{"ignored":true}}]}]}]}"#;
        let FromJson { facts, body, refused, .. } = json(Signal::Traces, text.as_bytes(), LOOK).unwrap();
        assert_eq!(refused, 0);
        assert_eq!(facts, Facts { records: 1, has_error: true, has_slow: true });
        assert_eq!(protobuf(Signal::Traces, &body, LOOK).unwrap(), facts);
        assert!(json(Signal::Traces, b"{\"resourceSpans\": 7}", LOOK).is_err());
        assert!(protobuf(Signal::Metrics, b"not protobuf", LOOK).is_err());
    }
}
