//! What is never sent, never read, and never followed.

use crate::support::{Body, answer, call, emit, far_side, line, over, record, requests, soon, to};
use bytes::Bytes;
use forebay::{
    batch::Batching,
    core::{BoxError, DropReason},
    export::{Compression, ExportErrorKind},
    otlp::Protocol,
};
use forebay_testkit::receiver::{Fault, Receiver};
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
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

/// X05: of a body without end the cap is read, whether the answer is good or bad.
#[tokio::test(start_paused = true)]
async fn x05_of_an_endless_answer_the_cap_is_read() {
    for (status, reason) in [(200, DropReason::Failed), (404, DropReason::Rejected)] {
        let asked = Arc::<AtomicU64>::default();
        let counter = Arc::clone(&asked);
        let (client, log) = far_side(move |_| Ok(endless(status, &counter)));
        let exporter = over("http://far.example/", Protocol::HttpProtobuf, client).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        assert_eq!((requests(&log), exporter.totals().dropped.get(reason)), (1, 1), "{status}");
        let cap = 4 << 20;
        assert!((cap..=cap + (16 << 10)).contains(&asked.load(Relaxed)), "{status}: {asked:?}");
    }
}

/// X05, on the wire: an answer of 1 GiB, and one that swells to 1 GiB.
#[tokio::test]
async fn x05_a_huge_answer_and_one_that_swells_cost_the_cap() {
    for fault in [Fault::Oversized { bytes: 1 << 30 }, Fault::GzipBomb { bytes: 1 << 30 }] {
        let receiver = Receiver::builder().script([fault.clone()]).start().await.unwrap();
        let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();
        exporter.emit(record("one"));
        soon(exporter.flush()).await;
        let totals = exporter.totals();
        assert_eq!((totals.delivered, totals.dropped.get(DropReason::Failed)), (0, 1), "{fault:?}");
        assert_eq!(exporter.last_error().unwrap().kind(), ExportErrorKind::Transport);
        // The exporter is none the worse for it.
        exporter.emit(record("two"));
        soon(exporter.flush()).await;
        assert_eq!(exporter.totals().delivered, 1);
    }
}

/// X05: a redirect is an answer like any other; nobody goes there, and no credential does.
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

/// A body above the cap is never sent: the batch is split, and an item that alone is above it is dropped.
#[tokio::test]
async fn a_body_above_the_cap_is_split_and_never_sent() {
    for protocol in Protocol::ALL {
        for compression in [Compression::None, Compression::gzip(), Compression::zstd()] {
            let receiver = Receiver::builder().start().await.unwrap();
            let exporter = to(&receiver, protocol).max_body(2_048).compression(compression).build().unwrap();
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

/// What compression makes larger is measured again.
#[tokio::test]
async fn the_cap_holds_after_compression_too() {
    let receiver = Receiver::builder().start().await.unwrap();
    // Noise of 1,900 bytes in base 64 of its own: gzip cannot make much of it.
    let mut state = 7_u64;
    let mut noise = |length: usize| -> String {
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from_u32(0x4e00 + u32::try_from(state >> 40).unwrap() % 0x4000).unwrap()
        };
        std::iter::repeat_with(next).take(length).collect()
    };
    let exporter = to(&receiver, Protocol::HttpProtobuf).max_body(1_024).compression(Compression::gzip());
    let exporter = exporter.batch(Batching::new().max_items(3)).build().unwrap();
    (0..9).for_each(|_| exporter.emit(record(noise(330))));
    soon(exporter.flush()).await;
    assert!(receiver.requests().iter().all(|request| request.wire_length <= 1_024));
    assert_eq!(exporter.totals().pending, 0);
    assert!(exporter.totals().delivered > 0, "{}", exporter.totals());
}

/// A compressed answer over gRPC counts without its compression.
#[tokio::test(start_paused = true)]
async fn an_answer_is_capped_without_its_compression() {
    let (client, _) = far_side(|_| {
        let mut response = call(BOMB, &[("grpc-status", "0")]);
        response.headers_mut().insert("grpc-encoding", HeaderValue::from_static("gzip"));
        Ok(response)
    });
    let exporter = over("http://far.example/", Protocol::Grpc, client).max_answer(900).build().unwrap();
    exporter.emit(record("one"));
    soon(exporter.flush()).await;
    assert_eq!(exporter.totals().dropped.get(DropReason::Failed), 1);
}

/// 1,000 zeros in gzip, as the message of a call.
const BOMB: &[u8] = b"\x01\x00\x00\x00\x1d\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x63\x60\x18\x05\xa3\x60\x14\x0c\x77\x00\x00\x80\x17\x0b\x06\xe8\x03\x00\x00";

/// The body of an answer that never comes to its end is an attempt that took too long.
#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_a_timeout() {
    let (client, log) = far_side(|number| {
        if number > 1 {
            return Ok(answer(200, &[], b""));
        }
        Ok(Response::new(Silent.boxed_unsync()))
    });
    let exporter = over("http://far.example/", Protocol::HttpProtobuf, client);
    let exporter = exporter.attempt_timeout(Duration::from_secs(3)).build().unwrap();
    exporter.emit(record("one"));
    let start = tokio::time::Instant::now();
    soon(exporter.flush()).await;
    assert_eq!((requests(&log), exporter.totals().delivered), (2, 1));
    assert!(start.elapsed() >= Duration::from_secs(3));
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
