//! Another OTLP endpoint as the sink, through an exporter per signal.

use super::Sink;
use crate::{batch::Batch, receive::status::ExportResponse};
use bytes::BytesMut;
use forebay::{
    batch::Batching,
    core::{Advice, BoxError, ConfigError, DropReason, Fate, Seen, Settlement, Verdict},
    export::{Encode, Endpoint, Exporter, Skipped},
    otlp::Signal,
};
use forebay_example_support::client::http_client;
use http::{HeaderValue, response::Parts};
use prost::Message;
use std::{
    convert::Infallible,
    error::Error,
    fmt,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};
use tower::Service;

/// A batch was not forwarded.
#[derive(Clone, Debug)]
pub struct ForwardError(Verdict);

/// Batches as the body of one request.
///
/// In protobuf two messages one after the other are one message with the lists of both: the bodies are copied together, and
/// nothing is decoded.
#[derive(Debug)]
struct Together {
    rejected: Arc<AtomicU64>,
}

/// A sink that forwards to the OTLP/HTTP receiver at `base`, below which the paths of the signals lie; it takes what
/// `workers` workers bring at a time, and waits for it no longer than `patience`.
///
/// The second value counts the records that the receiver rejected in a partial success: they are not sent again.
///
/// # Errors
///
/// When the URL is not one.
pub fn forward(base: &str, workers: NonZeroUsize, patience: Duration) -> Result<(Sink, Arc<AtomicU64>), ConfigError> {
    let rejected = Arc::<AtomicU64>::default();
    let base: Endpoint = base.parse()?;
    let exporter = |signal: Signal| {
        Exporter::builder()
            .endpoint(&base.extended(signal.path())?.uri().to_string())
            .encoder(Together { rejected: Arc::clone(&rejected) })
            .client(http_client())
            .weigh(Batch::weight)
            // The workers wait for the answers: no more than they hold can come together.
            .batching(Batching::new().max_items(workers.get()).max_age(Duration::from_millis(20)).max_in_flight(4))
            // What waits longer goes to the dead letters, and comes back from there.
            .max_age(patience)
            .build()
    };
    let exporters = [exporter(Signal::Traces)?, exporter(Signal::Logs)?, exporter(Signal::Metrics)?];
    let ends = exporters.clone();
    let sink = Sink::of_fn(move |batch: Batch| {
        let [traces, logs, metrics] = &exporters;
        let mut exporter = match batch.signal {
            Signal::Traces => traces.clone(),
            Signal::Logs => logs.clone(),
            Signal::Metrics => metrics.clone(),
        };
        // A full exporter refuses at once, and is ready at any time.
        async move {
            let fate: Result<Fate, Infallible> = exporter.call(batch).await;
            match fate {
                Ok(Fate::Dropped(reason)) => Err(ForwardError::new(reason).into()),
                Ok(Fate::Delivered | Fate::Spooled) => Ok(()),
            }
        }
    });
    let sink = sink.on_close(|deadline| async move {
        let [traces, logs, metrics] = &ends;
        // The workers have had their answers; there is nothing in them any more.
        drop(tokio::join!(traces.shutdown(deadline), logs.shutdown(deadline), metrics.shutdown(deadline)));
    });
    Ok((sink, rejected))
}

// === impl Together ===

impl Encode<Batch> for Together {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/x-protobuf")
    }

    fn encode(&self, batches: &[Batch], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        body.reserve(batches.iter().map(|batch| batch.body.len()).sum());
        batches.iter().for_each(|batch| body.extend_from_slice(&batch.body));
        Ok(Skipped::NONE)
    }

    fn settle(&self, _: &Parts, body: &[u8], _: usize) -> Settlement {
        // It has been taken, whatever cannot be read of the answer; what it refused it will refuse again.
        if let Ok(ExportResponse { partial_success: Some(partial) }) = ExportResponse::decode(body) {
            self.rejected.fetch_add(u64::try_from(partial.rejected).unwrap_or(0), Relaxed);
        }
        Settlement::All(Fate::Delivered)
    }
}

// === impl ForwardError ===

impl ForwardError {
    fn new(reason: DropReason) -> Self {
        Self(Verdict::new(reason, Seen::Maybe, Advice::Retry))
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the batch was not forwarded")
    }
}

impl Error for ForwardError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}
