//! A client of the fleet that is an exporter.

use super::{EVERY, server::Server};
use bytes::{Bytes, BytesMut};
use forebay_core::{BoxError, chance::SplitMix64};
use forebay_export::{Backoff, Encode, Exporter, Jitter, Skipped};
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use std::time::Duration;
use tokio::time::sleep;
use tower::service_fn;

/// A byte for each item.
struct Bits;

impl Encode<()> for Bits {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, items: &[()], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        body.resize(items.len(), 1);
        Ok(Skipped::NONE)
    }
}

/// Starts an exporter with its default settings, but for the seeds of its jitter, and a task that hands it an item now and then.
pub(super) fn start(server: &Server, number: usize) {
    let (server, seed) = (server.clone(), number as u64);
    let client = service_fn(move |request: Request<Full<Bytes>>| {
        let server = server.clone();
        async move {
            let items = request.into_body().collect().await?.to_bytes().len();
            server.request(items).await?;
            Ok::<_, BoxError>(Response::new(Full::new(Bytes::new())))
        }
    });
    let attempts = Backoff::exponential(Duration::from_millis(100)).cap(Duration::from_secs(10)).jitter(Jitter::Full);
    let parked = Backoff::exponential(Duration::from_secs(1)).cap(Duration::from_secs(30)).jitter(Jitter::Equal);
    let exporter = Exporter::builder()
        .endpoint("https://far.example/")
        .encoder(Bits)
        .client(client)
        .retry(|retry| retry.backoff(attempts.seed(seed)))
        .breaker(|breaker| breaker.seed(seed))
        .park_backoff(parked.seed(seed))
        .quiet()
        .build()
        .expect("an exporter");
    tokio::spawn(async move {
        let mut times = times(number);
        loop {
            sleep(times.next()).await;
            exporter.emit(());
        }
    });
}

/// The times between the items of one client, from nothing to twice their mean.
pub(super) struct Times(SplitMix64);

pub(super) fn times(number: usize) -> Times {
    Times(SplitMix64::stream(7, number as u64))
}

// === impl Times ===

impl Times {
    pub(super) fn next(&mut self) -> Duration {
        EVERY.mul_f64(2.0 * self.0.unit())
    }
}
