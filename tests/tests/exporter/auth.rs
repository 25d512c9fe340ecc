//! Credentials that change, and where to go without one.

use crate::support::{call, emit, over, record, requests, response, server, soon, to};
use forebay::{
    core::{BoxError, DropReason},
    export::{Credential, ExportErrorKind, ExportErrorStatus},
    otlp::Protocol,
};
use forebay_testkit::receiver::Receiver;
use http::HeaderValue;
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

const HERE: &str = "https://far.example/v1/logs";

/// A provider of `token-1`, `token-2`, ..., and how often it was asked.
fn tokens() -> (impl Fn() -> std::future::Ready<Result<Credential, BoxError>> + Send + Sync, Arc<AtomicUsize>) {
    let asked = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&asked);
    let provider = move || {
        let number = counter.fetch_add(1, SeqCst) + 1;
        std::future::ready(Credential::bearer(&format!("token-{number}")).map_err(Into::into))
    };
    (provider, asked)
}

fn authorization(log: &crate::support::Log) -> Vec<String> {
    let log = log.lock().unwrap();
    let value = |headers: &http::HeaderMap| {
        headers.get("authorization").map_or("none".to_owned(), |value| value.to_str().unwrap().to_owned())
    };
    log.iter().map(|(_, request)| value(request.headers())).collect()
}

/// The server no longer accepts the first credential: one new one for all, and every request once more.
#[tokio::test]
async fn a_refused_credential_is_replaced_once_for_all_who_ask() {
    let receiver =
        Receiver::builder().require_authorization(HeaderValue::from_static("Bearer token-2")).start().await.unwrap();
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let (provider, asked) = tokens();
        let batching = forebay::batch::Batching::new().max_items(10).max_in_flight(8);
        let before = receiver.requests().len();
        let exporter = to(&receiver, protocol).auth(provider).batching(batching).build().unwrap();
        emit(&exporter, 0..80);
        soon(exporter.flush()).await;
        assert_eq!(exporter.totals().delivered, 80, "{:?}", exporter.last_error());
        assert_eq!(asked.load(SeqCst), 2, "{protocol}: one for all requests, and one more for all");
        let requests = receiver.requests().split_off(before);
        let refused =
            |request: &&forebay_testkit::receiver::Received| request.header("authorization") == Some("Bearer token-1");
        assert!(requests.iter().filter(refused).count() <= 8);
        assert_eq!(exporter.counters().retries, 0, "it is no retry, and costs no budget");
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_is_asked_for_again_only_before_it_runs_out() {
    let (client, log) = server(|_| Ok(response(200, &[], b"")));
    let asked = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&asked);
    let provider = move || {
        let number = counter.fetch_add(1, SeqCst) + 1;
        let credential = Credential::bearer(&format!("token-{number}")).unwrap();
        std::future::ready(Ok::<_, BoxError>(credential.valid_for(Duration::from_secs(100))))
    };
    let exporter = over(HERE, Protocol::HttpProtobuf, client).auth(provider).build().unwrap();
    for _ in 0..3 {
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
    }
    tokio::time::advance(Duration::from_secs(101)).await;
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    assert_eq!(authorization(&log), ["Bearer token-1", "Bearer token-1", "Bearer token-1", "Bearer token-2"]);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_never_taken_is_tried_twice_and_ends_there() {
    let (client, log) = server(|_| Ok(response(401, &[], b"")));
    let (provider, asked) = tokens();
    let exporter = over(HERE, Protocol::HttpProtobuf, client).auth(provider).build().unwrap();
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    assert_eq!((requests(&log), asked.load(SeqCst)), (2, 2));
    assert_eq!(exporter.totals().dropped.get(DropReason::Rejected), 1);
    let error = exporter.last_error().unwrap();
    assert_eq!((error.kind(), error.status()), (ExportErrorKind::Unauthorized, ExportErrorStatus::Permanent));
}

/// A provider that is down is waited for like a server that is.
#[tokio::test(start_paused = true)]
async fn without_a_credential_nothing_is_sent_and_everything_waits() {
    let (client, log) = server(|_| Ok(response(200, &[], b"")));
    let asked = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&asked);
    let provider = move || {
        let number = counter.fetch_add(1, SeqCst);
        std::future::ready(match number {
            0..5 => Err(BoxError::from("the token service is away: hunter2")),
            5 => panic!("of the host"),
            _ => Credential::bearer("good").map_err(BoxError::from),
        })
    };
    let exporter = over(HERE, Protocol::HttpProtobuf, client).auth(provider).build().unwrap();
    exporter.emit(record("one"));
    tokio::time::timeout(Duration::from_secs(120), exporter.flush()).await.unwrap();
    assert_eq!(exporter.totals().delivered, 1);
    assert_eq!(authorization(&log), ["Bearer good"]);
    assert_eq!(exporter.last_error().unwrap().kind(), ExportErrorKind::CircuitOpen);
}

/// Headers that programs let themselves in with, and one that says who asks.
const OF_THE_ENDPOINT: [&str; 6] = ["cookie", "x-api-key", "api-key", "dd-api-key", "x-honeycomb-team", "x-tenant"];

/// From authenticated to unauthenticated: without the credential, to the other endpoint.
#[tokio::test(start_paused = true)]
async fn the_fallback_gets_what_cannot_be_sent_with_a_credential() {
    for (refusal, protocol) in
        [(401, Protocol::HttpProtobuf), (403, Protocol::HttpProtobuf), (16, Protocol::Grpc), (7, Protocol::Grpc)]
    {
        let (client, log) = {
            let log = crate::support::Log::default();
            let noted = Arc::clone(&log);
            let client = tower::service_fn(move |request: http::Request<http_body_util::Full<bytes::Bytes>>| {
                let is_fallback = request.uri().host() == Some("open.example");
                noted.lock().unwrap().push((tokio::time::Instant::now(), request));
                std::future::ready(Ok::<_, BoxError>(match protocol {
                    Protocol::Grpc if is_fallback => call(b"\0\0\0\0\0", &[("grpc-status", "0")]),
                    Protocol::Grpc => call(b"", &[("grpc-status", &refusal.to_string())]),
                    _ => response(if is_fallback { 200 } else { refusal }, &[], b""),
                }))
            });
            (client, log)
        };
        let (provider, _) = tokens();
        let mut exporter = over(HERE, protocol, client).auth(provider).header("user-agent", "shop/1");
        for name in OF_THE_ENDPOINT {
            exporter = exporter.header(name, "secret");
        }
        let exporter = exporter.fallback("https://open.example/unauth").fallback_header("x-route", "open");
        let exporter = exporter.build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!(exporter.totals().delivered, 1, "{refusal}: {:?}", exporter.last_error());
        let log = log.lock().unwrap();
        let (_, last) = log.last().unwrap();
        let path = if protocol == Protocol::Grpc {
            "/unauth/opentelemetry.proto.collector.logs.v1.LogsService/Export"
        } else {
            "/unauth"
        };
        assert_eq!((last.uri().host(), last.uri().path()), (Some("open.example"), path));
        // F12: whatever was set as a header belongs to the endpoint.
        assert!(!last.headers().contains_key("authorization"));
        for name in OF_THE_ENDPOINT {
            assert!(log[0].1.headers().contains_key(name) && !last.headers().contains_key(name), "{name}");
        }
        assert!(!log[0].1.headers().contains_key("x-route"));
        assert_eq!(
            (&last.headers()["x-route"], &last.headers()["user-agent"]),
            (&"open".parse().unwrap(), &"shop/1".parse().unwrap())
        );
        // Refused, refused with a new one where that may help, and sent without.
        assert_eq!(log.len(), if [401, 16].contains(&refusal) { 3 } else { 2 }, "{refusal}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_fallback_gets_what_no_credential_can_be_had_for() {
    let (client, log) = server(|_| Ok(response(200, &[], b"")));
    let exporter = over(HERE, Protocol::HttpProtobuf, client)
        .auth(|| async { Err::<Credential, _>(BoxError::from("logged out")) })
        .fallback("https://open.example/unauth")
        .build()
        .unwrap();
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    assert_eq!((exporter.totals().delivered, authorization(&log)), (1, vec!["none".to_owned()]));
}

/// A provider that never responds holds nothing up for longer than it may.
#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_a_failure() {
    let (client, log) = server(|_| Ok(response(200, &[], b"")));
    let exporter = over(HERE, Protocol::HttpProtobuf, client)
        .auth(std::future::pending::<Result<Credential, BoxError>>)
        .retry(|retry| retry.max_retries(0))
        .max_age(Duration::ZERO)
        .build()
        .unwrap();
    exporter.emit(record("one"));
    let start = tokio::time::Instant::now();
    soon(exporter.flush()).await;
    assert!(start.elapsed() <= Duration::from_secs(11), "{:?}", start.elapsed());
    assert_eq!((requests(&log), exporter.totals().dropped.total()), (0, 1));
    assert_eq!(exporter.last_error().unwrap().kind(), ExportErrorKind::Unauthorized);
}

#[test]
fn credentials_do_not_go_over_plain_http_to_another_machine() {
    let build =
        |change: fn(crate::support::Builder<crate::support::Http>) -> crate::support::Builder<crate::support::Http>| {
            change(over("http://far.example/", Protocol::HttpProtobuf, crate::support::http1())).build().map(drop)
        };
    assert_eq!(build(|it| it.header("authorization", "Bearer hunter2")).unwrap_err().knob(), "endpoint");
    assert_eq!(build(|it| it.auth(|| async { Credential::bearer("x") })).unwrap_err().knob(), "endpoint");
    assert!(build(|it| it.auth(|| async { Credential::bearer("x") }).allow_plaintext_credentials()).is_ok());
}

/// F12: a credential is one by its meaning, whatever its header is called.
#[tokio::test]
async fn f12_custom_credentials_do_not_go_over_plain_http_to_another_machine() {
    let build = |name: &'static str| {
        let (client, _) = server(|_| Ok(response(200, &[], b"")));
        over("http://far.example/", Protocol::HttpProtobuf, client).header(name, "secret").build()
    };
    for name in
        ["x-api-key", "api-key", "dd-api-key", "x-honeycomb-team", "x-auth-token", "lightstep-access-token", "cookie"]
    {
        assert_eq!(build(name).unwrap_err().knob(), "endpoint", "{name}");
    }
    for name in ["x-tenant", "user-agent", "x-scope-orgid"] {
        assert!(build(name).is_ok(), "{name}");
    }
}
