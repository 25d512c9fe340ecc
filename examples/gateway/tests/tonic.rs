//! The exporter against a real gRPC server: tonic's, which refuses messages that are too large for it.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay::{
    batch::Batching,
    export::{Compression, Exporter},
    otlp::{LogRecord, LogsEncoder, Protocol},
    queue::Limits,
};
use forebay_example_support::client::grpc_client;
use opentelemetry_proto::tonic::{
    collector::logs::v1::{
        ExportLogsServiceRequest, ExportLogsServiceResponse,
        logs_service_server::{LogsService, LogsServiceServer},
    },
    common::v1::any_value::Value,
};
use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::net::TcpListener;
use tonic::{Request, Response, Status, codec::CompressionEncoding};

/// The texts of the records that came, in the order of their coming.
#[derive(Clone, Default)]
struct Collected(Arc<Mutex<Vec<String>>>);

#[tonic::async_trait]
impl LogsService for Collected {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let scopes = request.into_inner().resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        let texts = scopes.flat_map(|scope| scope.log_records).filter_map(|record| match record.body?.value? {
            Value::StringValue(text) => Some(text),
            _ => None,
        });
        self.0.lock().unwrap().extend(texts);
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

/// A server that takes messages of `limit` bytes, compressed or not; its address.
async fn serve(collected: Collected, limit: usize) -> String {
    let service =
        LogsServiceServer::new(collected).max_decoding_message_size(limit).accept_compressed(CompressionEncoding::Gzip);
    let path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    let router = axum::Router::new().route_service(path, service);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// F08: tonic refuses before it unpacks a message, and after it; both batches are cut, and all of them is delivered.
#[tokio::test]
async fn f08_a_batch_that_is_too_large_for_a_server_of_tonic_is_cut_and_delivered() {
    const RECORDS: usize = 400;
    for compression in [Compression::None, Compression::gzip()] {
        let collected = Collected::default();
        let url = serve(collected.clone(), 64 << 10).await;
        let exporter = Exporter::builder()
            .endpoint(&url)
            .encoder(LogsEncoder::builder().protocol(Protocol::Grpc).build().unwrap())
            .client(grpc_client())
            .compression(compression)
            .limits(Limits::new().soft_limit(1.0))
            .batching(Batching::new().max_items(RECORDS).max_age(Duration::from_secs(3600)))
            .build()
            .unwrap();
        // A kilobyte each, which compresses well: a batch is small on the wire, and large once it is unpacked.
        let text = |number: usize| format!("{number} {}", "x".repeat(1_000));
        (0..RECORDS).for_each(|number| exporter.emit(LogRecord::new(text(number))));
        tokio::time::timeout(Duration::from_secs(30), exporter.flush()).await.unwrap();
        let (totals, counters) = (exporter.totals(), exporter.counters());
        assert_eq!((totals.delivered, totals.dropped.total()), (RECORDS as u64, 0), "{compression:?}: {totals}");
        assert!(counters.requests >= 8, "{compression:?}: {counters:?}");
        let came = collected.0.lock().unwrap().clone();
        let expected: BTreeSet<_> = (0..RECORDS).map(text).collect();
        assert_eq!((came.len(), came.into_iter().collect::<BTreeSet<_>>()), (RECORDS, expected), "{compression:?}");
    }
}
