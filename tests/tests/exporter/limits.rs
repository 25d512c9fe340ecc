//! What is never sent, never read, and never followed.

use crate::support::{Body, call, emit, line, over, record, requests, response, server, soon, to};
use bytes::{Bytes, BytesMut};
use forebay::{
    core::{BoxError, DropReason},
    export::{AddressRefused, Compression, Encode, EndpointGuard, ExportErrorStatus, Exporter, Skipped},
    otlp::Protocol,
};
use forebay_testkit::receiver::{Fault, Receiver};
use http::{HeaderValue, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::GaiResolver},
    },
    rt::TokioExecutor,
};
use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

/// A body that would never end, and the bytes that were asked of it.
struct Endless(Arc<AtomicU64>);

impl http_body::Body for Endless {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        static BLANK: [u8; 16 << 10] = [b' '; 16 << 10];
        self.0.fetch_add(BLANK.len() as u64, Relaxed);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&BLANK)))))
    }
}

fn endless(status: u16, asked: &Arc<AtomicU64>) -> Response<Body> {
    let mut response = Response::new(Endless(Arc::clone(asked)).boxed_unsync());
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// X05: of a body without end the cap is read, whether the response is good or bad.
#[tokio::test(start_paused = true)]
async fn x05_of_an_endless_answer_the_cap_is_read() {
    // F07: the status is the truth, however long the body.
    for (status, delivered, rejected) in [(200, 1, 0), (404, 0, 1)] {
        let asked = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&asked);
        let (client, log) = server(move |_| Ok(endless(status, &counter)));
        let exporter = over("http://far.example/", Protocol::HttpProtobuf, client).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        let totals = exporter.totals();
        assert_eq!((requests(&log), totals.delivered), (1, delivered), "{status}");
        assert_eq!(totals.dropped.get(DropReason::Rejected), rejected, "{status}");
        assert_eq!(exporter.handle().counters().unreadable_responses, delivered, "{status}");
        let cap = 4 << 20;
        assert!((cap..=cap + (16 << 10)).contains(&asked.load(Relaxed)), "{status}: {asked:?}");
    }
}

/// X05, on the wire: a response of 1 GiB, and one that swells to 1 GiB.
#[tokio::test]
async fn x05_a_huge_answer_and_one_that_swells_cost_the_cap() {
    for fault in [Fault::Oversized { bytes: 1 << 30 }, Fault::GzipBomb { bytes: 1 << 30 }] {
        let receiver = Receiver::builder().script([fault.clone()]).start().await.unwrap();
        let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        let totals = exporter.totals();
        assert_eq!((totals.delivered, totals.dropped.total()), (1, 0), "{fault:?}: it was taken, F07");
        assert_eq!(exporter.handle().counters().unreadable_responses, 1);
        assert!(exporter.last_error().is_none());
        // The exporter is none the worse for it.
        exporter.emit(record("two"));
        soon(exporter.flush()).await;
        assert_eq!((exporter.totals().delivered, receiver.requests().len()), (2, 2));
    }
}

/// How a body of a good response goes wrong.
#[derive(Clone, Copy, Debug)]
enum Ill {
    Cut,
    Silent,
    Nonsense,
}

/// A body that gives what it was made to give, and then ends as it should not.
struct IllBody(Ill, bool);

impl http_body::Body for IllBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let first = !std::mem::replace(&mut self.1, true);
        match self.0 {
            _ if first => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"10 bytes.."))))),
            Ill::Cut => Poll::Ready(Some(Err("the connection was reset".into()))),
            Ill::Silent => Poll::Pending,
            Ill::Nonsense => Poll::Ready(None),
        }
    }
}

/// F07: a 2xx is delivered, once, whatever becomes of its body; a refusal is one, whatever becomes of its.
#[tokio::test(start_paused = true)]
async fn f07_the_status_is_the_truth_whatever_becomes_of_the_body() {
    for ill in [Ill::Cut, Ill::Silent, Ill::Nonsense] {
        for status in [200, 202, 204, 400] {
            let (client, log) = server(move |_| {
                let mut response = Response::new(IllBody(ill, false).boxed_unsync());
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                response.headers_mut().insert("content-length", 100.into());
                Ok(response)
            });
            let exporter = over("http://far.example/", Protocol::HttpProtobuf, client).split_budget(0).build().unwrap();
            exporter.emit(record("one"));
            soon(exporter.flush()).await;
            let totals = exporter.totals();
            let (delivered, rejected) = if status == 400 { (0, 1) } else { (1, 0) };
            assert_eq!(requests(&log), 1, "{ill:?} {status}");
            assert_eq!(
                (totals.delivered, totals.dropped.get(DropReason::Rejected)),
                (delivered, rejected),
                "{ill:?} {status}"
            );
            let unread = if matches!(ill, Ill::Nonsense) { 0 } else { delivered };
            assert_eq!(exporter.handle().counters().unreadable_responses, unread, "{ill:?} {status}");
        }
    }
}

/// F07 over gRPC: a status in the head is one; a call that breaks off before its status may have been taken or not.
#[tokio::test(start_paused = true)]
async fn f07_a_call_without_a_status_is_sent_again_and_one_with_it_is_not() {
    for (in_head, expected) in [(true, 1), (false, 2)] {
        let (client, log) = server(move |number| {
            let ill = if number == 1 { Ill::Cut } else { Ill::Nonsense };
            let mut response = Response::new(IllBody(ill, number > 1).boxed_unsync());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            if in_head || number > 1 {
                response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
            }
            Ok(response)
        });
        let exporter = over("http://far.example/", Protocol::Grpc, client).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!((exporter.totals().delivered, requests(&log)), (1, expected), "{in_head}");
    }
}

/// F07: a body that never ends is not waited for without end, however long an attempt may take.
#[tokio::test(start_paused = true)]
async fn f07_a_body_is_waited_for_no_longer_than_its_own_bound() {
    for (protocol, in_head, expected, most) in [
        (Protocol::HttpProtobuf, false, (1, 1), 31),
        (Protocol::Grpc, true, (1, 1), 31),
        // Without a status it is not known whether it was taken: it is sent again.
        (Protocol::Grpc, false, (1, 2), 602),
    ] {
        let (client, log) = server(move |number| {
            let ill = if number == 1 { Ill::Silent } else { Ill::Nonsense };
            let mut response = Response::new(IllBody(ill, number > 1).boxed_unsync());
            response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
            if in_head || number > 1 {
                response.headers_mut().insert("grpc-status", HeaderValue::from_static("0"));
            }
            Ok(response)
        });
        let exporter = over("http://far.example/", protocol, client)
            .attempt_timeout(Duration::MAX)
            .max_age(Duration::from_secs(3_600))
            .build()
            .unwrap();
        exporter.emit(record("one"));
        tokio::time::timeout(Duration::from_secs(most), exporter.flush()).await.unwrap();
        assert_eq!((exporter.totals().delivered, requests(&log)), expected, "{protocol} {in_head}");
    }
}

/// X05: a redirect is a response like any other; no request goes there, and no credential does.
#[tokio::test]
async fn x05_a_redirect_is_not_followed() {
    let elsewhere = Receiver::builder().start().await.unwrap();
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        for status in [301, 302, 303, 307, 308] {
            let location = HeaderValue::try_from(elsewhere.endpoint() + "/v1/logs").unwrap();
            let fault = Fault::Redirect { status: StatusCode::from_u16(status).unwrap(), location };
            let receiver = Receiver::builder().script([fault]).start().await.unwrap();
            let exporter = to(&receiver, protocol).header("authorization", "Bearer canary").build().unwrap();
            exporter.emit(record("one"));
            soon(exporter.flush()).await;
            assert_eq!(exporter.totals().dropped.get(DropReason::Rejected), 1, "{protocol} {status}");
            assert_eq!(receiver.requests().len(), 1);
        }
    }
    assert_eq!(elsewhere.totals().connections, 0);
}

/// X06: a name that leads to this machine is not connected to, though it was allowed as it is written.
#[tokio::test]
async fn x06_a_guarded_client_does_not_connect_to_this_machine() {
    let receiver = Receiver::builder().start().await.unwrap();
    let url = format!("http://localhost:{}/v1/logs", receiver.address().port());
    for (guard, delivered) in [(EndpointGuard::new(), 0), (EndpointGuard::new().allow_private(), 1)] {
        let connector = HttpConnector::new_with_resolver(guard.resolver(GaiResolver::new()));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        let exporter = over(&url, Protocol::HttpProtobuf, client).max_age(Duration::ZERO).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!(exporter.totals().delivered, delivered);
        if delivered == 0 {
            let error = exporter.last_error().unwrap();
            assert!(forebay::core::is_caused_by::<AddressRefused>(&error), "{}", error.report());
            assert_eq!((error.status(), receiver.totals().connections), (ExportErrorStatus::Permanent, 0));
        }
    }
}

/// How a body is to be read is for the exporter to say.
#[test]
fn headers_that_are_not_the_caller_s_are_refused_when_it_is_built() {
    for name in ["content-length", "Content-Type", "transfer-encoding", "te", "grpc-timeout", "connection"] {
        let builder = over("https://far.example/", Protocol::HttpProtobuf, crate::support::http1()).header(name, "x");
        assert_eq!(builder.build().map(drop).unwrap_err().knob(), "header", "{name}");
    }
    for (name, value) in [("x y", "a"), ("x", "a\nb: c"), ("", "a"), ("x\0", "a")] {
        let builder = over("https://far.example/", Protocol::HttpProtobuf, crate::support::http1()).header(name, value);
        assert_eq!(builder.build().map(drop).unwrap_err().knob(), "header", "{name:?}");
    }
    let agent = over("https://far.example/", Protocol::HttpProtobuf, crate::support::http1()).user_agent("a\nb");
    assert_eq!(agent.build().map(drop).unwrap_err().knob(), "user_agent");
}

/// A body above the cap is never sent: the batch is split, and an item that alone is above it is dropped.
#[tokio::test]
async fn a_body_above_the_cap_is_split_and_never_sent() {
    for protocol in Protocol::ALL {
        for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
            let receiver = Receiver::builder().start().await.unwrap();
            let exporter = to(&receiver, protocol).max_request_bytes(2_048).compression(compression).build().unwrap();
            emit(&exporter, 0..200);
            exporter.emit(record("x".repeat(3_000)));
            soon(exporter.flush()).await;
            let totals = exporter.totals();
            let fates = (totals.delivered, totals.dropped.get(DropReason::TooLarge));
            assert_eq!(fates, (200, 1), "{protocol} {compression:?}: {totals}");
            assert!(receiver.requests().iter().all(|request| request.wire_length <= 2_048), "{protocol}");
            assert!(receiver.requests().iter().all(|request| request.decoded_length.unwrap() <= 2_048), "{protocol}");
            assert!(receiver.audit((0..200).map(line)).is_sound());
        }
    }
}

/// Bytes as they are.
struct Raw;

impl Encode<Vec<u8>> for Raw {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("application/octet-stream")
    }

    fn encode(&self, items: &[Vec<u8>], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        items.iter().for_each(|item| body.extend_from_slice(item));
        Ok(Skipped::NONE)
    }
}

/// What compression makes larger is measured again: two items of noise fit into a body as they are, and not with what gzip
/// and zstd put around them.
#[tokio::test(start_paused = true)]
async fn the_cap_holds_after_compression_too() {
    let mut state = 7_u64;
    let mut noise = || -> Vec<u8> {
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        std::iter::repeat_with(next).take(511).collect()
    };
    for compression in [Compression::gzip(), Compression::zstd()] {
        let (client, log) = server(|_| Ok(response(200, &[], b"")));
        let exporter = Exporter::builder()
            .endpoint("https://far.example/")
            .encoder(Raw)
            .client(client)
            .compression(compression)
            .max_request_bytes(1_024)
            .build()
            .unwrap();
        exporter.emit(noise());
        exporter.emit(noise());
        soon(exporter.flush()).await;
        let lengths: Vec<_> =
            log.lock().unwrap().iter().map(|(_, request)| request.body().size_hint().exact().unwrap()).collect();
        assert_eq!((lengths.len(), exporter.totals().delivered), (2, 2), "{compression:?}: {lengths:?}");
        assert!(lengths.iter().all(|length| (512..=1_024).contains(length)), "{compression:?}: {lengths:?}");
    }
}

/// A compressed response over gRPC counts without its compression.
#[tokio::test(start_paused = true)]
async fn an_answer_is_capped_without_its_compression() {
    let (client, _) = server(|_| {
        let mut response = call(BOMB, &[("grpc-status", "0")]);
        response.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
        Ok(response)
    });
    let exporter = over("http://far.example/", Protocol::Grpc, client).max_response_bytes(900).build().unwrap();
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    // The status says that it was taken: F07.
    assert_eq!((exporter.totals().delivered, exporter.handle().counters().unreadable_responses), (1, 1));
}

/// 1,000 zeros in gzip, as the message of a call.
const BOMB: &[u8] = b"\x01\x00\x00\x00\x1d\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x63\x60\x18\x05\xa3\x60\x14\x0c\x77\x00\x00\x80\x17\x0b\x06\xe8\x03\x00\x00";

/// The body of a response that never comes to its end is waited for as long as the attempt may take. The status is the truth:
/// F07.
#[tokio::test(start_paused = true)]
async fn f07_an_answer_without_end_is_not_waited_for_longer_than_the_attempt_may_take() {
    let (client, log) = server(|number| {
        if number > 1 {
            return Ok(response(200, &[], b""));
        }
        Ok(Response::new(Silent.boxed_unsync()))
    });
    let exporter = over("http://far.example/", Protocol::HttpProtobuf, client);
    let exporter = exporter.attempt_timeout(Duration::from_secs(3)).build().unwrap();
    exporter.emit(record("one"));
    let start = tokio::time::Instant::now();
    soon(exporter.flush()).await;
    assert_eq!((requests(&log), exporter.totals().delivered), (1, 1));
    assert_eq!(exporter.handle().counters().unreadable_responses, 1);
    assert_eq!(start.elapsed().as_secs(), 3);
}

/// A body that never says anything.
struct Silent;

impl http_body::Body for Silent {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Pending
    }
}
