//! What a handle changes while the exporter runs.

use crate::support::{balanced, emit, line, over, record, requests, response, server, soon, to};
use forebay::{
    batch::Batching,
    breaker::Mode,
    core::{DropReason, Fate},
    export::{Compression, Preset},
    otlp::Protocol,
    queue::Limits,
};
use forebay_testkit::receiver::{Fault, Receiver};
use std::time::Duration;
use tower::ServiceExt;

#[tokio::test]
async fn the_kill_switch_drops_what_is_there_and_takes_nothing_until_it_is_on_again() {
    let receiver = Receiver::builder().script(vec![Fault::Deaf; 1]).start().await.unwrap();
    let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();
    let handle = exporter.handle();
    emit(&exporter, 0..250);
    soon(receiver.until(|totals| totals.requests > 0)).await;
    handle.switch_off();
    soon(exporter.flush()).await;
    let totals = balanced(exporter.totals());
    assert_eq!((totals.pending, totals.dropped.get(DropReason::Disabled)), (0, 250), "{totals}");

    emit(&exporter, 250..300);
    let Ok(fate) = exporter.clone().oneshot(record("called")).await;
    assert_eq!(fate, Fate::Dropped(DropReason::Disabled));
    let refused = exporter.emit_or_wait(record("waits")).await.unwrap_err();
    assert_eq!((refused.reason, refused.into_item()), (DropReason::Disabled, record("waits")));
    assert_eq!(exporter.totals().offered, 250, "what comes while it is off is not offered");
    assert_eq!((receiver.requests().len(), handle.is_on()), (1, false));

    handle.switch_on();
    emit(&exporter, 300..310);
    soon(exporter.flush()).await;
    assert_eq!(exporter.totals().delivered, 10);
    assert_eq!(receiver.count(line(305)).accepted, 1);
}

#[tokio::test]
async fn endpoint_headers_and_limits_change_and_nothing_is_lost() {
    let (old, new) = (Receiver::builder().start().await.unwrap(), Receiver::builder().start().await.unwrap());
    let exporter = to(&old, Protocol::HttpProtobuf).build().unwrap();
    let handle = exporter.handle();
    emit(&exporter, 0..10);
    soon(exporter.flush()).await;
    old.pause().await.unwrap();
    emit(&exporter, 10..20);
    soon(async {
        while exporter.last_error().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // What waits for the old one goes to the new one.
    handle.set_endpoint(&(new.endpoint() + "/v1/logs")).unwrap();
    handle.set_header("x-tenant", "b").unwrap();
    handle.set_compression(Compression::gzip()).unwrap();
    handle.set_batching(Batching::new().max_items(7)).unwrap();
    handle.set_limits(Limits::new().items(1_000)).unwrap();
    emit(&exporter, 20..50);
    soon(exporter.flush()).await;
    assert_eq!(balanced(exporter.totals()).delivered, 50);
    assert!(new.audit((10..50).map(line)).is_sound());
    let requests = new.requests();
    assert!(requests.iter().all(|it| it.header("x-tenant") == Some("b") && it.content_encoding() == "gzip"));

    let error = handle.set_endpoint("ftp://a/").unwrap_err();
    assert_eq!(error.knob(), "endpoint");
    assert!(handle.set_header("x y", "b").is_err());
    assert!(handle.set_compression(Compression::Gzip(10)).is_err());
    // A credential that is there already does not follow to where any host on the way can read it.
    handle.set_header("authorization", "Bearer hunter2").unwrap();
    assert!(!handle.set_endpoint("http://far.example/").unwrap_err().to_string().contains("hunter2"));
    emit(&exporter, 50..60);
    soon(exporter.flush()).await;
    assert_eq!(exporter.totals().delivered, 60, "a refused change changes nothing");
}

#[tokio::test]
async fn the_circuit_is_seen_and_controlled_from_outside() {
    let receiver = Receiver::builder().start().await.unwrap();
    let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();
    let handle = exporter.handle();
    handle.breaker().set_mode_of_all(Mode::ForcedOpen);
    emit(&exporter, 0..10);
    soon(async {
        while exporter.last_error().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(receiver.requests().len(), 0);
    handle.breaker().set_mode_of_all(Mode::Normal);
    soon(exporter.flush()).await;
    assert_eq!(exporter.totals().delivered, 10);
}

/// R06: what is unknown is sent again by one driver and not by the other; B16: the numbers of a preset reach the stack.
#[tokio::test(start_paused = true)]
async fn r06_b16_a_preset_s_numbers_reach_the_stack() {
    for (preset, status, attempts) in [
        (Preset::DatabricksNode, 500, 4),
        (Preset::DatabricksNode, 418, 1),
        (Preset::DatabricksCsharp, 418, 4),
        (Preset::DatabricksCsharp, 404, 1),
        (Preset::ConsulHcp, 503, 1),
    ] {
        let (client, log) = server(move |_| Ok(response(status, &[], b"")));
        let exporter = over("http://far.example/", Protocol::HttpProtobuf, client).preset(preset).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!(requests(&log), attempts, "{preset:?} {status}");
        assert_eq!(exporter.totals().dropped.total(), 1, "none of them waits for a server that is away");
    }
    // 500 items, the oldest go.
    let (client, _) = server(|_| Ok(response(200, &[], b"")));
    let exporter = over("http://far.example/", Protocol::HttpProtobuf, client).preset(Preset::DatabricksNode);
    let exporter = exporter.build().unwrap();
    emit(&exporter, 0..600);
    assert_eq!(exporter.totals().dropped.get(DropReason::Evicted), 100);
    soon(exporter.flush()).await;

    // The Collector waits, and does not repeat in place.
    let (client, log) = server(|number| Ok(response(if number == 1 { 503 } else { 200 }, &[], b"")));
    let exporter =
        over("http://far.example/", Protocol::HttpProtobuf, client).preset(Preset::Collector).build().unwrap();
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    assert_eq!((exporter.totals().delivered, exporter.counters().retries), (1, 0));
    let log = log.lock().unwrap();
    let wait = log[1].0 - log[0].0;
    assert!((Duration::from_millis(2_500)..=Duration::from_millis(7_600)).contains(&wait), "{wait:?}");
}

/// F10: gRPC names a method by its path alone, so an endpoint with a query is refused, when it is built and when it is changed.
#[tokio::test]
async fn f10_over_grpc_an_endpoint_with_a_query_is_refused() {
    let with_query = "http://far.example/?token=hunter2";
    let error = over(with_query, Protocol::Grpc, crate::support::http2()).build().map(drop).unwrap_err();
    assert_eq!((error.knob(), error.to_string().contains("hunter2")), ("endpoint", false), "{error}");
    assert!(error.allowed().contains("without a query"), "{error}");
    let exporter = over("http://far.example/", Protocol::Grpc, crate::support::http2()).build().unwrap();
    assert_eq!(exporter.handle().set_endpoint(with_query).unwrap_err().knob(), "endpoint");
    let http = over(with_query, Protocol::HttpProtobuf, crate::support::http1()).build().unwrap();
    assert!(http.handle().set_endpoint("http://other.example/a?token=x").is_ok());
}
