//! The record that all contenders send: a body and four attributes, one of them a random number.

use forebay_core::Footprint;
use forebay_otlp::{AsLogRecord, LogRecordWriter, Severity};
use opentelemetry::logs::{AnyValue, LogRecord, Logger};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue as ProtoValue, InstrumentationScope, KeyValue, any_value::Value},
    logs::v1::{LogRecord as ProtoRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use std::time::{Duration, SystemTime};

/// The scope of the records.
pub const SCOPE: &str = "shop::orders";
/// The service that sends them.
pub const SERVICE: &str = "shop";

const TIME: u64 = 1_732_000_000_000_000_000;

/// What differs from record to record.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    time: u64,
    customer: i64,
    /// Known when the program runs, and not when it is compiled: as in life.
    texts: &'static Texts,
}

/// What is the same in all orders.
#[derive(Debug)]
struct Texts {
    severity: &'static str,
    body: &'static str,
    method: &'static str,
    path: &'static str,
    status: i64,
}

static TEXTS: Texts = Texts {
    severity: "INFO",
    body: "the order was accepted and paid for",
    method: "POST",
    path: "/api/orders",
    status: 201,
};

impl Footprint for Order {
    const FLAT: bool = true;

    fn heap(&self) -> usize {
        0
    }
}

/// Orders without end, the same in every run.
pub fn orders() -> impl Iterator<Item = Order> + Send {
    let texts = std::hint::black_box(&TEXTS);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..).map(move |number| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        Order { time: TIME + number, customer: (state >> 1).cast_signed(), texts }
    })
}

impl AsLogRecord for Order {
    #[inline]
    fn record<W: LogRecordWriter>(&self, w: &mut W) {
        w.time_unix_nano(self.time);
        w.severity(Severity::Info);
        w.severity_text(self.texts.severity);
        w.body(self.texts.body);
        w.attribute("http.request.method", self.texts.method);
        w.attribute("http.response.status_code", self.texts.status);
        w.attribute("enduser.id", self.customer);
        w.attribute("url.path", self.texts.path);
        w.observed_time_unix_nano(self.time);
    }
}

impl Order {
    /// The same with the API of OpenTelemetry.
    #[inline]
    pub(crate) fn fill<R: LogRecord>(&self, record: &mut R) {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(self.time);
        record.set_timestamp(time);
        record.set_observed_timestamp(time);
        record.set_severity_number(opentelemetry::logs::Severity::Info);
        record.set_severity_text(self.texts.severity);
        record.set_body(AnyValue::from(self.texts.body));
        record.add_attribute("http.request.method", self.texts.method);
        record.add_attribute("http.response.status_code", self.texts.status);
        record.add_attribute("enduser.id", self.customer);
        record.add_attribute("url.path", self.texts.path);
    }

    /// And emitted.
    #[inline]
    pub(crate) fn emit<L: Logger>(&self, logger: &L) {
        let mut record = logger.create_log_record();
        self.fill(&mut record);
        logger.emit(record);
    }

    fn proto(&self) -> ProtoRecord {
        let text = |text: &str| ProtoValue { value: Some(Value::StringValue(text.to_owned())) };
        let number = |number| ProtoValue { value: Some(Value::IntValue(number)) };
        let pair = |key: &str, value| KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() };
        ProtoRecord {
            time_unix_nano: self.time,
            observed_time_unix_nano: self.time,
            severity_number: 9,
            severity_text: self.texts.severity.to_owned(),
            body: Some(text(self.texts.body)),
            attributes: vec![
                pair("http.request.method", text(self.texts.method)),
                pair("http.response.status_code", number(self.texts.status)),
                pair("enduser.id", number(self.customer)),
                pair("url.path", text(self.texts.path)),
            ],
            ..ProtoRecord::default()
        }
    }
}

/// The request as `prost` has it.
pub fn proto_request(orders: &[Order]) -> ExportLogsServiceRequest {
    let text = |text: &str| ProtoValue { value: Some(Value::StringValue(text.to_owned())) };
    let service = KeyValue { key: "service.name".to_owned(), value: Some(text(SERVICE)), ..KeyValue::default() };
    let scope_logs = ScopeLogs {
        scope: Some(InstrumentationScope { name: SCOPE.to_owned(), ..InstrumentationScope::default() }),
        log_records: orders.iter().map(Order::proto).collect(),
        ..ScopeLogs::default()
    };
    let resource = Resource { attributes: vec![service], ..Resource::default() };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource),
            scope_logs: vec![scope_logs],
            ..ResourceLogs::default()
        }],
    }
}

/// The request written by hand, as fast as one can without knowing anything but this record.
pub fn hand_request(orders: &[Order], out: &mut Vec<u8>) {
    out.clear();
    // Room for the lengths of the three messages around the records, five bytes each: longer than they have to be, and valid.
    out.extend_from_slice(&[0x0a, 0, 0, 0, 0, 0]);
    let resource_logs = out.len();
    out.extend_from_slice(b"\x0a\x18\x0a\x16\x0a\x0cservice.name\x12\x06\x0a\x04shop");
    out.extend_from_slice(&[0x12, 0, 0, 0, 0, 0]);
    let scope_logs = out.len();
    out.extend_from_slice(b"\x0a\x0e\x0a\x0cshop::orders");
    for order in orders {
        out.extend_from_slice(&[0x12, 0, 0]);
        let record = out.len();
        out.push(0x09);
        out.extend_from_slice(&order.time.to_le_bytes());
        let Texts { severity, body, method, path, status } = order.texts;
        out.extend_from_slice(&[0x10, 9, 0x1a, severity.len() as u8]);
        out.extend_from_slice(severity.as_bytes());
        out.extend_from_slice(&[0x2a, body.len() as u8 + 2, 0x0a, body.len() as u8]);
        out.extend_from_slice(body.as_bytes());
        hand_text(out, "http.request.method", method);
        hand_number(out, "http.response.status_code", *status);
        hand_number(out, "enduser.id", order.customer);
        hand_text(out, "url.path", path);
        out.push(0x59);
        out.extend_from_slice(&order.time.to_le_bytes());
        let len = out.len() - record;
        out[record - 2..record].copy_from_slice(&[len as u8 | 0x80, (len >> 7) as u8]);
    }
    for start in [scope_logs, resource_logs] {
        let len = out.len() - start;
        for (place, slot) in out[start - 5..start].iter_mut().enumerate() {
            *slot = (len >> (7 * place)) as u8 & 0x7f | if place < 4 { 0x80 } else { 0 };
        }
    }
}

/// An attribute shorter than 128 bytes.
#[inline]
fn hand_text(out: &mut Vec<u8>, key: &str, value: &str) {
    let (key_len, len) = (key.len() as u8, value.len() as u8);
    out.extend_from_slice(&[0x32, key_len + len + 6, 0x0a, key_len]);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&[0x12, len + 2, 0x0a, len]);
    out.extend_from_slice(value.as_bytes());
}

/// As above.
#[inline]
fn hand_number(out: &mut Vec<u8>, key: &str, value: i64) {
    let (digits, len) = varint(value.cast_unsigned());
    let key_len = key.len() as u8;
    out.extend_from_slice(&[0x32, key_len + len as u8 + 5, 0x0a, key_len]);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(&[0x12, len as u8 + 1, 0x18]);
    out.extend_from_slice(&digits[..len]);
}

fn varint(mut value: u64) -> ([u8; 10], usize) {
    let (mut digits, mut len) = ([0; 10], 0);
    loop {
        digits[len] = value as u8 & 0x7f | if value > 0x7f { 0x80 } else { 0 };
        (value, len) = (value >> 7, len + 1);
        if value == 0 {
            return (digits, len);
        }
    }
}
