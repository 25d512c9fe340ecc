//! A bulk API with a fate for each item, as that of Elasticsearch: many callers index one document each, the documents go in
//! bulk requests, and each caller learns what became of its own.
//!
//! The response to a bulk request is a 200 even where single documents failed. Those that the server had no room for (429) are
//! sent again, alone; those that it does not understand (400) are not.
//!
//! ```text
//! cargo run -p forebay-example-endpoints --bin bulk_api
//! ```

use bytes::Bytes;
use forebay::{
    batch::{Batch, BatchLayer, Batching, Items},
    core::{BoxError, DropReason, Fate, Footprint, ItemFate, Outcome, Settlement, Totals, http::StatusError},
    retry::{Backoff, RetryBuilder},
};
use forebay_example_support::{
    client::http_client,
    server::{http1_with, say},
};
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body::Body;
use http_body_util::{BodyExt, Full, Limited};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::task::JoinSet;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

const DOCUMENTS: u64 = 1_000;

#[derive(Clone, Debug)]
struct Document {
    id: u64,
    text: String,
}

/// The server: it keeps the documents by their ids.
#[derive(Clone, Default)]
struct Index(Arc<Mutex<Books>>);

#[derive(Default)]
struct Books {
    requests: u32,
    /// How many documents came, those that came again included.
    received: u64,
    /// Documents for which there was no room the first time.
    delayed: BTreeSet<u64>,
    /// How often each document was stored.
    stored: BTreeMap<u64, u32>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let index = Index::default();
    let server = index.clone();
    let address = http1_with(move |request| std::future::ready(server.respond(&request))).await?;
    let bulk = bulk(address)?;

    let mut callers = JoinSet::new();
    for id in 0..DOCUMENTS {
        let bulk = bulk.clone();
        callers.spawn(async move {
            // One in 250 cannot be understood.
            let text = if id % 250 == 42 { "\u{0}".to_owned() } else { format!("document {id}") };
            Ok::<_, BoxError>((id, bulk.oneshot(Document { id, text }).await?))
        });
    }
    let mut fates = BTreeMap::new();
    while let Some(caller) = callers.join_next().await {
        let (id, fate) = caller??;
        fates.insert(id, fate);
    }
    let totals = bulk.handle().drain(Duration::from_secs(5)).await.totals;
    report(&index.0.lock().unwrap_or_else(PoisonError::into_inner), &fates, &totals)
}

fn report(books: &Books, fates: &BTreeMap<u64, Fate>, totals: &Totals) -> Result<(), BoxError> {
    let Books { requests, received, delayed, stored } = books;
    let refused: Vec<_> = fates.iter().filter(|(_, fate)| **fate != Fate::Delivered).collect();
    let informed = fates.iter().filter(|(id, fate)| stored.contains_key(id) == (**fate == Fate::Delivered)).count();
    let again = received - DOCUMENTS;
    say(format_args!("server:  {} documents stored, from {requests} requests", stored.len()))?;
    say(format_args!("         {again} came twice; for {} of them there was no room at first", delayed.len()))?;
    say(format_args!("callers: {informed} of {} know what became of their document", fates.len()))?;
    for (id, fate) in &refused {
        say(format_args!("         document {id}: {fate}"))?;
    }
    say(format_args!("ledger:  {totals}"))?;

    assert_eq!(refused.iter().map(|(id, _)| **id).collect::<Vec<_>>(), [42, 292, 542, 792]);
    assert!(refused.iter().all(|(_, fate)| **fate == Fate::Dropped(DropReason::Rejected)));
    assert_eq!(stored.len() as u64, DOCUMENTS - 4);
    assert!(stored.values().all(|times| *times == 1), "what was stored is not sent again");
    // A hundred had to come twice, and one bulk request was refused as a whole: what it carried came twice as well.
    assert!(again > 100 && delayed.len() == 100 && *requests < 100, "{received} documents in {requests} requests");
    assert_eq!(informed as u64, DOCUMENTS);
    assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected)), (DOCUMENTS - 4, 4));
    Ok(())
}

/// A service that takes one document, and says its fate.
fn bulk(address: SocketAddr) -> Result<Batch<Document, Fate>, BoxError> {
    // A bulk request is a POST. It may be sent again whatever became of it, for the server knows a document by its id.
    let client = ServiceBuilder::new()
        .layer(RetryBuilder::http().methods([Method::POST]).backoff(short()).build()?)
        .layer(tower::timeout::TimeoutLayer::new(Duration::from_secs(2)))
        .service(http_client());
    let post = service_fn(move |documents: Items<Document>| {
        let client = client.clone();
        async move {
            let request = Request::post(format!("http://{address}/_bulk"))
                .header(CONTENT_TYPE, "application/x-ndjson")
                .body(Full::from(lines(&documents)))?;
            statuses(client.oneshot(request).await?).await
        }
    });
    let layer = BatchLayer::builder()
        // No document waits for another: while one request is under way, those of the next one gather.
        .batching(Batching::new().max_items(100).max_delay(Duration::ZERO))
        // Kept, so that a part of a batch can be sent again.
        .retain_items()
        .settle(settle)
        .park_backoff(short())
        .respond_fates()
        .build()?;
    Ok(layer.layer(post))
}

fn short() -> Backoff {
    Backoff::exponential(Duration::from_millis(20)).cap(Duration::from_millis(200))
}

/// What the statuses of a bulk response mean for its documents.
fn settle(result: &Result<Vec<u16>, BoxError>, _: usize) -> Settlement {
    let statuses = match result {
        Ok(statuses) => statuses,
        Err(error) => return Settlement::of_error(error),
    };
    let fates = statuses.iter().map(|status| match status {
        200..300 => ItemFate::Final(Fate::Delivered),
        429 => ItemFate::Retry(DropReason::RetriesExhausted),
        _ => ItemFate::Final(Fate::Dropped(DropReason::Rejected)),
    });
    Settlement::Each(fates.collect())
}

/// Two lines for each document: what is to be done, and the document.
fn lines(documents: &[Document]) -> String {
    let mut body = String::new();
    for Document { id, text } in documents {
        let (action, source) = (json!({ "create": { "_id": id } }), json!({ "text": text }));
        // Writing into a string does not fail.
        let _infallible = writeln!(body, "{action}\n{source}");
    }
    body
}

/// The status of each document, in the order of the request.
async fn statuses<B>(response: Response<B>) -> Result<Vec<u16>, BoxError>
where
    B: Body<Error: Into<BoxError>>,
{
    let status = response.status();
    if !status.is_success() {
        // Its verdict says whether the batch as a whole may be sent again.
        return Err(StatusError::new(status, Outcome::RETRYABLE).into());
    }
    let body = Limited::new(response.into_body(), 1 << 20).collect().await?.to_bytes();
    let body: Value = serde_json::from_slice(&body)?;
    let items = body["items"].as_array().ok_or("a bulk response without items")?;
    let status = |item: &Value| item["create"]["status"].as_u64().and_then(|status| u16::try_from(status).ok());
    items.iter().map(|item| status(item).ok_or_else(|| "an item without a status".into())).collect()
}

// === impl Document ===

impl Footprint for Document {
    fn heap(&self) -> usize {
        self.text.heap()
    }
}

// === impl Index ===

impl Index {
    fn respond(&self, request: &Request<Bytes>) -> Response<Full<Bytes>> {
        let mut books = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        books.requests += 1;
        let lines = String::from_utf8_lossy(request.body());
        let mut lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap_or_default());
        let mut documents = Vec::new();
        while let (Some(action), Some(source)) = (lines.next(), lines.next()) {
            documents.push((action["create"]["_id"].as_u64().unwrap_or_default(), source));
        }
        books.received += documents.len() as u64;
        if books.requests == 3 {
            // Too busy for the whole request.
            return response(StatusCode::TOO_MANY_REQUESTS, "{}".to_owned());
        }
        let items: Vec<_> = documents.iter().map(|(id, source)| books.create(*id, source)).collect();
        let errors = items.iter().any(|item| item["create"]["status"] != 201);
        response(StatusCode::OK, json!({ "errors": errors, "items": items }).to_string())
    }
}

impl Books {
    fn create(&mut self, id: u64, source: &Value) -> Value {
        let failed =
            |status: u16, kind: &str| json!({ "create": { "_id": id, "status": status, "error": { "type": kind } } });
        if source["text"] == "\u{0}" {
            return failed(400, "document_parsing_exception");
        }
        // No room for one in ten of them, when it sees them for the first time.
        if id % 10 == 5 && self.delayed.insert(id) {
            return failed(429, "es_rejected_execution_exception");
        }
        *self.stored.entry(id).or_default() += 1;
        json!({ "create": { "_id": id, "status": 201 } })
    }
}

fn response(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response
}
