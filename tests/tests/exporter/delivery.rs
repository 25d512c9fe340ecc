//! What is handed over arrives, and the books say so.

use crate::support::{balanced, emit, line, record, soon, to};
use forebay::{
    batch::Batching,
    core::{DropReason, Fate},
    export::{Compression, ExportErrorKind, ExportErrorStatus},
    otlp::Protocol,
};
use forebay_testkit::receiver::{Fault, Faults, Receiver};
use http::StatusCode;
use std::time::Duration;
use tower::ServiceExt;

const LINES: usize = 1_500;

/// Q14, at the level of the exporter: the books balance at every look, and agree with those of the server.
#[tokio::test]
async fn q14_every_line_has_one_fate_whatever_the_server_does() {
    for (seed, protocol) in Protocol::ALL.into_iter().enumerate() {
        let faults: Faults =
            "503:8,429=0:2,502:2,504:2,reset:3,reset-unprocessed:2,truncated:3,slow=20ms:3".parse().unwrap();
        let receiver = Receiver::builder().faults(faults).seed(seed as u64).start().await.unwrap();
        let exporter =
            to(&receiver, protocol).batching(Batching::new().max_items(20).max_in_flight(4)).build().unwrap();
        for start in (0..LINES).step_by(100) {
            emit(&exporter, start..start + 100);
            balanced(exporter.totals());
            tokio::task::yield_now().await;
        }
        soon(exporter.flush()).await;
        let totals = balanced(exporter.totals());
        assert_eq!((totals.offered, totals.delivered, totals.pending), (1_500, 1_500, 0), "{protocol}: {totals}");
        receiver.shutdown().await;
        let audit = receiver.audit((0..LINES).map(line));
        assert!(audit.is_sound(), "{protocol}: {audit:?}");
        assert!(exporter.counters().retries > 0);
    }
}

#[tokio::test]
async fn flush_means_settled_for_all_that_came_before() {
    let receiver = Receiver::builder().faults("slow=30ms:100".parse().unwrap()).start().await.unwrap();
    let exporter = to(&receiver, Protocol::HttpProtobuf).batching(Batching::new().max_delay(Duration::from_secs(600)));
    let exporter = exporter.build().unwrap();
    emit(&exporter, 0..10);
    soon(exporter.flush()).await;
    assert_eq!((exporter.totals().delivered, exporter.totals().pending), (10, 0));
    assert_eq!(receiver.count(line(9)).accepted, 1);
}

#[tokio::test]
async fn every_compression_of_every_protocol_arrives_as_it_was() {
    let receiver = Receiver::builder().start().await.unwrap();
    for (round, protocol) in Protocol::ALL.into_iter().enumerate() {
        for (step, compression) in [Compression::None, Compression::gzip(), Compression::zstd()].into_iter().enumerate()
        {
            let exporter = to(&receiver, protocol).compression(compression).user_agent("shop/1.2").build().unwrap();
            let first = (round * 3 + step) * 10;
            emit(&exporter, first..first + 10);
            let report = exporter.shutdown(Duration::from_secs(20)).await;
            assert_eq!(report.totals.delivered, 10, "{protocol} {compression:?}: {:?}", report.last_error);
        }
    }
    assert!(receiver.audit((0..90).map(line)).is_sound());
    for request in receiver.requests() {
        let ours = concat!("shop/1.2 forebay/", env!("CARGO_PKG_VERSION"), " (rust)");
        assert_eq!(request.header("user-agent"), Some(ours));
        if request.path().starts_with("/opentelemetry") {
            assert_eq!((request.header("te"), request.header("grpc-timeout")), (Some("trailers"), Some("10000m")));
            assert_eq!(request.header("grpc-accept-encoding"), Some("identity,gzip,zstd"));
        }
    }
}

/// R10: a batch is encoded once.
#[tokio::test]
async fn r10_every_attempt_has_the_same_bytes() {
    for protocol in Protocol::ALL {
        let away = Fault::status(StatusCode::SERVICE_UNAVAILABLE);
        let receiver = Receiver::builder().script([away.clone(), away.clone(), away]).start().await.unwrap();
        let exporter = to(&receiver, protocol).compression(Compression::gzip()).build().unwrap();
        emit(&exporter, 0..7);
        soon(exporter.flush()).await;
        let requests = receiver.requests();
        assert_eq!(requests.len(), 4);
        assert!(requests.iter().all(|request| request.body == requests[0].body), "{protocol}");
        let previous: Vec<_> = requests.iter().map(|request| request.header("grpc-previous-rpc-attempts")).collect();
        match protocol {
            Protocol::Grpc => assert_eq!(previous, [None, Some("1"), Some("2"), Some("3")]),
            _ => assert_eq!(previous, [None; 4]),
        }
        assert_eq!((exporter.counters().requests, exporter.counters().retries), (4, 3));
    }
}

/// R11: what a partial success rejects is counted, and not sent again.
#[tokio::test]
async fn r11_what_a_partial_success_rejects_is_counted_and_never_sent_again() {
    for protocol in Protocol::ALL {
        let fault = Fault::Partial { rejected: 3, message: "too old".to_owned() };
        let receiver = Receiver::builder().script([fault]).start().await.unwrap();
        let exporter = to(&receiver, protocol).build().unwrap();
        emit(&exporter, 0..10);
        soon(exporter.flush()).await;
        let totals = balanced(exporter.totals());
        assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected)), (7, 3), "{protocol}");
        assert_eq!(receiver.requests().len(), 1);
    }
}

/// T16: one poison item costs itself alone, and few requests.
#[tokio::test]
async fn t16_one_poison_item_costs_itself_alone() {
    for protocol in Protocol::ALL {
        let receiver = Receiver::builder().refuse_if(|body| body == "poison").start().await.unwrap();
        let exporter = to(&receiver, protocol).batching(Batching::new().max_items(1_000)).build().unwrap();
        emit(&exporter, 0..500);
        exporter.emit(record("poison"));
        emit(&exporter, 500..999);
        soon(exporter.flush()).await;
        let totals = balanced(exporter.totals());
        assert_eq!((totals.delivered, totals.dropped.get(DropReason::Rejected)), (999, 1), "{protocol}: {totals}");
        assert!(receiver.requests().len() <= 22, "{protocol}: {}", receiver.requests().len());
        assert_eq!(exporter.counters().breaker_opens, 0);
        let error = exporter.last_error().unwrap();
        assert_eq!((error.kind(), error.status()), (ExportErrorKind::Refused, ExportErrorStatus::Permanent));
        assert_eq!(error.server_text().as_str(), "a record is malformed", "{protocol}");
        assert!(error.report().to_string().contains("a record is malformed"), "{}", error.report());
    }
}

/// T17: after a 413 the batches are small enough.
#[tokio::test]
async fn t17_after_a_413_batches_are_small_enough() {
    let receiver = Receiver::builder().max_records(60).start().await.unwrap();
    let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();
    emit(&exporter, 0..100);
    soon(exporter.flush()).await;
    let refused = receiver.requests().iter().filter(|request| request.status.unwrap() == 413).count();
    emit(&exporter, 100..400);
    soon(exporter.flush()).await;
    assert_eq!(exporter.totals().delivered, 400);
    let later = receiver.requests().iter().filter(|request| request.status.unwrap() == 413).count();
    assert_eq!((refused, later), (1, 1));
}

#[tokio::test]
async fn an_outage_longer_than_the_retries_is_waited_out() {
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let receiver = Receiver::builder().start().await.unwrap();
        let exporter = to(&receiver, protocol).build().unwrap();
        receiver.pause().await.unwrap();
        emit(&exporter, 0..300);
        // All attempts of the retry layer are used up, several times over.
        soon(async {
            while exporter.last_error().is_none_or(|error| error.kind() != ExportErrorKind::CircuitOpen) {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(exporter.totals().pending, 300);
        receiver.resume().await.unwrap();
        soon(exporter.flush()).await;
        assert_eq!(exporter.totals().delivered, 300);
        assert!(exporter.counters().breaker_opens > 0);
        assert!(receiver.audit((0..300).map(line)).is_sound());
    }
}

#[tokio::test]
async fn as_a_service_it_answers_each_item_with_its_fate() {
    let receiver = Receiver::builder().reject_if(|body| body == "bad").start().await.unwrap();
    let exporter = to(&receiver, Protocol::HttpJson).build().unwrap();
    let good = exporter.clone().oneshot(record("good"));
    let Ok(fate) = soon(good).await;
    assert_eq!(fate, Fate::Delivered);
    let Ok(fate) = soon(exporter.clone().oneshot(record("bad"))).await;
    assert_eq!(fate, Fate::Dropped(DropReason::Rejected));
    exporter.shutdown(Duration::ZERO).await;
    let Ok(fate) = soon(exporter.oneshot(record("late"))).await;
    assert_eq!(fate, Fate::Dropped(DropReason::Shutdown));
}
