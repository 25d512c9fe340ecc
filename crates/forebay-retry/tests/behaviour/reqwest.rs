//! The preset for HTTP over reqwest's own requests and responses.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_core::{Classify, Outcome, Seen, Verdict, http::Classifier};
use forebay_retry::{Backoff, GaveUp, RetriesExhausted, RetryBuilder, RetryLayer, StopReason};
use forebay_testkit::{Probe, Watch};
use http::{HeaderName, Method};
use reqwest::{Body, Client, Request, Response};
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

type Server = Probe<Request, Response>;

/// What a server has seen of an attempt: its body, and the header that counts attempts.
type Log = Arc<Mutex<Vec<(Vec<u8>, Option<String>)>>>;

/// A server that responds with these statuses, and then with 200.
fn server(statuses: &'static [u16]) -> (Server, Watch, Log) {
    let seen = Log::default();
    let log = Arc::clone(&seen);
    let probe = Probe::new(move |request: Request| {
        let body = request.body().and_then(Body::as_bytes).unwrap_or_default().to_vec();
        let previous = request.headers().get("x-previous").map(|value| value.to_str().unwrap().to_owned());
        let mut seen = log.lock().unwrap();
        seen.push((body, previous));
        let status = statuses.get(seen.len() - 1).copied().unwrap_or(200);
        let response = http::Response::builder().status(status);
        let response = if status == 429 { response.header("retry-after", "2") } else { response };
        std::future::ready(Ok(Response::from(response.body("").unwrap())))
    });
    let watch = probe.watch();
    (probe, watch, seen)
}

fn request(method: Method) -> Request {
    let builder = Client::new().request(method, "http://user:secret@store.example/rows");
    builder.header("x-rows", "3").body("rows").build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn r10_each_attempt_is_a_copy_and_the_hint_of_the_server_counts() {
    let (probe, watch, seen) = server(&[429, 503]);
    let retry = RetryBuilder::http().attempt_header(HeaderName::from_static("x-previous")).build().unwrap();
    let begin = Instant::now();
    let response = retry.layer(probe).oneshot(request(Method::PUT)).await.unwrap();
    assert_eq!((response.status().as_u16(), watch.calls()), (200, 3));
    assert!(begin.elapsed() >= Duration::from_secs(2), "retry-after");
    let expected = [None, Some("1".to_owned()), Some("2".to_owned())].map(|previous| (b"rows".to_vec(), previous));
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn d02_a_post_is_repeated_only_where_it_was_not_processed() {
    for (status, calls, stop_reason) in [(429, 2, None), (503, 1, Some(StopReason::NotIdempotent)), (404, 1, None)] {
        let (probe, watch, _) = server(match status {
            429 => &[429],
            503 => &[503],
            _ => &[404],
        });
        let response = RetryLayer::http().layer(probe).oneshot(request(Method::POST)).await.unwrap();
        assert_eq!(watch.calls(), calls, "{status}");
        assert_eq!(GaveUp::of(response.extensions()).map(GaveUp::stop_reason), stop_reason, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn d03_a_stream_that_reqwest_cannot_copy_is_sent_once() {
    let (probe, watch, _) = server(&[503]);
    let stream = Body::wrap(http_body_util::Full::<bytes::Bytes>::from("rows"));
    let request = Client::new().put("http://store.example/rows").body(stream).build().unwrap();
    let response = RetryLayer::http().layer(probe).oneshot(request).await.unwrap();
    let gave_up = GaveUp::of(response.extensions()).unwrap();
    assert_eq!((watch.calls(), gave_up.stop_reason()), (1, StopReason::BodyNotReplayable));
}

#[tokio::test(start_paused = true)]
async fn r18_a_hint_holds_back_all_calls_to_the_host_whatever_the_user() {
    let (probe, watch, _) = server(&[429]);
    let service = RetryBuilder::http().max_retries(0).build().unwrap().layer(probe);
    service.clone().oneshot(request(Method::PUT)).await.unwrap();
    let begin = Instant::now();
    let other = Client::new().get("http://store.example/other").build().unwrap();
    service.oneshot(other).await.unwrap();
    assert_eq!(watch.calls(), 2);
    assert!(begin.elapsed() >= Duration::from_secs(2), "{:?}", begin.elapsed());
}

#[test]
fn r06_a_request_that_cannot_be_built_is_not_sent_again() {
    let error = Client::new().get("not a URL").build().unwrap_err();
    assert!(error.is_builder());
    assert_eq!(Classifier::general().error(&error), Outcome::Ignored, "it says nothing of the server either");
    assert_eq!(Classifier::driver().error(&error), Outcome::Terminal);
    let classifier = Classifier::general();
    let timeout = Response::from(http::Response::builder().status(504).body("").unwrap());
    assert_eq!(classifier.classify(&Ok::<_, reqwest::Error>(timeout)), Outcome::RETRYABLE);
}

/// The whole: reqwest's client below the layer, and no server to connect to.
#[tokio::test]
async fn d02_a_refused_connection_of_reqwest_was_not_processed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    let retry = RetryBuilder::http().backoff(Backoff::constant(Duration::ZERO)).build().unwrap();
    let client = Client::builder().no_proxy().build().unwrap();
    let error = retry.layer(client.clone()).oneshot(client.post(url).body("order").build().unwrap()).await.unwrap_err();
    let exhausted = error.downcast::<RetriesExhausted>().unwrap();
    assert_eq!(exhausted.attempts(), 4, "a POST");
    assert_eq!(Verdict::of(&*exhausted).unwrap().seen(), Seen::No);
    assert!(exhausted.downcast::<reqwest::Error>().unwrap().is_connect());
}
