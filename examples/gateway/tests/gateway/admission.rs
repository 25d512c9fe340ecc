//! Who gets in when there is too little room.

use crate::support::{Gate, Kind, Sender, assert_ledger, batches, config, metrics, span, traces, until, value};
use forebay::{core::DropReason, otlp::Signal, queue::Limits};
use forebay_gateway::{Config, Gateway, SoftRefusal, StartError};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use std::num::NonZeroUsize;
use tonic::Code;

fn one_worker(limits: Limits) -> Config {
    Config { limits, workers: NonZeroUsize::MIN, ..config() }
}

#[tokio::test]
async fn nothing_is_accepted_and_takes_no_slot() {
    let gate = Gate::closed();
    let gateway = Gateway::start(one_worker(Limits::new().items(1)), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for _ in 0..5 {
        assert!(sender.post(Signal::Traces, &[], Vec::new()).await.is_taken());
        assert!(sender.post(Signal::Traces, &[], traces(Vec::new()).encode_to_vec()).await.is_taken());
    }
    assert_eq!(gateway.summary().queue.offered, 0);
    assert!(sender.send(Kind::Failed, 1).await.is_taken(), "the one slot is free");
}

#[tokio::test]
async fn q01_to_q04_healthy_up_to_the_soft_limit_urgent_up_to_full_then_nothing() {
    let gate = Gate::closed();
    let gateway = Gateway::start(one_worker(Limits::new().items(10).soft_limit(0.5)), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..5 {
        assert!(sender.send(Kind::Healthy, n).await.is_taken());
    }
    assert_eq!(sender.send(Kind::Healthy, 5).await.rejected(), 1, "the sender learns it, and must not try again");
    for n in 6..11 {
        assert!(sender.send(if n % 2 == 0 { Kind::Failed } else { Kind::Slow }, n).await.is_taken());
    }
    for kind in [Kind::Failed, Kind::Slow, Kind::Healthy] {
        let reply = sender.send(kind, 11).await;
        assert_eq!((reply.status.as_u16(), reply.headers["retry-after"].to_str().unwrap()), (429, "1"));
    }
    let mut grpc = TraceServiceClient::connect(format!("http://{}", gateway.grpc())).await.unwrap();
    let refused = grpc.export(traces(vec![span(Kind::Failed, 12)])).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let retry_info = b"type.googleapis.com/google.rpc.RetryInfo";
    assert!(refused.details().windows(retry_info.len()).any(|bytes| bytes == retry_info), "{refused:?}");

    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.offered, totals.pending), (15, 10));
    assert_eq!((totals.dropped.get(DropReason::SoftLimit), totals.dropped.get(DropReason::Full)), (1, 4));
    let (_, page) = sender.get("/metrics").await;
    let dropped =
        |reason| value(&page, &format!("forebay_gateway_dropped_total{{signal=\"traces\",reason=\"{reason}\"}}"));
    assert_eq!((dropped("soft_limit"), dropped("full")), (Some(1.0), Some(4.0)));
    assert_eq!(value(&page, "forebay_gateway_throttled_total{protocol=\"http\"}"), Some(3.0));
    assert_eq!(value(&page, "forebay_gateway_throttled_total{protocol=\"grpc\"}"), Some(1.0));
    assert_ledger(&gateway);

    gate.let_through(10);
    let summary = gateway.stop().await;
    assert_eq!((summary.queue.delivered, summary.queue.pending), (10, 0), "{summary}");
}

#[tokio::test]
async fn a_soft_refusal_is_counted_whatever_the_response_is() {
    for (how, status, retry) in
        [(SoftRefusal::Success, 200, false), (SoftRefusal::Partial, 200, false), (SoftRefusal::Throttle, 429, true)]
    {
        let limits = Limits::new().items(10).soft_limit(0.1);
        let gateway = Gateway::start(Config { soft_refusal: how, ..one_worker(limits) }, Gate::closed().sink()).await;
        let gateway = gateway.unwrap();
        let sender = Sender::to(&gateway);
        assert!(sender.send(Kind::Healthy, 0).await.is_taken());
        let reply = sender.send(Kind::Healthy, 1).await;
        assert_eq!((reply.status.as_u16(), reply.headers.contains_key("retry-after")), (status, retry), "{how:?}");
        if how == SoftRefusal::Success {
            assert!(reply.is_taken());
        }
        assert_eq!(batches(&gateway)[0].dropped.get(DropReason::SoftLimit), 1, "{how:?}");
    }
}

#[tokio::test]
async fn q08_a_tenant_has_its_share_and_gets_it_back() {
    let gate = Gate::closed();
    let limits = Limits::new().items(10).soft_limit(1.0).fair_share(0.3);
    let gateway = Gateway::start(one_worker(limits), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..3 {
        assert!(sender.send_as("greedy", Kind::Healthy, n).await.is_taken());
    }
    assert_eq!(sender.send_as("greedy", Kind::Healthy, 3).await.rejected(), 1);
    assert!(sender.send_as("greedy", Kind::Failed, 4).await.is_taken(), "errors are not shared out");
    assert!(sender.send_as("modest", Kind::Healthy, 5).await.is_taken());
    for n in 6..10 {
        assert!(sender.send(Kind::Healthy, n).await.is_taken(), "without a tenant there is no share");
    }
    assert_eq!(batches(&gateway)[0].dropped.get(DropReason::FairShare), 1);

    // What is being worked on counts as well; what is done does not.
    gate.let_through(9);
    until(|| gateway.summary().queue.pending == 0).await;
    for n in 10..13 {
        assert!(sender.send_as("greedy", Kind::Healthy, n).await.is_taken());
    }
    assert_eq!(sender.send_as("greedy", Kind::Healthy, 13).await.rejected(), 1);
    assert_ledger(&gateway);
}

#[tokio::test]
async fn q05_q06_bytes_refuse_errors_too_and_what_never_fits_is_413() {
    let gate = Gate::closed();
    let limits = Limits::new().items(100).bytes(20_000).item_bytes(15_000).soft_limit(1.0).fair_share(0.02);
    let gateway = Gateway::start(one_worker(limits), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    let large = |kind, bytes: usize| {
        let span = opentelemetry_proto::tonic::trace::v1::Span { name: "x".repeat(bytes), ..span(kind, 1) };
        traces(vec![span]).encode_to_vec()
    };
    let greedy = [("x-tenant-id", "greedy")];
    assert!(sender.post(Signal::Traces, &greedy, large(Kind::Failed, 14_000)).await.is_taken());
    // `fair_share` is two items: a refusal for bytes must not keep a place of it.
    for kind in [Kind::Failed, Kind::Healthy, Kind::Healthy] {
        assert_eq!(sender.post(Signal::Traces, &greedy, large(kind, 8_000)).await.status, 429);
    }
    let never = sender.post(Signal::Traces, &greedy, large(Kind::Failed, 15_000)).await;
    assert_eq!((never.status.as_u16(), never.headers.contains_key("retry-after")), (413, false));
    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.dropped.get(DropReason::Bytes), totals.dropped.get(DropReason::TooLarge)), (3, 1));

    let bytes = value(&sender.get("/metrics").await.1, "forebay_gateway_queue_bytes").unwrap();
    assert!((14_000.0..14_600.0).contains(&bytes), "{bytes}");
    gate.let_through(1);
    until(|| gateway.summary().queue.pending == 0).await;
    assert_eq!(value(&sender.get("/metrics").await.1, "forebay_gateway_queue_bytes"), Some(0.0));
    for _ in 0..2 {
        assert!(sender.post(Signal::Traces, &greedy, large(Kind::Healthy, 100)).await.is_taken());
    }
    assert_ledger(&gateway);
}

#[tokio::test]
async fn q02_bytes_make_it_as_full_as_items_do() {
    let limits = Limits::new().items(1000).bytes(10_000).soft_limit(0.5);
    let gateway = Gateway::start(one_worker(limits), Gate::closed().sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    let wide = opentelemetry_proto::tonic::trace::v1::Span { name: "x".repeat(5_000), ..span(Kind::Healthy, 1) };
    assert!(sender.post(Signal::Traces, &[], traces(vec![wide]).encode_to_vec()).await.is_taken());
    assert_eq!(sender.send(Kind::Healthy, 2).await.rejected(), 1);
    assert!(sender.send(Kind::Failed, 3).await.is_taken());
}

#[tokio::test]
async fn urgent_batches_overtake_and_each_lane_keeps_its_order() {
    let gate = Gate::closed();
    let gateway = Gateway::start(one_worker(Limits::new().items(100)), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    assert!(sender.send(Kind::Healthy, 0).await.is_taken());
    // The worker has the first in its hands.
    until(|| gate.entered() == 1).await;
    for (kind, n) in [(Kind::Healthy, 1), (Kind::Healthy, 2), (Kind::Failed, 3), (Kind::Slow, 4)] {
        assert!(sender.send(kind, n).await.is_taken());
    }
    gate.let_through(5);
    gateway.flush().await;
    assert_eq!(gate.names(), ["span 0", "span 3", "span 4", "span 1", "span 2"]);
}

#[tokio::test]
async fn the_gauge_of_a_signal_is_its_own_and_goes_back_to_zero() {
    let gate = Gate::closed();
    let gateway = Gateway::start(one_worker(Limits::new()), gate.sink()).await.unwrap();
    let sender = Sender::to(&gateway);
    for n in 0..3 {
        sender.send(Kind::Healthy, n).await;
    }
    sender.post(Signal::Metrics, &[], metrics(&[1.0, 2.0]).encode_to_vec()).await;
    let depth = async |signal| {
        let (_, page) = sender.get("/metrics").await;
        value(&page, &format!("forebay_gateway_queue_depth{{signal=\"{signal}\"}}")).unwrap()
    };
    assert_eq!((depth("traces").await, depth("metrics").await, depth("logs").await), (3.0, 1.0, 0.0));
    gate.let_through(4);
    gateway.flush().await;
    assert_eq!((depth("traces").await, depth("metrics").await), (0.0, 0.0));
    let (_, page) = sender.get("/metrics").await;
    assert_eq!(value(&page, "forebay_gateway_records_delivered_total{signal=\"metrics\"}"), Some(2.0));
}

#[tokio::test]
async fn many_senders_at_once_leave_ledgers_that_balance() {
    let gateway = Gateway::start(one_worker(Limits::new().items(20)), crate::support::failing(0)).await.unwrap();
    let gateway = std::sync::Arc::new(gateway);
    let senders = (0..8_u64).map(|sender| {
        let gateway = std::sync::Arc::clone(&gateway);
        tokio::spawn(async move {
            let http = Sender::to(&gateway);
            for n in 0..50 {
                let kind = if n % 5 == 0 { Kind::Failed } else { Kind::Healthy };
                let status = http.send(kind, sender * 1000 + n).await.status;
                assert!(status == 200 || status == 429, "{status}");
            }
        })
    });
    for sender in senders.collect::<Vec<_>>() {
        sender.await.unwrap();
    }
    gateway.flush().await;
    let [totals, ..] = batches(&gateway);
    assert_eq!((totals.offered, totals.pending), (400, 0));
    let records = gateway.summary().pages[0].records();
    assert_eq!((records.offered, records.delivered + records.dropped.total()), (400, 400), "one in each batch");
    assert_ledger(&gateway);
}

/// Limits, slots and ledger are under one lock: no sender is let in on a count that another one has outdated.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_senders_at_once_get_no_more_than_the_soft_limit() {
    let gate = Gate::closed();
    let limits = Limits::new().items(60).soft_limit(0.5);
    let gateway = std::sync::Arc::new(Gateway::start(one_worker(limits), gate.sink()).await.unwrap());
    let senders = (0..16_u64).map(|sender| {
        let gateway = std::sync::Arc::clone(&gateway);
        tokio::spawn(async move {
            let http = Sender::to(&gateway);
            let mut taken = 0;
            for n in 0..10 {
                taken += usize::from(http.send(Kind::Healthy, sender * 1000 + n).await.is_taken());
            }
            taken
        })
    });
    let mut taken = 0;
    for sender in senders.collect::<Vec<_>>() {
        taken += sender.await.unwrap();
    }
    let [totals, ..] = batches(&gateway);
    assert_eq!((taken, totals.pending, totals.dropped.get(DropReason::SoftLimit)), (30, 30, 130));
    assert_ledger(&gateway);
}

#[tokio::test]
async fn a_wrong_knob_fails_at_the_start_by_name() {
    let started = Gateway::start(one_worker(Limits::new().items(0)), Gate::closed().sink()).await;
    assert!(matches!(started, Err(StartError::Config(error)) if error.knob() == "items"));
}
