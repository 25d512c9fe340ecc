//! Retry for HTTP, in one line: statuses, hints, marks, bodies, and the errors of a real client.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay_core::{
    BoxError, DropReason, Verdict,
    http::{Classifier, authority},
};
use forebay_retry::{
    Attempt, Backoff, Deadline, GaveUp, Jitter, RetriesExhausted, RetryBuilder, RetryLayer, StopReason, Throttle,
    http::{Authority, HttpPolicy},
    policy::Keyed,
};
use forebay_testkit::{Probe, Watch};
use http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::Full;
use proptest::prelude::*;
use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, util::BoxCloneSyncService};

type Body = Full<Bytes>;
type Heads = Arc<Mutex<Vec<http::request::Parts>>>;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn post() -> Request<Body> {
    Request::post("https://collector.example:4318/v1/logs")
        .header("x-batch-id", "b-17")
        .extension(7_u64)
        .body(Full::from("the same bytes"))
        .unwrap()
}

/// The preset, for servers that take a POST twice.
fn http() -> RetryBuilder<Classifier, HttpPolicy, Keyed<Authority>> {
    RetryBuilder::http().methods([Method::POST])
}

fn http_with(classifier: Classifier) -> RetryLayer<Classifier, HttpPolicy, Keyed<Authority>> {
    RetryBuilder::http_with(classifier).methods([Method::POST]).build().unwrap()
}

/// Responds with these statuses one after the other, and then with the last one only.
fn server(responses: Vec<(u16, Option<&'static str>)>) -> (Probe<Request<Body>, Response<()>>, Watch, Heads) {
    let heads = Heads::default();
    let (seen, next) = (Arc::clone(&heads), Mutex::new(0));
    let probe = Probe::new(move |request: Request<Body>| {
        use http_body_util::BodyExt;
        let (head, body) = request.into_parts();
        seen.lock().unwrap().push(head);
        let mut next = next.lock().unwrap();
        let (status, hint) = responses[(*next).min(responses.len() - 1)];
        *next += 1;
        async move {
            assert_eq!(body.collect().await.unwrap().to_bytes(), "the same bytes");
            let mut response = Response::builder().status(status);
            if let Some(hint) = hint {
                response = response.header(RETRY_AFTER, HeaderValue::from_bytes(hint.as_bytes())?);
            }
            Ok(response.body(())?)
        }
    });
    let watch = probe.watch();
    (probe, watch, heads)
}

async fn attempts(classifier: Classifier, status: u16) -> usize {
    let (probe, watch, _) = server(vec![(status, None)]);
    let response = http_with(classifier).layer(probe).oneshot(post()).await.unwrap();
    assert_eq!(response.status(), status);
    watch.calls()
}

#[tokio::test(start_paused = true)]
async fn r04_r05_each_preset_retries_its_statuses_and_no_others() {
    for status in 200..600 {
        let tried = |yes: bool| if yes { 4 } else { 1 };
        assert_eq!(
            attempts(Classifier::driver(), status).await,
            tried([429, 500, 502, 503, 504].contains(&status)),
            "driver, {status}"
        );
        assert_eq!(
            attempts(Classifier::otlp(), status).await,
            tried([429, 502, 503, 504].contains(&status)),
            "otlp, {status}"
        );
        assert_eq!(
            attempts(Classifier::lenient(), status).await,
            tried(status >= 300 && ![400, 401, 403, 404].contains(&status)),
            "lenient, {status}"
        );
    }
}

fn failing(error: fn() -> BoxError) -> (Probe<Request<Body>, Response<()>>, Watch) {
    let probe = Probe::new(move |_| async move { Err(error()) });
    let watch = probe.watch();
    (probe, watch)
}

/// Of the five systems one retries what it does not know and one does not; here every preset does, because an error
/// without a name is most often the network's. A caller that knows better passes a closure.
#[tokio::test(start_paused = true)]
async fn r06_an_unknown_error_is_retried_by_every_preset() {
    for classifier in [Classifier::driver(), Classifier::otlp(), Classifier::lenient()] {
        let (probe, watch) = failing(|| "something".into());
        let error = http_with(classifier).layer(probe).oneshot(post()).await.unwrap_err();
        assert!(error.is::<RetriesExhausted>());
        assert_eq!(watch.calls(), 4);
    }
}

#[tokio::test(start_paused = true)]
async fn r07_a_host_that_does_not_exist_is_not_asked_for_again_by_drivers() {
    let missing = || io::Error::other("failed to lookup address information: Name or service not known").into();
    for (classifier, calls) in [(Classifier::driver(), 1), (Classifier::otlp(), 4)] {
        let (probe, watch) = failing(missing);
        let service = http_with(classifier).layer(probe);
        service.oneshot(post()).await.unwrap_err();
        assert_eq!(watch.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn r08_nested_layers_do_not_multiply_responses_either() {
    let (probe, watch, _) = server(vec![(503, None)]);
    let inner = http().max_retries(2).build().unwrap();
    let service = ServiceBuilder::new().layer(http().max_retries(5).build().unwrap()).layer(inner).service(probe);
    let response = service.oneshot(post()).await.unwrap();
    assert_eq!(watch.calls(), 3, "not 18");
    let gave_up = GaveUp::of(response.extensions()).unwrap();
    assert_eq!((gave_up.attempts(), gave_up.stop_reason()), (3, StopReason::Attempts));
    assert_eq!(response.status(), 503);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_was_not_given_up_on_carries_no_mark() {
    let (probe, ..) = server(vec![(503, None), (200, None)]);
    let response = http().build().unwrap().layer(probe).oneshot(post()).await.unwrap();
    assert_eq!(GaveUp::of(response.extensions()), None);
    let (probe, ..) = server(vec![(404, None)]);
    let response = http().build().unwrap().layer(probe).oneshot(post()).await.unwrap();
    assert_eq!(GaveUp::of(response.extensions()), None);
}

#[tokio::test(start_paused = true)]
async fn r10_method_uri_headers_extensions_and_bytes_are_the_same_on_each_attempt() {
    let (probe, _, heads) = server(vec![(503, None), (503, None), (200, None)]);
    let mut request = post();
    *request.version_mut() = http::Version::HTTP_2;
    http().build().unwrap().layer(probe).oneshot(request).await.unwrap();
    let heads = heads.lock().unwrap();
    assert_eq!(heads.len(), 3);
    for (index, head) in heads.iter().enumerate() {
        assert_eq!((&head.method, &head.uri), (&Method::POST, post().uri()));
        assert_eq!(head.version, http::Version::HTTP_2);
        assert_eq!(head.headers, *post().headers());
        assert_eq!(head.extensions.get::<u64>(), Some(&7));
        assert_eq!(Attempt::of(&head.extensions).number(), u32::try_from(index).unwrap() + 1);
    }
    assert!(heads[0].extensions.get::<Attempt>().is_none(), "the first attempt pays for no extension");
}

#[tokio::test(start_paused = true)]
async fn r10_headers_tell_the_attempt_and_a_stable_id_if_asked_to() {
    let (attempt, id) = (HeaderName::from_static("x-retry-count"), HeaderName::from_static("idempotency-key"));
    let layer = RetryBuilder::http().attempt_header(attempt.clone()).request_id_header(id.clone()).build().unwrap();
    let (probe, _, heads) = server(vec![(503, None), (503, None), (200, None)]);
    let service = layer.layer(probe);
    service.clone().oneshot(post()).await.unwrap();
    let mut named = post();
    named.headers_mut().insert(id.clone(), HeaderValue::from_static("mine"));
    service.clone().oneshot(named).await.unwrap();
    service.oneshot(post()).await.unwrap();

    let heads = heads.lock().unwrap();
    let counts: Vec<_> =
        heads.iter().map(|head| head.headers.get(&attempt).map(|value| value.to_str().unwrap())).collect();
    assert_eq!(counts, [None, Some("1"), Some("2"), None, None]);
    let ids: Vec<_> = heads.iter().map(|head| head.headers[&id].to_str().unwrap()).collect();
    assert_eq!((ids[0], ids[0].len()), (ids[1], 32));
    assert_eq!(ids[0], ids[2]);
    assert_eq!(ids[3], "mine");
    assert_ne!(ids[0], ids[4], "another request, another id");
}

#[tokio::test(start_paused = true)]
async fn r12_f01_retry_after_is_honoured_and_capped() {
    // (header, when the second attempt comes at the earliest, in seconds)
    let torture: [(&str, u64); 13] = [
        ("0", 0),
        ("3", 3),
        ("60", 60),
        ("61", 60),
        ("-1", 0),
        ("1e20", 0),
        ("100000000000000000000", 60),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 60),
        ("soon", 0),
        ("", 0),
        ("5.5", 0),
        ("ß", 0),
    ];
    for (header, earliest) in torture {
        let (probe, watch, _) = server(vec![(429, Some(header)), (200, None)]);
        let begin = Instant::now();
        let backoff = Backoff::constant(ms(500)).jitter(Jitter::Equal);
        let service = RetryBuilder::http().backoff(backoff).build().unwrap().layer(probe);
        let response = service.oneshot(post()).await.unwrap();
        assert_eq!((response.status(), watch.calls()), (StatusCode::OK, 2), "{header}");
        let floor = Duration::from_secs(earliest).max(ms(250));
        assert!(begin.elapsed() >= floor, "{header}: below the hint, or the backoff's own floor");
        assert!(begin.elapsed() <= floor * 3 / 2 + ms(501), "{header}: {:?}", begin.elapsed());
    }
}

proptest! {
    #[test]
    fn r12_no_header_makes_it_panic_or_wait_too_long(bytes in proptest::collection::vec(32..127_u8, 0..40)) {
        let header: &'static str = String::from_utf8(bytes).unwrap().leak();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let (probe, ..) = server(vec![(503, Some(header)), (200, None)]);
            let begin = Instant::now();
            http().build().unwrap().layer(probe).oneshot(post()).await.unwrap();
            assert!(begin.elapsed() <= Duration::from_secs(90) + ms(1));
        });
    }
}

#[tokio::test(start_paused = true)]
async fn r18_the_hosts_are_held_back_one_by_one() {
    let (probe, _, heads) = server(vec![(429, Some("5")), (200, None)]);
    let service = http().build().unwrap().layer(probe);
    let begin = Instant::now();
    let hinted = tokio::spawn(service.clone().oneshot(post()));
    tokio::task::yield_now().await;
    let other = Request::post("https://other.example/").body(Full::from("the same bytes")).unwrap();
    service.clone().oneshot(other).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    service.oneshot(post()).await.unwrap();
    assert!(begin.elapsed() >= ms(5000), "a call that was never refused waits with those that were");
    hinted.await.unwrap().unwrap();
    assert_eq!(heads.lock().unwrap().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn r18_the_throttle_can_be_another_or_none() {
    let throttle = Throttle::default();
    throttle.hint("collector.example:4318", ms(700));
    let (probe, ..) = server(vec![(200, None)]);
    let begin = Instant::now();
    http().without_throttle().build().unwrap().layer(probe.clone()).oneshot(post()).await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    http().throttle_by(throttle, authority).build().unwrap().layer(probe).oneshot(post()).await.unwrap();
    assert!(begin.elapsed() >= ms(700));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_in_the_extensions_is_obeyed() {
    let (probe, watch, _) = server(vec![(503, Some("9"))]);
    let mut request = post();
    request.extensions_mut().insert(Deadline::after(Duration::from_secs(8)));
    let response = http().build().unwrap().layer(probe).oneshot(request).await.unwrap();
    assert_eq!(GaveUp::of(response.extensions()).unwrap().stop_reason(), StopReason::Deadline);
    assert_eq!(watch.calls(), 1);
}

/// A body that may or may not be copied.
#[derive(Debug)]
enum Upload {
    Bytes(Bytes),
    Stream,
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_copied_is_refused_with_a_reason() {
    let copy = |body: &Upload| match body {
        Upload::Bytes(bytes) => Some(Upload::Bytes(bytes.clone())),
        Upload::Stream => None,
    };
    let layer = RetryBuilder::http().attempt_header(HeaderName::from_static("x-retry-count")).copy_body(copy);
    let layer = layer.build().unwrap();
    let down = Probe::<Request<Upload>, Response<()>>::new(|_| async { Err(io::Error::other("reset").into()) });
    let watch = down.watch();
    let send = |body| layer.layer(down.clone()).oneshot(Request::new(body));
    let why = |error: &BoxError| error.downcast_ref::<RetriesExhausted>().unwrap().stop_reason();

    assert_eq!(why(&send(Upload::Bytes(Bytes::from_static(b"x"))).await.unwrap_err()), StopReason::Attempts);
    assert_eq!(watch.calls(), 4);
    let error = send(Upload::Stream).await.unwrap_err();
    assert_eq!(why(&error), StopReason::BodyNotReplayable);
    assert_eq!(Verdict::of(&*error).unwrap().reason(), DropReason::RetriesExhausted);
    assert_eq!(watch.calls(), 5, "the first attempt went out");
}

/// The error type is hyper-util's own, and its kind is inferred.
#[tokio::test]
async fn it_is_one_line_over_a_real_client_with_its_concrete_error() {
    use hyper_util::{client::legacy::Client, rt::TokioExecutor};

    // A port that was free a moment ago, and that no socket listens on.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    let mut service = ServiceBuilder::new()
        .layer(RetryBuilder::http().max_retries(2).backoff(Backoff::constant(ms(1))).build().unwrap())
        .service(client.clone());
    let request = Request::get(format!("http://127.0.0.1:{port}/")).body(Body::default()).unwrap();
    let error = service.ready().await.unwrap().call(request.clone()).await.unwrap_err();
    assert_eq!(error.downcast_ref::<RetriesExhausted>().unwrap().attempts(), 3);
    assert!(forebay_core::is_caused_by::<hyper_util::client::legacy::Error>(&*error));

    // Boxed on either side it is the same line.
    let boxed = client.map_err(BoxError::from);
    let layer = RetryBuilder::http().max_retries(1).backoff(Backoff::constant(ms(1))).build().unwrap();
    let service = BoxCloneSyncService::new(ServiceBuilder::new().layer(layer).service(boxed));
    let error = service.oneshot(request).await.unwrap_err();
    assert_eq!(error.downcast_ref::<RetriesExhausted>().unwrap().attempts(), 2);
}

#[test]
fn the_whole_future_with_a_request_in_it_can_be_sent() {
    fn send<T: Send>(_: &T) {}
    let (probe, ..) = server(vec![(200, None)]);
    send(&http().build().unwrap().layer(probe).oneshot(post()));
}
