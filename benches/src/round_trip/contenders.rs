//! What sends the records.

use super::Server;
use crate::e2e::{
    contenders::{http_client, resource},
    record::{Order, SCOPE, SERVICE, orders},
};
use forebay_batch::{Adaptive, Batching, MaxInFlight};
use forebay_export::Exporter;
use forebay_otlp::{LogsEncoder, Resource, Scope};
use forebay_queue::Limits;
use opentelemetry::logs::LoggerProvider;
use opentelemetry_otlp::{LogExporter, Protocol, WithExportConfig};
use opentelemetry_sdk::{
    logs::{BatchConfigBuilder, SdkLoggerProvider, log_processor_with_async_runtime::BatchLogProcessor},
    runtime::Tokio,
};
use std::{
    env, fmt, fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

/// The records of a batch.
const BATCH: usize = 512;
/// Room for the batches of the largest fixed number in flight, and as many again.
const ROOM: usize = 512 * BATCH;
/// The name of the one that all others are compared with.
pub(super) const ONE: &str = "forebay, 1 in flight";

/// Sends records to a server until it has to stop.
type Send = Arc<dyn Fn(&Server, &AtomicBool) + std::marker::Send + Sync>;

/// What sends the records.
#[derive(Clone)]
pub struct Contender {
    /// Its name.
    pub name: &'static str,
    pub(super) send: Send,
}

/// All of them; the Collector only where its program is known.
#[must_use]
pub fn all(collector: Option<PathBuf>) -> Vec<Contender> {
    let mut all: Vec<_> = [
        ("forebay, Adaptive", MaxInFlight::Adaptive(Adaptive::default())),
        (ONE, MaxInFlight::Fixed(1)),
        ("forebay, 4 in flight", MaxInFlight::Fixed(4)),
        ("forebay, 16 in flight", MaxInFlight::Fixed(16)),
        ("forebay, 32 in flight", MaxInFlight::Fixed(32)),
        ("forebay, 64 in flight", MaxInFlight::Fixed(64)),
        ("forebay, 128 in flight", MaxInFlight::Fixed(128)),
        ("forebay, 200 in flight", MaxInFlight::Fixed(200)),
        ("forebay, 256 in flight", MaxInFlight::Fixed(256)),
    ]
    .into_iter()
    .map(|(name, in_flight)| Contender {
        name,
        send: Arc::new(move |server, stop| forebay(server.address(), in_flight, stop)),
    })
    .collect();
    all.push(Contender { name: "opentelemetry-otlp 0.33", send: Arc::new(sdk) });
    if let Some(program) = collector {
        let send: Send = Arc::new(move |server, stop| collect(&program, server.address(), stop));
        all.push(Contender { name: "Collector 0.161", send });
    }
    all
}

/// The fixed number of a contender with that name.
pub(super) fn fixed(name: &str) -> Option<usize> {
    name.strip_prefix("forebay, ")?.strip_suffix(" in flight")?.parse().ok()
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn forebay(to: SocketAddr, in_flight: MaxInFlight, stop: &AtomicBool) {
    let runtime = runtime();
    let encoder = LogsEncoder::builder()
        .resource(Resource::new().attribute("service.name", SERVICE))
        .scope(Scope::new(SCOPE))
        .build()
        .expect("an encoder");
    let exporter = Exporter::builder()
        .endpoint(&format!("http://{to}/v1/logs"))
        .client(http_client())
        .encoder(encoder)
        .batching(Batching::new().max_items(BATCH).max_in_flight(in_flight))
        .limits(Limits::new().items(ROOM).bytes(ROOM * size_of::<Order>() * 4).soft_limit(1.0))
        .runtime(runtime.handle().clone())
        .quiet()
        .build()
        .expect("an exporter");
    runtime.block_on(async {
        let mut orders = orders();
        while !stop.load(Relaxed) {
            for order in orders.by_ref().take(64) {
                exporter.emit_or_wait(order).await.expect("it is open");
            }
        }
    });
    // What is not delivered yet is not counted.
    runtime.shutdown_background();
}

/// It sends one batch at a time. It cannot wait for room, so it gets no more than it has room for.
fn sdk(server: &Server, stop: &AtomicBool) {
    const AHEAD: usize = 8 * BATCH;
    let runtime = runtime();
    let entered = runtime.enter();
    let url = format!("http://{}/v1/logs", server.address());
    let builder = LogExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(url);
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(2 * AHEAD)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(Duration::from_secs(1))
        .build();
    let processor = BatchLogProcessor::builder(builder.build().expect("an exporter"), Tokio).with_batch_config(config);
    let provider = SdkLoggerProvider::builder().with_resource(resource()).with_log_processor(processor.build()).build();
    drop(entered);
    let logger = provider.logger(SCOPE);
    let (mut orders, mut emitted) = (orders(), 0);
    while !stop.load(Relaxed) {
        if emitted < server.taken() + AHEAD as u64 {
            orders.by_ref().take(BATCH).for_each(|order| order.emit(&logger));
            emitted += BATCH as u64;
        } else {
            thread::sleep(Duration::from_millis(1));
        }
    }
    runtime.shutdown_background();
}

/// An exporter beside the Collector feeds it, so that its own exporter is what has the round trip: with its defaults, which are ten
/// consumers of a queue of 1,000 requests, but uncompressed as all others, and a full queue holds the feeder back and drops nothing.
fn collect(program: &Path, to: SocketAddr, stop: &AtomicBool) {
    let receiver = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let file = env::temp_dir().join(format!("forebay-round-trip-{}.yaml", process::id()));
    let configuration = format!(
        "receivers:\n  otlp:\n    protocols:\n      http: {{endpoint: '{receiver}'}}\n\
         exporters:\n  otlphttp:\n    endpoint: http://{to}\n    compression: none\n    \
         sending_queue: {{num_consumers: 10, queue_size: 1000, block_on_overflow: true}}\n\
         service:\n  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}\n  \
         pipelines:\n    logs: {{receivers: [otlp], exporters: [otlphttp]}}\n"
    );
    fs::write(&file, configuration).expect("a file");
    let mut collector = Command::new(program)
        .arg("--config")
        .arg(&file)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .expect("the Collector starts");
    while TcpStream::connect(receiver).is_err() {
        assert!(collector.try_wait().expect("a process").is_none(), "the Collector has ended");
        thread::sleep(Duration::from_millis(10));
    }
    forebay(receiver, MaxInFlight::Fixed(16), stop);
    collector.kill().expect("it runs");
    collector.wait().expect("it ends");
    fs::remove_file(&file).expect("its file");
}

// === impl Contender ===

impl fmt::Debug for Contender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).finish_non_exhaustive()
    }
}
