//! Which responses are worth another attempt, and when that comes.

use crate::support::{call, over, record, requests, response, server, soon};
use forebay::{
    core::{BoxError, DropReason},
    export::{ExportErrorKind, ExportErrorStatus, GrpcError},
    otlp::Protocol,
    retry::{Backoff, grpc::Code},
};
use std::time::Duration;

/// R04, R05: of all statuses that refuse, exactly four are sent again.
#[tokio::test(start_paused = true)]
async fn r04_r05_over_http_exactly_429_502_503_and_504_are_sent_again() {
    for status in 300..=599 {
        let (client, log) = server(move |_| Ok(response(status, &[], b"no")));
        let exporter = over("http://far.example/", Protocol::HttpProtobuf, client);
        let exporter = exporter.retry(|retry| retry.max_retries(2)).max_age(Duration::ZERO).split_budget(0);
        let exporter = exporter.build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        let expected: u32 = if [429, 502, 503, 504].contains(&status) { 3 } else { 1 };
        assert_eq!(requests(&log), expected as usize, "{status}");
        assert_eq!(exporter.totals().dropped.total(), 1, "{status}");
        let error = exporter.last_error().unwrap();
        assert_eq!(error.http_status().unwrap().as_u16(), status);
        let exhausted = error.status() == ExportErrorStatus::Exhausted;
        assert_eq!((exhausted, error.attempts()), (expected == 3, expected), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_success_is_success() {
    for status in 200..=299 {
        let (client, log) = server(move |_| Ok(response(status, &[], b"")));
        let exporter = over("http://far.example/", Protocol::HttpProtobuf, client).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!((requests(&log), exporter.totals().delivered), (1, 1), "{status}");
    }
}

/// The table of OTLP/gRPC, once in the head and once in the trailers, without `RetryInfo` and with it.
#[tokio::test(start_paused = true)]
async fn over_grpc_exactly_the_codes_of_the_table_are_sent_again() {
    const RETRYABLE: [Code; 6] =
        [Code::Cancelled, Code::DeadlineExceeded, Code::Aborted, Code::OutOfRange, Code::Unavailable, Code::DataLoss];
    // google.rpc.Status { code: 8, details: [RetryInfo { retry_delay: 1 s }] }
    const WAIT: &str = "CAgaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAQ";
    for code in Code::ALL.into_iter().filter(|code| *code != Code::Ok) {
        for (in_head, wait) in [(true, false), (false, false), (true, true), (false, true)] {
            let (client, log) = server(move |_| {
                let number = code.number().to_string();
                let mut status = vec![("grpc-status", number.as_str()), ("grpc-message", "no")];
                if wait {
                    status.push(("grpc-status-details-bin", WAIT));
                }
                Ok(if in_head {
                    status.push(("content-type", "application/grpc"));
                    response(200, &status, b"")
                } else {
                    call(b"", &status)
                })
            });
            let exporter = over("http://far.example/", Protocol::Grpc, client);
            let exporter = exporter.retry(|retry| retry.max_retries(1)).max_age(Duration::ZERO).split_budget(0);
            let exporter = exporter.build().unwrap();
            exporter.emit(record("one"));
            soon(exporter.flush()).await;
            let again = RETRYABLE.contains(&code) || wait && code == Code::ResourceExhausted;
            assert_eq!(requests(&log), 1 + usize::from(again), "{code} in_head: {in_head}, wait: {wait}");
            let error = exporter.last_error().unwrap();
            assert_eq!((error.grpc_code(), error.server_text().as_str()), (Some(code), "no"));
            let kind = match code {
                Code::Unauthenticated | Code::PermissionDenied => ExportErrorKind::Unauthorized,
                _ => ExportErrorKind::Refused,
            };
            assert_eq!(error.kind(), kind, "{code}");
            assert!(forebay::core::is_caused_by::<GrpcError>(&error));
            if again && wait {
                let log = log.lock().unwrap();
                assert!(log[1].0 - log[0].0 >= Duration::from_secs(1), "{code}: RetryInfo");
            }
        }
    }
}

/// R12: `Retry-After` and `RetryInfo` pass through the whole stack; when the retries are over, the batch waits as long.
#[tokio::test(start_paused = true)]
async fn r12_the_servers_wait_is_kept_through_the_whole_stack() {
    let http = |seconds: &'static str| response(429, &[("retry-after", seconds)], b"");
    let (client, log) = server(move |number| Ok(if number <= 2 { http("7") } else { response(200, &[], b"") }));
    let exporter = over("http://far.example/", Protocol::HttpProtobuf, client).build().unwrap();
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    assert_eq!(exporter.totals().delivered, 1);
    let gap = |log: &crate::support::Log, at: usize| {
        let log = log.lock().unwrap();
        log[at].0 - log[at - 1].0
    };
    for at in [1, 2] {
        assert!(gap(&log, at) >= Duration::from_secs(7), "{:?}", gap(&log, at));
    }

    // Far beyond what a retry waits for in place: the batch waits beside the queue, and is sent once; by default it waits for a
    // minute at most.
    for (max_hint, waits) in [(Some(Duration::MAX), 200..202), (Some(Duration::from_secs(90)), 90..92), (None, 60..62)]
    {
        let (client, log) = server(move |number| Ok(if number == 1 { http("200") } else { response(200, &[], b"") }));
        let mut builder = over("http://far.example/", Protocol::HttpProtobuf, client);
        if let Some(most) = max_hint {
            builder = builder.max_hint(most);
        }
        let exporter = builder.build().unwrap();
        exporter.emit(record("one"));
        tokio::time::timeout(Duration::from_secs(299), exporter.flush()).await.unwrap();
        assert_eq!((exporter.totals().delivered, requests(&log)), (1, 2));
        assert!(waits.contains(&gap(&log, 1).as_secs()), "{max_hint:?}: {:?}", gap(&log, 1));
    }
}

/// R18: what the server asked of one batch, all others keep to.
#[tokio::test(start_paused = true)]
async fn r18_the_servers_wait_holds_for_all_batches() {
    let (client, log) = server(|number| {
        Ok(if number == 1 { response(503, &[("retry-after", "9")], b"") } else { response(200, &[], b"") })
    });
    let batching = forebay::batch::Batching::new().max_items(1).max_in_flight(8);
    let exporter = over("http://far.example/", Protocol::HttpProtobuf, client).batching(batching).build().unwrap();
    exporter.emit(record("first"));
    while requests(&log) == 0 {
        tokio::task::yield_now().await;
    }
    (0..5).for_each(|_| exporter.emit(record("another")));
    soon(exporter.flush()).await;
    let log = log.lock().unwrap();
    assert_eq!((exporter.totals().delivered, log.len()), (6, 7));
    assert!(log[1..].iter().all(|(at, _)| *at - log[0].0 >= Duration::from_secs(9)));
}

#[tokio::test(start_paused = true)]
async fn a_proxy_that_answers_a_call_is_read_by_its_http_status() {
    for (status, attempts) in [(429, 2), (502, 2), (503, 2), (504, 2), (404, 1), (401, 1)] {
        let (client, log) = server(move |_| Ok(response(status, &[("content-type", "text/html")], b"<h1>no</h1>")));
        let exporter = over("http://far.example/", Protocol::Grpc, client);
        let exporter = exporter.retry(|retry| retry.max_retries(1)).max_age(Duration::ZERO).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!(requests(&log), attempts, "{status}");
        assert_eq!(exporter.last_error().unwrap().server_text().as_str(), "<h1>no</h1>");
    }
    // A page with 200 is no response to a call, and nothing was delivered.
    let (client, log) = server(|_| Ok(response(200, &[("content-type", "text/html")], b"welcome")));
    let exporter = over("http://far.example/", Protocol::Grpc, client).build().unwrap();
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    assert_eq!((requests(&log), exporter.totals().dropped.get(DropReason::Failed)), (1, 1));
}

/// F07: a stream that ends in order without a status is UNKNOWN, as gRPC's mapping has it, and OTLP's table does not repeat
/// that: a proxy that passes no trailers on would have each batch sent again though the server took it.
#[tokio::test(start_paused = true)]
async fn f07_a_call_that_ends_in_order_without_a_status_is_unknown() {
    for (retried, expected) in [(false, (1, 0, 1)), (true, (2, 1, 0))] {
        let (client, log) = server(|number| Ok(if number == 1 { call(b"\0\0\0\0\0", &[]) } else { good() }));
        let codes = forebay::retry::grpc::Classifier::otlp();
        let codes = if retried { codes.retry_on(Code::Unknown) } else { codes };
        let exporter = over("http://far.example/", Protocol::Grpc, client).retryable_codes(codes).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        let totals = exporter.totals();
        let failed = totals.dropped.get(DropReason::Failed);
        assert_eq!((requests(&log), totals.delivered, failed), expected, "{totals}");
        // A retry that went well leaves no failed export behind.
        let code = exporter.last_error().map(|error| error.grpc_code());
        assert_eq!(code, (!retried).then_some(Some(Code::Unknown)));
    }
}

fn good() -> http::Response<crate::support::Body> {
    call(b"\0\0\0\0\0", &[("grpc-status", "0")])
}

/// A message that is too large for the server is split; there is no code for that, so its words are read.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_too_large_for_the_server_is_split() {
    for (code, words) in [
        ("8", "grpc: received message larger than max (4200000 vs. 4194304)"),
        ("11", "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
    ] {
        let (client, log) = server(move |number| {
            Ok(match number {
                1 => call(b"", &[("grpc-status", code), ("grpc-message", words)]),
                _ => good(),
            })
        });
        let exporter = over("http://far.example/", Protocol::Grpc, client).build().unwrap();
        (0..10).for_each(|_| exporter.emit(record("one")));
        soon(exporter.flush()).await;
        assert_eq!((requests(&log), exporter.totals().delivered), (3, 10), "{words}");
    }
}

/// What the server says with a success over gRPC is read too, compressed or not.
#[tokio::test(start_paused = true)]
async fn the_partial_success_of_a_call_is_read_out_of_its_frame() {
    // ExportLogsServiceResponse { partial_success { rejected_log_records: 2 } }
    let (client, _) = server(|_| Ok(call(b"\0\0\0\0\x04\x0a\x02\x08\x02", &[("grpc-status", "0")])));
    let exporter = over("http://far.example/", Protocol::Grpc, client).build().unwrap();
    (0..10).for_each(|_| exporter.emit(record("one")));
    soon(exporter.flush()).await;
    assert_eq!((exporter.totals().delivered, exporter.totals().dropped.get(DropReason::Rejected)), (8, 2));
}

/// A response that comes compressed is read as well, where the feature for it is there.
#[tokio::test(start_paused = true)]
async fn a_compressed_answer_is_read() {
    // ExportLogsServiceResponse { partial_success { rejected_log_records: 2 } }, in gzip; and as the message of a call.
    const PACKED: &[u8] =
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xe3\x62\xe2\x60\x02\x00\x32\x00\xaa\x6b\x04\x00\x00\x00";
    const FRAMED: &[u8] = b"\x01\x00\x00\x00\x18\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xe3\x62\xe2\x60\x02\x00\x32\x00\xaa\x6b\x04\x00\x00\x00";
    let (client, _) = server(|_| Ok(response(200, &[("content-encoding", "gzip")], PACKED)));
    let http = over("http://far.example/", Protocol::HttpProtobuf, client).build().unwrap();
    let (client, _) = server(|_| {
        let mut response = call(FRAMED, &[("grpc-status", "0")]);
        response.headers_mut().insert("grpc-encoding", http::HeaderValue::from_static("gzip"));
        Ok(response)
    });
    let grpc = over("http://far.example/", Protocol::Grpc, client).build().unwrap();
    for exporter in [http, grpc] {
        (0..10).for_each(|_| exporter.emit(record("one")));
        soon(exporter.flush()).await;
        assert_eq!((exporter.totals().delivered, exporter.totals().dropped.get(DropReason::Rejected)), (8, 2));
    }
}

/// A response that cannot be read changes nothing: the server has taken the request.
#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_still_means_delivered() {
    type Torn = fn() -> http::Response<crate::support::Body>;
    let torn: [(Protocol, Torn); 4] = [
        (Protocol::HttpProtobuf, || response(200, &[("content-encoding", "br")], b"\x01\x02")),
        (Protocol::HttpProtobuf, || response(200, &[("content-encoding", "gzip")], b"no gzip")),
        (Protocol::Grpc, || call(b"\x00\x00\x00", &[("grpc-status", "0")])),
        (Protocol::Grpc, || call(b"\x01\x00\x00\x00\x01x", &[("grpc-status", "0")])),
    ];
    for (protocol, far) in torn {
        let (client, log) = server(move |_| Ok(far()));
        let exporter = over("http://far.example/", protocol, client).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!((requests(&log), exporter.totals().delivered), (1, 1), "{protocol}");
    }
}

/// R01, R02: what is written in the knob is what is sent.
#[tokio::test(start_paused = true)]
async fn r01_r02_n_retries_are_n_and_one_attempts() {
    for retries in [0, 1, 5] {
        let (client, log) = server(|_| Err(BoxError::from("reset")));
        let exporter = over("http://far.example/", Protocol::HttpProtobuf, client);
        let exporter = exporter.retry(|retry| retry.max_retries(retries)).max_age(Duration::ZERO).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!(requests(&log), retries as usize + 1);
    }
}

/// Nothing is waited for after `max_age`: the item is named as expired.
#[tokio::test(start_paused = true)]
async fn an_item_that_waited_too_long_is_dropped_as_expired() {
    let (client, _) = server(|_| Ok(response(503, &[], b"")));
    let exporter = over("http://far.example/", Protocol::HttpProtobuf, client)
        .max_age(Duration::from_secs(60))
        .park_backoff(Backoff::constant(Duration::from_secs(5)))
        .build()
        .unwrap();
    exporter.emit(record("one"));
    tokio::time::timeout(Duration::from_secs(61), exporter.flush()).await.unwrap();
    assert_eq!(exporter.totals().dropped.get(DropReason::Expired), 1);
}
