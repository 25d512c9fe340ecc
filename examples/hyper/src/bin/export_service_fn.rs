//! An exporter over a function: how a program that exports is tested, without a network and without waiting.
//!
//! `cargo run -p forebay-example-hyper --bin export_service_fn`

use bytes::Bytes;
use forebay::{
    core::BoxError,
    export::Exporter,
    otlp::{LogRecord, LogsEncoder, Protocol},
};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

#[tokio::main(flavor = "current_thread")]
#[expect(clippy::print_stdout, reason = "a program that prints its result")]
async fn main() -> Result<(), BoxError> {
    // A server that is overloaded for two requests, and prints the third.
    let calls = Arc::new(AtomicU32::new(0));
    let client = tower::service_fn(move |request: Request<Full<Bytes>>| {
        let call = calls.fetch_add(1, Relaxed) + 1;
        async move {
            let mut response = Response::new(Full::<Bytes>::default());
            if call <= 2 {
                *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            } else {
                println!("{}", String::from_utf8_lossy(&request.into_body().collect().await?.to_bytes()));
            }
            Ok::<_, BoxError>(response)
        }
    });

    let exporter = Exporter::builder()
        .endpoint("https://collector.example/v1/logs")
        .encoder(LogsEncoder::builder().protocol(Protocol::HttpJson).build()?)
        .client(client)
        .build()?;
    exporter.emit(LogRecord::new("payment refused").attribute("order", "4711"));

    let report = exporter.shutdown(Duration::from_secs(5)).await;
    let (totals, counters) = (report.totals, report.counters);
    println!("delivered {} of {} in {} requests", totals.delivered, totals.offered, counters.requests);
    if totals.delivered == 1 { Ok(()) } else { Err("the record was lost".into()) }
}
