//! What gRPC says about coming back.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_core::{Boxed, Outcome};
use forebay_retry::{
    GaveUp, RetryBuilder, RetryLayer, StopReason,
    grpc::{Classifier, Code, TrailersBody, TrailersLayer},
};
use forebay_testkit::Probe;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use std::{
    convert::Infallible,
    future::{pending, ready},
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

const OTLP: Classifier<Boxed> = Classifier::otlp();

/// `Status { code: 8, details: [RetryInfo { retry_delay: 2.5 s }] }`, as `protoc` encodes it.
const RETRY_IN_2500_MS: &str = "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ";

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap())).collect()
}

fn head(pairs: &[(&'static str, &str)]) -> Outcome {
    OTLP.head(StatusCode::OK, &headers(pairs))
}

const fn after(millis: u64) -> Outcome {
    Outcome::Retryable { after: Some(Duration::from_millis(millis)) }
}

#[test]
fn r05_the_table_is_that_of_the_opentelemetry_protocol() {
    for code in Code::ALL {
        let expected = match code {
            Code::Ok => Outcome::Success,
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Outcome::RETRYABLE,
            _ => Outcome::Terminal,
        };
        assert_eq!(OTLP.status(code.number().into(), &[]), expected, "{code}");
        assert_eq!(head(&[("grpc-status", &code.number().to_string())]), expected, "{code}");
    }
    for nonsense in ["", "x", "-1", "99", "4294967310"] {
        assert_eq!(head(&[("grpc-status", nonsense)]), Outcome::Terminal, "unknown: {nonsense:?}");
    }
}

#[test]
fn r12_resource_exhausted_is_retryable_only_with_a_hint() {
    assert_eq!(head(&[("grpc-status", "8")]), Outcome::Terminal);
    assert_eq!(head(&[("grpc-status", "8"), ("grpc-status-details-bin", RETRY_IN_2500_MS)]), after(2500));
    assert_eq!(head(&[("grpc-status", "14"), ("grpc-status-details-bin", RETRY_IN_2500_MS)]), after(2500));
    assert_eq!(head(&[("grpc-status", "3"), ("grpc-status-details-bin", RETRY_IN_2500_MS)]), Outcome::Terminal);
    assert_eq!(head(&[("grpc-status", "8"), ("grpc-status-details-bin", "not base64!")]), Outcome::Terminal);
    assert_eq!(head(&[("grpc-status", "14"), ("grpc-status-details-bin", "not base64!")]), Outcome::RETRYABLE);
}

#[test]
fn r12_pushback_is_obeyed_and_a_negative_one_forbids() {
    assert_eq!(head(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "1500")]), after(1500));
    assert_eq!(head(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "0")]), after(0));
    for never in ["-1", "", "soon", "99999999999999999999"] {
        assert_eq!(head(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", never)]), Outcome::Terminal, "{never}");
    }
}

#[test]
fn a_proxy_responds_in_http() {
    let of = |status: u16, pairs| OTLP.head(StatusCode::from_u16(status).unwrap(), &headers(pairs));
    for status in 100..600 {
        let expected = match status {
            200 => Outcome::Success,
            429 | 502 | 503 | 504 => Outcome::RETRYABLE,
            _ => Outcome::Terminal,
        };
        assert_eq!(of(status, &[]), expected, "{status}");
    }
    assert_eq!(of(503, &[("retry-after", "7")]), after(7000));
    assert_eq!(of(401, &[("retry-after", "7")]), Outcome::Terminal);
}

#[test]
fn single_codes_can_be_moved() {
    let classifier = Classifier::otlp().retry_on(Code::Internal).terminal_on(Code::ResourceExhausted);
    assert_eq!(classifier.status(13, &[]), Outcome::RETRYABLE);
    let exhausted = headers(&[("grpc-status", "8"), ("grpc-retry-pushback-ms", "5")]);
    assert_eq!(classifier.head(StatusCode::OK, &exhausted), Outcome::Terminal);
    assert!(format!("{classifier:?}").contains("Internal"));
}

#[tokio::test(start_paused = true)]
async fn it_is_one_line() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let probe = Probe::<Request<String>, Response<()>>::new(move |request| {
        let previous =
            request.headers().get("grpc-previous-rpc-attempts").map(|value| value.to_str().unwrap().to_owned());
        log.lock().unwrap().push(previous);
        async {
            let response = Response::builder().header("grpc-status", "8");
            Ok(response.header("grpc-status-details-bin", RETRY_IN_2500_MS).body(())?)
        }
    });
    let begin = Instant::now();
    let request = Request::post("https://collector.example/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    let response = RetryBuilder::grpc()
        .max_retries(2)
        .build()
        .unwrap()
        .layer(probe)
        .oneshot(request.body(String::new()).unwrap())
        .await
        .unwrap();
    assert!(begin.elapsed() >= Duration::from_secs(5), "two waits of 2.5 s at least");
    assert_eq!(*seen.lock().unwrap(), [None, Some("1".to_owned()), Some("2".to_owned())]);
    assert_eq!(GaveUp::of(response.extensions()).unwrap().stop_reason(), StopReason::Attempts);
}

type Frames = UnsyncBoxBody<Bytes, Infallible>;

/// A response with the status in its trailers, after `message`.
fn in_trailers(message: &'static str, status: &str) -> Response<Frames> {
    let trailers = headers(&[("grpc-status", status)]);
    Response::new(Full::from(message).with_trailers(ready(Some(Ok(trailers)))).boxed_unsync())
}

/// How many calls `response` leads to, and the response that is left.
async fn calls(response: fn() -> Response<Frames>) -> (usize, Response<TrailersBody<Frames>>) {
    let probe = Probe::<Request<String>, Response<Frames>>::new(move |_| async move { Ok(response()) });
    let watch = probe.watch();
    let request = Request::post("https://collector.example/Export").body(String::new()).unwrap();
    let response = RetryLayer::grpc().layer(probe).oneshot(request).await.unwrap();
    (watch.calls(), response)
}

#[tokio::test(start_paused = true)]
async fn r05_a_failure_in_trailers_without_a_message_is_seen() {
    let (made, response) = calls(|| in_trailers("", "14")).await;
    assert_eq!((made, &response.headers()["grpc-status"]), (4, &"14".parse::<HeaderValue>().unwrap()));
    let read = response.into_body().collect().await.unwrap();
    assert_eq!(read.trailers().unwrap()["grpc-status"], "14", "and it is still in the trailers");
    assert_eq!(calls(|| in_trailers("", "3")).await.0, 1, "not retryable");
    let (made, response) = calls(|| in_trailers("", "0")).await;
    assert_eq!((made, response.headers().len()), (1, 0), "a success is left as it is");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_has_begun_is_committed_and_nothing_of_it_is_lost() {
    let (made, response) = calls(|| in_trailers("message", "14")).await;
    assert_eq!((made, response.headers().len()), (1, 0));
    let read = response.into_body().collect().await.unwrap();
    assert_eq!(read.trailers().unwrap()["grpc-status"], "14");
    assert_eq!(read.to_bytes(), "message");
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_first_message_is_late_is_waited_for_no_longer_than_allowed() {
    // F02: a wait that no clock can count is one without an end.
    for (wait, expected) in [
        (TrailersLayer::new(), Some(100)),
        (TrailersLayer::new().wait(Duration::ZERO), Some(0)),
        (TrailersLayer::new().wait(Duration::from_nanos(1)), Some(1)),
        (TrailersLayer::new().wait(Duration::MAX), None),
    ] {
        let silent = || Full::from("").with_trailers(pending::<Option<Result<HeaderMap, Infallible>>>()).boxed_unsync();
        let probe = Probe::<Request<String>, Response<Frames>>::new(move |_| ready(Ok(Response::new(silent()))));
        let begin = Instant::now();
        let call = wait.layer(probe).oneshot(Request::new(String::new()));
        let ended = tokio::time::timeout(Duration::from_secs(3600), call).await.ok().map(Result::unwrap);
        assert_eq!(ended.map(|_| begin.elapsed()), expected.map(Duration::from_millis));
    }
}
