//! What sends the records.

use super::{
    BATCH, RECORDS,
    record::{self, Order, hand_request, orders, proto_request},
};
use crate::{bound::Bound, table::Kind};
use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use forebay_batch::Batching;
use forebay_export::{Compression, Exporter, ExporterBuilder};
use forebay_otlp::{LogsEncoder, Resource, Scope, sdk::ForebayLogProcessor};
use forebay_queue::Limits;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use opentelemetry::{KeyValue, logs::LoggerProvider};
use opentelemetry_otlp::{LogExporter, Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::{
    logs::{BatchConfigBuilder, SdkLoggerProvider, log_processor_with_async_runtime::BatchLogProcessor},
    runtime::Tokio,
};
use prost::Message;
use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

/// Sends [`RECORDS`] records.
#[derive(Debug)]
pub struct Contender {
    /// Its name.
    pub name: &'static str,
    pub(super) kind: Kind,
    pub(super) bounds: &'static [Bound],
    /// Gets ready, and gives the work that is measured.
    pub(super) prepare: fn(SocketAddr) -> Box<dyn FnOnce()>,
}

const fn row(
    name: &'static str,
    kind: Kind,
    bounds: &'static [Bound],
    prepare: fn(SocketAddr) -> Box<dyn FnOnce()>,
) -> Contender {
    Contender { name, kind, bounds, prepare }
}

/// All of them, plain and with gzip.
pub const ALL: &[Contender] = &[
    row("raw POST of ready bodies", Kind::Floor, &[], |to| raw(to, Packing::Plain)),
    row("raw POST through hyper-util", Kind::Ref, &[], raw_hyper),
    row(HAND, Kind::Ref, &[], |to| by_hand(to, Packing::Plain)),
    row("prost structs", Kind::Ref, &[], by_prost),
    row(OTLP, Kind::Rival, &[], |to| otlp(to, false)),
    row(
        "own type",
        Kind::Forebay,
        &[
            Bound::of(OTLP, 1.0 / 5.5),
            Bound::of(HAND, 1.0 / 0.65),
            Bound::extra("CPU us/record", 0.25),
            Bound::allocations(0.5),
            Bound::extra("peak RSS MB", 30.0),
        ],
        |to| own_type(to, Compression::None),
    ),
    row("SDK processor", Kind::Forebay, &[Bound::allocations(0.5)], |to| sdk(to, Compression::None)),
    row("raw POST of ready bodies, gzip", Kind::Floor, &[], |to| raw(to, Packing::Gzip)),
    row("by hand, gzip", Kind::Ref, &[], |to| by_hand(to, Packing::Gzip)),
    row(OTLP_GZIP, Kind::Rival, &[], |to| otlp(to, true)),
    row(
        "own type, gzip",
        Kind::Forebay,
        &[Bound::of(OTLP_GZIP, 1.0 / 5.0), Bound::allocations(0.5), Bound::extra("peak RSS MB", 30.0)],
        |to| own_type(to, Compression::gzip()),
    ),
    row("SDK processor, gzip", Kind::Forebay, &[Bound::allocations(0.5)], |to| sdk(to, Compression::gzip())),
];

const HAND: &str = "by hand";
const OTLP: &str = "opentelemetry-otlp";
const OTLP_GZIP: &str = "opentelemetry-otlp, gzip";

#[derive(Clone, Copy)]
enum Packing {
    Plain,
    Gzip,
}

/// One connection, written and read by hand.
struct Connection {
    stream: TcpStream,
    head: Vec<u8>,
    response: Vec<u8>,
}

impl Connection {
    fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server lives");
        stream.set_nodelay(true).expect("a TCP connection");
        Self { stream, head: Vec::new(), response: vec![0; 4096] }
    }

    fn post(&mut self, body: &[u8], packing: Packing) {
        let encoding = if let Packing::Gzip = packing { "content-encoding: gzip\r\n" } else { "" };
        self.head.clear();
        write!(
            self.head,
            "POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\n{encoding}content-length: {}\r\n\r\n",
            body.len()
        )
        .expect("memory");
        let parts = [std::io::IoSlice::new(&self.head), std::io::IoSlice::new(body)];
        let written = self.stream.write_vectored(&parts).expect("the server lives");
        if written < self.head.len() + body.len() {
            self.stream.write_all(&body[written - self.head.len()..]).expect("the server lives");
        }
        let read = self.stream.read(&mut self.response).expect("a response");
        assert!(self.response[..read].starts_with(b"HTTP/1.1 200"));
    }
}

fn pack(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Level::new(1));
    encoder.write_all(body).expect("memory");
    encoder.finish().expect("memory")
}

fn ready_body(packing: Packing) -> Vec<u8> {
    let mut body = Vec::new();
    hand_request(&orders().take(BATCH).collect::<Vec<_>>(), &mut body);
    if let Packing::Gzip = packing { pack(&body) } else { body }
}

fn raw(address: SocketAddr, packing: Packing) -> Box<dyn FnOnce()> {
    let (mut connection, body) = (Connection::to(address), ready_body(packing));
    Box::new(move || (0..RECORDS / BATCH).for_each(|_| connection.post(&body, packing)))
}

fn by_hand(address: SocketAddr, packing: Packing) -> Box<dyn FnOnce()> {
    let (mut connection, mut body) = (Connection::to(address), Vec::with_capacity(128 << 10));
    Box::new(move || {
        let mut orders = orders();
        let mut batch: Vec<Order> = Vec::with_capacity(BATCH);
        for _ in 0..RECORDS / BATCH {
            batch.clear();
            batch.extend(orders.by_ref().take(BATCH));
            hand_request(&batch, &mut body);
            match packing {
                Packing::Plain => connection.post(&body, packing),
                Packing::Gzip => connection.post(&pack(&body), packing),
            }
        }
    })
}

fn by_prost(address: SocketAddr) -> Box<dyn FnOnce()> {
    let mut connection = Connection::to(address);
    Box::new(move || {
        let mut orders = orders();
        for _ in 0..RECORDS / BATCH {
            let batch: Vec<_> = orders.by_ref().take(BATCH).collect();
            connection.post(&proto_request(&batch).encode_to_vec(), Packing::Plain);
        }
    })
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}/v1/logs")
}

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

pub(crate) fn http_client() -> Client<HttpConnector, Full<Bytes>> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).build(connector)
}

fn raw_hyper(address: SocketAddr) -> Box<dyn FnOnce()> {
    let (runtime, client, body) = (runtime(), http_client(), Bytes::from(ready_body(Packing::Plain)));
    Box::new(move || {
        let work = async move {
            for _ in 0..RECORDS / BATCH {
                let request = http::Request::post(url(address))
                    .header("content-type", "application/x-protobuf")
                    .body(Full::new(body.clone()))
                    .expect("a request");
                let response = client.request(request).await.expect("the server lives");
                drop(response.into_body().collect().await.expect("a response"));
            }
        };
        runtime.block_on(async { tokio::spawn(work).await.expect("no panic") });
    })
}

/// Room for what is emitted faster than it is sent; the producer waits when it is used up.
fn exporter<T>(
    address: SocketAddr,
    compression: Compression,
) -> ExporterBuilder<T, (), Client<HttpConnector, Full<Bytes>>> {
    Exporter::builder()
        .endpoint(&url(address))
        .client(http_client())
        .compression(compression)
        .batching(Batching::new().max_items(BATCH))
        .limits(Limits::new().items(16 * BATCH).soft_limit(1.0))
}

fn own_type(address: SocketAddr, compression: Compression) -> Box<dyn FnOnce()> {
    let runtime = runtime();
    let encoder = LogsEncoder::builder()
        .resource(Resource::new().attribute("service.name", record::SERVICE))
        .scope(Scope::new(record::SCOPE))
        .build()
        .expect("an encoder");
    let builder = exporter(address, compression).encoder(encoder).runtime(runtime.handle().clone());
    let exporter = builder.build().expect("an exporter");
    Box::new(move || {
        runtime.block_on(async {
            for order in orders().take(RECORDS) {
                exporter.emit_or_wait(order).await.expect("it is open");
            }
            exporter.flush().await;
        });
        let totals = exporter.totals();
        assert_eq!((totals.delivered, totals.dropped.total()), (RECORDS as u64, 0));
    })
}

pub(crate) fn resource() -> opentelemetry_sdk::Resource {
    opentelemetry_sdk::Resource::builder_empty().with_attribute(KeyValue::new("service.name", record::SERVICE)).build()
}

/// The SDK cannot wait for room, so there is enough.
fn sdk(address: SocketAddr, compression: Compression) -> Box<dyn FnOnce()> {
    let builder = exporter(address, compression).limits(Limits::new().items(2 * RECORDS));
    let processor = ForebayLogProcessor::builder(builder).build().expect("a processor");
    let provider = SdkLoggerProvider::builder().with_resource(resource()).with_log_processor(processor).build();
    Box::new(move || {
        let logger = provider.logger(record::SCOPE);
        orders().take(RECORDS).for_each(|order| order.emit(&logger));
        provider.force_flush().expect("nothing was dropped");
    })
}

/// As above; its processor runs on tokio, because its HTTP client does.
fn otlp(address: SocketAddr, gzip: bool) -> Box<dyn FnOnce()> {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut builder =
        LogExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(url(address));
    if gzip {
        builder = builder.with_compression(opentelemetry_otlp::Compression::Gzip);
    }
    let exporter = builder.build().expect("an exporter");
    let config = BatchConfigBuilder::default()
        .with_max_queue_size(2 * RECORDS)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(Duration::from_secs(1))
        .build();
    let processor = BatchLogProcessor::builder(exporter, Tokio).with_batch_config(config).build();
    let provider = SdkLoggerProvider::builder().with_resource(resource()).with_log_processor(processor).build();
    drop(_entered);
    Box::new(move || {
        let logger = provider.logger(record::SCOPE);
        orders().take(RECORDS).for_each(|order| order.emit(&logger));
        provider.force_flush().expect("nothing was dropped");
        drop(runtime);
    })
}
