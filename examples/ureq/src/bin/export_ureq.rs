//! The exporter over ureq, a client that blocks: on threads of their own, and never on more than two.
//!
//! The server does not respond to the first four requests. Each is given up after 200 ms, and sent again; the threads that still
//! wait for it are bounded all the same.
//!
//! ```text
//! cargo run -p forebay-example-ureq --bin export_ureq
//! ```

use forebay::{
    core::BoxError,
    export::{Backoff, Batching, Exporter},
    otlp::{LogRecord, LogsEncoder, Protocol, Severity},
};
use forebay_example_support::server::{http1_with, say};
use forebay_example_ureq::Blocking;
use http::Response;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

const RECORDS: u64 = 1_000;
const THREADS: usize = 2;
/// The requests to which the server does not respond.
const IGNORED: u32 = 4;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let (seen, responded) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (seen_there, responded_there) = (Arc::clone(&seen), Arc::clone(&responded));
    let address = http1_with(move |_| {
        let ignored = seen_there.fetch_add(1, Relaxed) < IGNORED;
        let responded = Arc::clone(&responded_there);
        async move {
            if ignored {
                std::future::pending::<()>().await;
            }
            responded.fetch_add(1, Relaxed);
            Response::default()
        }
    })
    .await?;

    let timeout = Duration::from_millis(200);
    // A little longer than an attempt, so that the timeout that is seen is the exporter's.
    let client = Blocking::new(THREADS, 2 * timeout);
    let exporter = Exporter::builder()
        .endpoint(&format!("http://{address}/v1/logs"))
        .encoder(LogsEncoder::builder().protocol(Protocol::HttpJson).build()?)
        .client(client.clone())
        .batching(Batching::new().max_items(100).max_delay(Duration::from_millis(50)).max_in_flight(8))
        .attempt_timeout(timeout)
        .retry(|retry| retry.max_retries(10).backoff(Backoff::constant(Duration::from_millis(100))).without_budget())
        .build()?;

    for number in 1..=RECORDS {
        exporter.emit(LogRecord::new(format!("record {number}")).severity(Severity::Info));
    }
    let report = exporter.shutdown(Duration::from_secs(10)).await;

    let (totals, counters, most) = (report.totals, report.counters, client.most_threads());
    say(format_args!("{totals}"))?;
    let (seen, responded) = (seen.load(Relaxed), responded.load(Relaxed));
    let (attempts, sent) = (counters.requests, u64::from(seen));
    let in_vain = attempts.saturating_sub(sent);
    say(format_args!("{attempts} attempts: {sent} were sent, {in_vain} waited for a thread in vain"))?;
    say(format_args!("the server has responded to {responded} of {seen} requests"))?;
    say(format_args!("at most {most} threads blocked at a time, of {THREADS} allowed"))?;

    assert_eq!((totals.delivered, totals.dropped.total(), totals.pending), (RECORDS, 0, 0));
    assert_eq!(most, THREADS, "eight batches are in flight, and two threads block");
    assert!(counters.retries >= u64::from(IGNORED), "what the server ignored was sent again");
    Ok(())
}
