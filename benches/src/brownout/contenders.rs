//! What sends the records for real.

use super::{LATENCY, Load};
use crate::e2e::{
    contenders::{http_client, resource},
    record::{SCOPE, SERVICE, orders},
};
use forebay_batch::Batching;
use forebay_export::Exporter;
use forebay_otlp::{LogsEncoder, Resource, Scope};
use opentelemetry::logs::LoggerProvider;
use opentelemetry_otlp::{LogExporter, Protocol, WithExportConfig};
use opentelemetry_sdk::{
    logs::{SdkLoggerProvider, log_processor_with_async_runtime::BatchLogProcessor},
    runtime::Tokio,
};
use std::{net::SocketAddr, time::Duration};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep_until},
};

/// Hands the records of a load over, ends when all of them have met their fates, and returns how many there were.
pub(super) type Send = fn(Load, SocketAddr) -> usize;

/// All of them, by name.
pub(super) static CONTENDERS: [(&str, Send); 2] = [("forebay, 8 in flight", forebay), ("opentelemetry-otlp 0.33", sdk)];

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/v1/logs")
}

/// Calls `hand_over` once for each batch, in time.
async fn pace(load: Load, mut hand_over: impl FnMut()) {
    let start = Instant::now();
    for round in 1..=load.rounds() {
        hand_over();
        sleep_until(start + load.every().mul_f64(round as f64)).await;
    }
}

/// With its defaults, but that a batch need not be full: it is sent before the next records come.
fn forebay(load: Load, to: SocketAddr) -> usize {
    let runtime = runtime();
    let encoder = LogsEncoder::builder()
        .resource(Resource::new().attribute("service.name", SERVICE))
        .scope(Scope::new(SCOPE))
        .build()
        .expect("an encoder");
    let exporter = Exporter::builder()
        .endpoint(&url(to))
        .client(http_client())
        .encoder(encoder)
        .batching(Batching::new().max_delay(LATENCY / 2).max_in_flight(8))
        .runtime(runtime.handle().clone())
        .quiet()
        .build()
        .expect("an exporter");
    let (mut orders, mut offered) = (orders(), 0);
    runtime.block_on(async {
        pace(load, || {
            offered += load.size.records();
            // A record that finds no room is lost, and counted as such.
            orders.by_ref().take(load.size.records()).for_each(|order| exporter.emit(order));
        })
        .await;
        exporter.flush().await;
    });
    offered
}

/// With its defaults: 2,048 records, 512 a batch, one batch at a time, 3 retries.
fn sdk(load: Load, to: SocketAddr) -> usize {
    let runtime = runtime();
    let _entered = runtime.enter();
    let builder = LogExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(url(to));
    let processor = BatchLogProcessor::builder(builder.build().expect("an exporter"), Tokio).build();
    let provider = SdkLoggerProvider::builder().with_resource(resource()).with_log_processor(processor).build();
    drop(_entered);
    let (mut orders, mut offered) = (orders(), 0);
    let logger = provider.logger(SCOPE);
    runtime.block_on(async {
        pace(load, || {
            offered += load.size.records();
            orders.by_ref().take(load.size.records()).for_each(|order| order.emit(&logger));
        })
        .await;
    });
    // What it could not deliver is known to the server.
    let _lost = provider.force_flush();
    let _lost = provider.shutdown_with_timeout(Duration::from_secs(30));
    offered
}
