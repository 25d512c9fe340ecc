//! Every signal in every protocol and compression: what the Collector took is what was emitted, field by field.

use crate::{
    any::{self, values::Doubles},
    collector::Collector,
    normal::{self, Flat},
    tee::Tee,
};
use forebay::{
    batch::Batching,
    core::Footprint,
    export::{Compression, Encode, Exporter},
    otlp::{Encoder, Protocol, Signal, SignalKind},
};
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use proptest::{
    prelude::Strategy,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use prost::Message;
use serde::de::DeserializeOwned;
use std::{fmt::Debug, time::Duration};

const ITEMS: usize = 300;

/// What is compared of one signal.
struct Views<T, M, P> {
    /// The request that a writer of OTLP other than ours makes of the same items.
    expected: fn(&[T]) -> M,
    flat: fn(&[M]) -> Vec<Flat<P>>,
    taken: fn(&Collector) -> Vec<M>,
}

/// The same arbitrary items in every run.
fn items<T: Debug>(strategy: impl Strategy<Value = T>) -> Vec<T> {
    let mut runner = TestRunner::new_with_rng(Config::default(), TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    (0..ITEMS).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

async fn check<S, T, M, P>(signal: Signal, items: impl Fn(Doubles) -> Vec<T>, views: Views<T, M, P>)
where
    S: SignalKind,
    Encoder<S>: Encode<T>,
    T: Clone + Footprint + Send + Sync + 'static,
    M: Message + Default + DeserializeOwned,
    P: Message + Debug,
{
    for protocol in Protocol::ALL {
        // In JSON NaN and the infinities are text, which `opentelemetry-proto` does not read.
        let items = items(if protocol == Protocol::HttpJson { Doubles::Finite } else { Doubles::All });
        for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
            let name = format!("{signal} {protocol} {compression:?}");
            let collector = Collector::started(&name.replace(['/', ' '], "-")).await;
            let client = Tee::for_protocol(protocol);
            let exporter = Exporter::builder()
                .endpoint(&collector.url_for(protocol, signal))
                .encoder(Encoder::<S>::builder().protocol(protocol).build().unwrap())
                .client(client.clone())
                .compression(compression)
                .batching(Batching::new().max_items(64))
                .build()
                .unwrap();
            items.iter().cloned().for_each(|item| exporter.emit(item));
            let report = exporter.shutdown(Duration::from_secs(10)).await;
            assert_eq!((report.totals.delivered, report.totals.dropped.total()), (ITEMS as u64, 0), "{name}");
            assert_eq!(report.counters.requests, ITEMS.div_ceil(64) as u64, "{name}");

            let expected = (views.flat)(&[(views.expected)(&items)]);
            assert_eq!(expected.len(), ITEMS);
            compare(&name, "was sent", &(views.flat)(&client.read().await), &expected);
            let taken = collector.wait_for(ITEMS, |collector| (views.flat)(&(views.taken)(collector))).await;
            compare(&name, "was taken", &taken, &expected);
            println!("{name}: {ITEMS} items as emitted");
        }
    }
}

/// By their bytes, which tell a NaN from another.
fn compare<P: Message + Debug>(name: &str, what: &str, found: &[Flat<P>], expected: &[Flat<P>]) {
    let bytes =
        |(resource, scope, item): &Flat<P>| (resource.encode_to_vec(), scope.encode_to_vec(), item.encode_to_vec());
    let differ = found.iter().zip(expected).find(|(found, expected)| bytes(found) != bytes(expected));
    if let Some((found, expected)) = differ {
        panic!("{name}: {what}\n{found:#?}\nfor\n{expected:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{name}: {what}");
}

#[tokio::test]
async fn logs() {
    let views = Views { expected: any::logs::proto_request, flat: normal::logs, taken: Collector::logs };
    check::<forebay::otlp::Logs, _, ExportLogsServiceRequest, _>(
        Signal::Logs,
        |doubles| items(any::logs::record(doubles)),
        views,
    )
    .await;
}

#[tokio::test]
async fn traces() {
    let views = Views { expected: any::traces::proto_request, flat: normal::spans, taken: Collector::traces };
    check::<forebay::otlp::Traces, _, ExportTraceServiceRequest, _>(
        Signal::Traces,
        |doubles| items(any::traces::span(doubles)),
        views,
    )
    .await;
}

#[tokio::test]
async fn metrics() {
    let views = Views { expected: any::metrics::proto_request, flat: normal::metrics, taken: Collector::metrics };
    check::<forebay::otlp::Metrics, _, ExportMetricsServiceRequest, _>(
        Signal::Metrics,
        |doubles| items(any::metrics::metric(doubles)),
        views,
    )
    .await;
}
