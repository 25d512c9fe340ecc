//! The rows of a batch, in the order in which they need each other.

use crate::batch::{Batch, BatchId};
use forebay::{core::BoxError, otlp::Signal};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::LogRecord,
    metrics::v1::{Metric, metric::Data, number_data_point},
    resource::v1::Resource,
    trace::v1::{Span, span::Event},
};
use prost::Message;
use rusqlite::{Connection, params};

/// A trace has many spans, so its row is there mostly.
const INSERT_TRACE: &str = "INSERT INTO traces VALUES (?1, ?2, ?3) ON CONFLICT (tenant, trace_id) DO NOTHING";
// Only a replay of the same batch finds its rows there already; any other conflict is an error.
const INSERT_SPAN: &str = "INSERT INTO spans VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
  ON CONFLICT (batch, n) DO NOTHING";
const INSERT_LOG: &str = "INSERT INTO logs VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
  ON CONFLICT (batch, n) DO NOTHING";
const INSERT_POINT: &str = "INSERT INTO points VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
  ON CONFLICT (batch, n) DO NOTHING";

const LIST_BATCH: &str = "INSERT INTO batches VALUES (?1, ?2) ON CONFLICT DO NOTHING";

/// Writes the rows of `batch`, and its name into the list of batches.
pub(super) fn store(transaction: &Connection, batch: &Batch) -> Result<(), BoxError> {
    match batch.signal {
        Signal::Traces => traces(transaction, batch)?,
        Signal::Logs => logs(transaction, batch)?,
        Signal::Metrics => metrics(transaction, batch)?,
    }
    Ok(list(transaction, batch.id, batch.received)?)
}

/// Writes a batch into the list, from which the retention takes the oldest.
pub(super) fn list(transaction: &Connection, id: BatchId, received: u64) -> rusqlite::Result<()> {
    transaction.prepare_cached(LIST_BATCH)?.execute(params![sql_int(received), id.0.to_be_bytes()])?;
    Ok(())
}

fn traces(transaction: &Connection, batch: &Batch) -> Result<(), BoxError> {
    let request = ExportTraceServiceRequest::decode(&*batch.body)?;
    let spans = || {
        request.resource_spans.iter().flat_map(|of| {
            let service = service(of.resource.as_ref());
            of.scope_spans.iter().flat_map(|scope| &scope.spans).map(move |span| (service, span))
        })
    };
    let mut insert = transaction.prepare_cached(INSERT_TRACE)?;
    let mut last: &[u8] = &[];
    for (n, (_, span)) in spans().enumerate() {
        // The spans of a trace mostly come together.
        if n == 0 || last != span.trace_id {
            insert.execute(params![&*batch.tenant, span.trace_id, sql_int(batch.received)])?;
            last = &span.trace_id;
        }
    }
    let mut insert = transaction.prepare_cached(INSERT_SPAN)?;
    let id = batch.id.0.to_be_bytes();
    for (n, (service, span)) in spans().enumerate() {
        let Span { trace_id, span_id, parent_span_id, name, kind, .. } = span;
        let (status, message) = span.status.as_ref().map_or((0, ""), |status| (status.code, &*status.message));
        let parent = (!parent_span_id.is_empty()).then_some(parent_span_id);
        let (start, end) = (sql_int(span.start_time_unix_nano), sql_int(span.end_time_unix_nano));
        let attributes = json(&span.attributes);
        insert.execute(params![
            id,
            n as i64,
            &*batch.tenant,
            trace_id,
            span_id,
            parent,
            service,
            name,
            kind,
            start,
            end,
            status,
            message,
            attributes
        ])?;
    }
    // What happened within a span is a log record of it.
    let mut insert = transaction.prepare_cached(INSERT_LOG)?;
    let events = spans().flat_map(|(service, span)| span.events.iter().map(move |event| (service, span, event)));
    for (n, (service, span, event)) in events.enumerate() {
        let Event { time_unix_nano, name, attributes, .. } = event;
        let (id, time, severity) = (batch.id.0.to_be_bytes(), sql_int(*time_unix_nano), 0);
        let Span { trace_id, span_id, .. } = span;
        let attributes = json(attributes);
        insert.execute(params![
            id,
            n as i64,
            &*batch.tenant,
            time,
            severity,
            service,
            name,
            trace_id,
            span_id,
            attributes
        ])?;
    }
    Ok(())
}

fn logs(transaction: &Connection, batch: &Batch) -> Result<(), BoxError> {
    let request = ExportLogsServiceRequest::decode(&*batch.body)?;
    let logs = request.resource_logs.iter().flat_map(|of| {
        let service = service(of.resource.as_ref());
        of.scope_logs.iter().flat_map(|scope| &scope.log_records).map(move |log| (service, log))
    });
    let mut insert = transaction.prepare_cached(INSERT_LOG)?;
    for (n, (service, log)) in logs.enumerate() {
        let LogRecord { time_unix_nano, observed_time_unix_nano, severity_number, trace_id, span_id, .. } = log;
        // A record without a time of its own has the one when it was seen.
        let time = if *time_unix_nano == 0 { *observed_time_unix_nano } else { *time_unix_nano };
        let (id, body, attributes) = (batch.id.0.to_be_bytes(), text(log.body.as_ref()), json(&log.attributes));
        let (trace_id, span_id) = (some(trace_id), some(span_id));
        insert.execute(params![
            id,
            n as i64,
            &*batch.tenant,
            sql_int(time),
            severity_number,
            service,
            body,
            trace_id,
            span_id,
            attributes
        ])?;
    }
    Ok(())
}

fn metrics(transaction: &Connection, batch: &Batch) -> Result<(), BoxError> {
    let request = ExportMetricsServiceRequest::decode(&*batch.body)?;
    let mut insert = transaction.prepare_cached(INSERT_POINT)?;
    let mut n = 0_i64;
    for of in &request.resource_metrics {
        let service = service(of.resource.as_ref());
        for metric in of.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
            for Point { kind, time, value, detail, attributes } in points(metric) {
                let Metric { name, unit, .. } = metric;
                let (id, time, attributes) = (batch.id.0.to_be_bytes(), sql_int(time), json(attributes));
                insert.execute(params![
                    id,
                    n,
                    &*batch.tenant,
                    time,
                    service,
                    name,
                    unit,
                    kind,
                    value,
                    detail,
                    attributes
                ])?;
                n += 1;
            }
        }
    }
    Ok(())
}

/// A data point of any kind, as a row.
struct Point<'a> {
    kind: &'static str,
    time: u64,
    /// Of a number; the sum of all others.
    value: Option<f64>,
    /// What a number does not say, as OTLP/JSON.
    detail: String,
    attributes: &'a [KeyValue],
}

fn points(metric: &Metric) -> Vec<Point<'_>> {
    #[expect(clippy::cast_precision_loss, reason = "the exact integer is in the detail")]
    let number = |value: Option<&number_data_point::Value>| match value? {
        number_data_point::Value::AsDouble(value) => Some(*value),
        number_data_point::Value::AsInt(value) => Some(*value as f64),
    };
    macro_rules! rows {
        ($kind:literal, $of:expr, $value:expr) => {
            $of.data_points
                .iter()
                .map(|point| Point {
                    kind: $kind,
                    time: point.time_unix_nano,
                    value: $value(point),
                    detail: serde_json::to_string(point).unwrap_or_default(),
                    attributes: &point.attributes,
                })
                .collect()
        };
    }
    use opentelemetry_proto::tonic::metrics::v1::{
        ExponentialHistogramDataPoint as Exponential, HistogramDataPoint as Histogram, NumberDataPoint as Number,
        SummaryDataPoint as Summary,
    };
    match &metric.data {
        None => Vec::new(),
        Some(Data::Gauge(gauge)) => rows!("gauge", gauge, |point: &Number| number(point.value.as_ref())),
        Some(Data::Sum(sum)) => rows!("sum", sum, |point: &Number| number(point.value.as_ref())),
        Some(Data::Histogram(histogram)) => rows!("histogram", histogram, |point: &Histogram| point.sum),
        Some(Data::ExponentialHistogram(histogram)) => {
            rows!("exponential_histogram", histogram, |point: &Exponential| point.sum)
        }
        Some(Data::Summary(summary)) => rows!("summary", summary, |point: &Summary| Some(point.sum)),
    }
}

fn service(resource: Option<&Resource>) -> &str {
    let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
    let name = attributes.iter().find(|attribute| attribute.key == "service.name");
    match name.and_then(|attribute| attribute.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(name)) => name,
        _ => "",
    }
}

fn text(body: Option<&AnyValue>) -> String {
    match body.and_then(|body| body.value.as_ref()) {
        None => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(_) => serde_json::to_string(&body).unwrap_or_default(),
    }
}

fn json(attributes: &[KeyValue]) -> String {
    // Strings, numbers and lists of them: there is nothing in it that JSON would refuse.
    serde_json::to_string(attributes).unwrap_or_default()
}

fn some(id: &[u8]) -> Option<&[u8]> {
    (!id.is_empty()).then_some(id)
}

/// SQLite has no greater integer; it is the year 2262.
fn sql_int(nanos: u64) -> i64 {
    i64::try_from(nanos).unwrap_or(i64::MAX)
}
