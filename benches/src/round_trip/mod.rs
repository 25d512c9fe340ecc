//! An exporter and a receiver on this machine, with a proxy between them that delays each byte: half of a round trip each way.

mod proxy;

use crate::e2e::{
    contenders::http_client,
    record::{SCOPE, SERVICE, orders},
};
use forebay_batch::{Adaptive, Batching, MaxInFlight};
use forebay_export::Exporter;
use forebay_otlp::{LogsEncoder, Resource, Scope};
use forebay_queue::Limits;
use proxy::Far;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// The round trips that are measured.
pub const ROUND_TRIPS: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(200)];

/// A name, and how many batches are in flight.
pub type Contender = (&'static str, fn() -> MaxInFlight);

/// How many batches are in flight, by name.
pub static CONTENDERS: [Contender; 4] = [
    ("1", || MaxInFlight::Fixed(1)),
    ("4", || MaxInFlight::Fixed(4)),
    ("16", || MaxInFlight::Fixed(16)),
    ("Adaptive", || MaxInFlight::Adaptive(Adaptive::default())),
];

/// What was delivered.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Records per second, from the first one on.
    pub records_per_second: f64,
    /// The most requests that were under way at a time.
    pub most: usize,
}

/// Delivers as many records as possible for `time`, in batches of 512.
///
/// # Panics
///
/// When no server can be started.
#[must_use]
pub fn measure(round_trip: Duration, in_flight: MaxInFlight, time: Duration) -> Found {
    let far = Far::start(round_trip);
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let encoder = LogsEncoder::builder()
        .resource(Resource::new().attribute("service.name", SERVICE))
        .scope(Scope::new(SCOPE))
        .build()
        .expect("an encoder");
    let exporter = Exporter::builder()
        .endpoint(&format!("http://{}/v1/logs", far.address()))
        .client(http_client())
        .encoder(encoder)
        .batching(Batching::new().max_in_flight(in_flight))
        .limits(Limits::new().items(256 * 512).soft_limit(1.0))
        .runtime(runtime.handle().clone())
        .quiet()
        .build()
        .expect("an exporter");
    let start = Instant::now();
    runtime.block_on(async {
        let mut orders = orders();
        while start.elapsed() < time {
            for order in orders.by_ref().take(64) {
                exporter.emit_or_wait(order).await.expect("it is open");
            }
        }
    });
    let elapsed = start.elapsed().as_secs_f64();
    Found { records_per_second: exporter.totals().delivered as f64 / elapsed, most: far.most() }
}
