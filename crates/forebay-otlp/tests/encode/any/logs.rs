use super::values::{Doubles, attributes, id, proto_attributes, proto_id, proto_value, small, text, unsigned, value};
use forebay_otlp::{LogRecord, Severity};
use opentelemetry_proto::tonic::{collector::logs::v1::ExportLogsServiceRequest, logs::v1 as proto};
use proptest::prelude::*;

pub(crate) fn record(doubles: Doubles) -> impl Strategy<Value = LogRecord> {
    let fields = (
        (unsigned(), 0_u8..=24, text(), proptest::option::of(value(doubles))),
        (attributes(doubles), small(), small(), id(), id(), unsigned(), text()),
    );
    fields.prop_map(
        |((time, severity, severity_text, body), (attributes, dropped, flags, trace, span, observed, event))| {
            let mut record = LogRecord::default();
            record.time_unix_nano = time;
            record.severity = Severity::from_number(severity).unwrap();
            record.severity_text = severity_text;
            record.body = body;
            record.attributes = attributes;
            record.dropped_attributes_count = dropped;
            record.flags = flags;
            record.trace_id = trace;
            record.span_id = span;
            record.observed_time_unix_nano = observed;
            record.event_name = event;
            record
        },
    )
}

pub(crate) fn proto_record(record: &LogRecord) -> proto::LogRecord {
    proto::LogRecord {
        time_unix_nano: record.time_unix_nano,
        observed_time_unix_nano: record.observed_time_unix_nano,
        severity_number: record.severity.number().into(),
        severity_text: record.severity_text.to_string(),
        body: record.body.as_ref().map(proto_value),
        attributes: proto_attributes(&record.attributes),
        dropped_attributes_count: record.dropped_attributes_count,
        flags: record.flags,
        trace_id: proto_id(&record.trace_id),
        span_id: proto_id(&record.span_id),
        event_name: record.event_name.to_string(),
    }
}

/// The request of an encoder without resource and scope.
pub(crate) fn proto_request(records: &[LogRecord]) -> ExportLogsServiceRequest {
    let scope_logs = vec![proto::ScopeLogs {
        scope: None,
        log_records: records.iter().map(proto_record).collect(),
        schema_url: String::new(),
    }];
    ExportLogsServiceRequest {
        resource_logs: vec![proto::ResourceLogs { resource: None, scope_logs, schema_url: String::new() }],
    }
}
