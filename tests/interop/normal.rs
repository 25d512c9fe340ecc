//! Requests as flat lists of items, without what two messages may write differently that mean the same.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::InstrumentationScope,
    logs::v1::LogRecord,
    metrics::v1::{Metric, metric::Data},
    resource::v1::Resource,
    trace::v1::Span,
};
use prost::Message;

/// An item and where it comes from.
pub(crate) type Flat<T> = (Resource, InstrumentationScope, T);

/// A message that is there and empty means the same as one that is not; the Collector always writes some of them.
fn drop_empty<T: Default + PartialEq>(message: &mut Option<T>) {
    if message.as_ref().is_some_and(|message| *message == T::default()) {
        *message = None;
    }
}

pub(crate) fn logs(requests: &[ExportLogsServiceRequest]) -> Vec<Flat<LogRecord>> {
    let mut all = Vec::new();
    for resource in requests.iter().flat_map(|request| &request.resource_logs) {
        for scope in &resource.scope_logs {
            for record in &scope.log_records {
                let mut record = record.clone();
                drop_empty(&mut record.body);
                all.push((
                    resource.resource.clone().unwrap_or_default(),
                    scope.scope.clone().unwrap_or_default(),
                    record,
                ));
            }
        }
    }
    sorted(all)
}

pub(crate) fn spans(requests: &[ExportTraceServiceRequest]) -> Vec<Flat<Span>> {
    let mut all = Vec::new();
    for resource in requests.iter().flat_map(|request| &request.resource_spans) {
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let mut span = span.clone();
                drop_empty(&mut span.status);
                all.push((
                    resource.resource.clone().unwrap_or_default(),
                    scope.scope.clone().unwrap_or_default(),
                    span,
                ));
            }
        }
    }
    sorted(all)
}

pub(crate) fn metrics(requests: &[ExportMetricsServiceRequest]) -> Vec<Flat<Metric>> {
    let mut all = Vec::new();
    for resource in requests.iter().flat_map(|request| &request.resource_metrics) {
        for scope in &resource.scope_metrics {
            for metric in &scope.metrics {
                let mut metric = metric.clone();
                if let Some(Data::ExponentialHistogram(histogram)) = &mut metric.data {
                    for point in &mut histogram.data_points {
                        drop_empty(&mut point.positive);
                        drop_empty(&mut point.negative);
                    }
                }
                all.push((
                    resource.resource.clone().unwrap_or_default(),
                    scope.scope.clone().unwrap_or_default(),
                    metric,
                ));
            }
        }
    }
    sorted(all)
}

/// Batches come in any order.
pub(crate) fn sorted<T: Message>(mut all: Vec<Flat<T>>) -> Vec<Flat<T>> {
    all.sort_by_cached_key(|(resource, scope, item)| {
        (item.encode_to_vec(), scope.encode_to_vec(), resource.encode_to_vec())
    });
    all
}
