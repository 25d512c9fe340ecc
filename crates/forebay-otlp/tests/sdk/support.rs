//! A receiver and an exporter that know each other, and flat views of requests.

use bytes::Bytes;
use forebay_batch::Batching;
use forebay_export::{Exporter, ExporterBuilder};
use forebay_testkit::receiver::{
    Fault, Payload, Receiver,
    proto::{
        common::v1::InstrumentationScope,
        logs::v1::{LogRecord, ResourceLogs},
        resource::v1::Resource,
        trace::v1::{ResourceSpans, Span},
    },
};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use std::time::Duration;

pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

/// An item, and all that surrounds it in a request.
pub(crate) type Flat<T> = (Resource, String, InstrumentationScope, String, T);

pub(crate) async fn receiver(script: impl IntoIterator<Item = Fault>) -> Receiver {
    Receiver::builder().script(script).start().await.unwrap()
}

/// Sends small batches soon.
pub(crate) fn exporter<T>(receiver: &Receiver, path: &str) -> ExporterBuilder<T, (), Http> {
    exporter_to(&format!("{}{path}", receiver.endpoint()))
}

pub(crate) fn exporter_to<T>(url: &str) -> ExporterBuilder<T, (), Http> {
    let batching = Batching::new().max_items(100).max_age(Duration::from_millis(20));
    Exporter::builder().endpoint(url).client(Client::builder(TokioExecutor::new()).build_http()).batching(batching)
}

pub(crate) fn flat_logs(logs: &[ResourceLogs]) -> Vec<Flat<LogRecord>> {
    let mut all = Vec::new();
    for resource in logs {
        for scope in &resource.scope_logs {
            for record in &scope.log_records {
                let of = (resource.resource.clone().unwrap_or_default(), resource.schema_url.clone());
                let scope_of = (scope.scope.clone().unwrap_or_default(), scope.schema_url.clone());
                all.push((of.0, of.1, scope_of.0, scope_of.1, record.clone()));
            }
        }
    }
    sorted(all)
}

pub(crate) fn flat_spans(spans: &[ResourceSpans]) -> Vec<Flat<Span>> {
    let mut all = Vec::new();
    for resource in spans {
        for scope in &resource.scope_spans {
            for span in &scope.spans {
                let of = (resource.resource.clone().unwrap_or_default(), resource.schema_url.clone());
                let scope_of = (scope.scope.clone().unwrap_or_default(), scope.schema_url.clone());
                let mut span = span.clone();
                // A status without anything in it says nothing.
                span.status = span.status.filter(|status| *status != Default::default());
                all.push((of.0, of.1, scope_of.0, scope_of.1, span));
            }
        }
    }
    sorted(all)
}

/// Attributes of a resource have no order.
fn sorted<T: std::fmt::Debug>(mut all: Vec<Flat<T>>) -> Vec<Flat<T>> {
    all.iter_mut().for_each(|(resource, ..)| resource.attributes.sort_by(|one, other| one.key.cmp(&other.key)));
    all.sort_by_cached_key(|(.., item)| format!("{item:?}"));
    all
}

/// All that a receiver took in, in one list.
pub(crate) fn received_logs(receiver: &Receiver) -> Vec<Flat<LogRecord>> {
    let mut all = Vec::new();
    for request in receiver.requests() {
        if let Some(Payload::Logs(logs)) = request.accepted.as_deref() {
            all.extend(flat_logs(&logs.resource_logs));
        }
    }
    sorted(all)
}

pub(crate) fn received_spans(receiver: &Receiver) -> Vec<Flat<Span>> {
    let mut all = Vec::new();
    for request in receiver.requests() {
        if let Some(Payload::Traces(traces)) = request.accepted.as_deref() {
            all.extend(flat_spans(&traces.resource_spans));
        }
    }
    sorted(all)
}
