//! Events to a webhook: the exporter over an endpoint that is not OTLP's, by an encoder of 40 lines.
//!
//! The encoder says how a batch becomes the body of a request, and what a response means for each of its items. All else is the
//! exporter's: limits, batches, retries, the circuit, the shutdown, and the books.
//!
//! ```text
//! cargo run -p forebay-example-endpoints --bin webhook
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use forebay::{
    core::{BoxError, DropReason, Fate, Footprint, ItemFate, Settlement},
    export::{Backoff, Batching, Encode, Exporter, Skipped},
};
use forebay_example_support::{
    client::http_client,
    server::{http1_with, say},
};
use http::{HeaderValue, Request, Response, StatusCode, header::AUTHORIZATION, response::Parts};
use http_body_util::Full;
use serde_json::{Value, json};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

const EVENTS: u64 = 500;

/// Something that has happened, and that another company's server wants to know.
#[derive(Debug)]
struct Event {
    id: u64,
    kind: &'static str,
    order: String,
}

/// `{"events":[..]}`, and a response that names what was refused: `{"refused":[7]}`.
struct Webhook;

/// The server of the other company.
#[derive(Clone, Default)]
struct Receiver(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    requests: u32,
    unauthorized: u32,
    /// The ids of the events that were taken, in the order of their arrival.
    taken: Vec<u64>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let receiver = Receiver::default();
    let server = receiver.clone();
    let address = http1_with(move |request| std::future::ready(server.respond(&request))).await?;

    let exporter = Exporter::builder()
        .endpoint(&format!("http://{address}/hooks/orders"))
        // Never printed, and never sent to another host.
        .header("authorization", "Bearer s3cret")
        .encoder(Webhook)
        .client(http_client())
        .batching(Batching::new().max_items(100).max_delay(Duration::from_secs(1)))
        .retry(|retry| retry.backoff(Backoff::exponential(Duration::from_millis(20))))
        .build()?;

    for id in 1..=EVENTS {
        let kind = if id % 100 == 7 { "order.unknown" } else { "order.paid" };
        exporter.emit(Event { id, kind, order: format!("A-{id}") });
    }
    let report = exporter.shutdown(Duration::from_secs(10)).await;

    let books = receiver.0.lock().unwrap_or_else(PoisonError::into_inner);
    let Books { requests, unauthorized, taken } = &*books;
    let (totals, counters) = (report.totals, report.counters);
    say(format_args!("exporter: {totals}"))?;
    say(format_args!("          {} requests, {} of them retries", counters.requests, counters.retries))?;
    say(format_args!("receiver: {} events from {requests} requests, {unauthorized} without the secret", taken.len()))?;
    say(format_args!("refused:  {} events of a kind that it does not know", totals.dropped.get(DropReason::Rejected)))?;

    let expected: Vec<_> = (1..=EVENTS).filter(|id| id % 100 != 7).collect();
    assert_eq!(*taken, expected, "each event that it knows, once, and in order");
    assert_eq!((totals.offered, totals.delivered, totals.pending), (EVENTS, EVENTS - 5, 0));
    assert_eq!(totals.dropped.get(DropReason::Rejected), 5);
    assert_eq!((counters.requests, counters.retries, *requests, *unauthorized), (6, 1, 6, 0));
    Ok(())
}

// === impl Webhook ===

impl Encode<Event> for Webhook {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/json")
    }

    fn encode(&self, items: &[Event], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        let events: Vec<_> = items
            .iter()
            // The id lets the receiver know an event again that arrives twice.
            .map(|Event { id, kind, order }| json!({ "id": id, "type": kind, "order": order }))
            .collect();
        serde_json::to_writer(body.writer(), &json!({ "events": events }))?;
        Ok(Skipped::NONE)
    }

    /// Only a 2xx response comes here: what 429, 503 or 400 mean the exporter knows by itself.
    fn settle(&self, _: &Parts, body: &[u8], items: usize) -> Settlement {
        let mut fates = vec![ItemFate::Final(Fate::Delivered); items];
        let response: Value = serde_json::from_slice(body).unwrap_or_default();
        for index in response["refused"].as_array().into_iter().flatten() {
            let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
            if let Some(fate) = index.and_then(|index| fates.get_mut(index)) {
                *fate = ItemFate::Final(Fate::Dropped(DropReason::Rejected));
            }
        }
        Settlement::Each(fates)
    }
}

// === impl Event ===

/// What the queue counts against its limit in bytes: the item itself is known, and the memory behind it is this.
impl Footprint for Event {
    fn heap(&self) -> usize {
        self.order.heap()
    }
}

// === impl Receiver ===

impl Receiver {
    fn respond(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.requests += 1;
        if request.headers().get(AUTHORIZATION).is_none_or(|secret| secret != "Bearer s3cret") {
            books.unauthorized += 1;
            return response(StatusCode::UNAUTHORIZED, "{}".into());
        }
        if books.requests == 2 {
            // A restart, say.
            return response(StatusCode::SERVICE_UNAVAILABLE, "{}".into());
        }
        let body: Value = serde_json::from_slice(request.body()).unwrap_or_default();
        let mut refused = Vec::new();
        for (index, event) in body["events"].as_array().into_iter().flatten().enumerate() {
            match (event["type"].as_str(), event["id"].as_u64()) {
                (Some("order.paid"), Some(id)) => books.taken.push(id),
                _ => refused.push(index),
            }
        }
        response(StatusCode::OK, json!({ "refused": refused }).to_string())
    }
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}
