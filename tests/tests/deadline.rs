//! One deadline for all layers of a stack, and what a server responds when it passes.

#![expect(clippy::unwrap_used, reason = "test code")]

use bytes::Bytes;
use forebay::{
    Deadline, ServiceBuilderExt,
    breaker::BreakerLayer,
    http::{ByExtension, respond},
    queue::QueueLayer,
    retry::{Backoff, Jitter, RetryBuilder},
};
use forebay_testkit::Probe;
use http::{Request, Response};
use http_body_util::Full;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tower::{BoxError, ServiceBuilder, ServiceExt};

type Body = Full<Bytes>;

fn within(millis: u64) -> Request<Body> {
    let mut request = Request::get("http://shop.example/orders").body(Body::default()).unwrap();
    request.extensions_mut().insert(Deadline::after(Duration::from_millis(millis)));
    request
}

fn status(error: &BoxError) -> u16 {
    respond::<String>(&**error).status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn d06_a_queue_a_breaker_and_a_retry_obey_the_deadline_of_one_request() {
    // It fails slowly, and asks for nothing.
    let probe = Probe::<Request<Body>, Response<Body>>::new(|_| async {
        sleep(Duration::from_millis(300)).await;
        Err("the connection broke".into())
    });
    let watch = probe.watch();
    let queue = QueueLayer::builder().workers(1).weigh(|_: &Request<Body>| 1).deadline(ByExtension).build().unwrap();
    let backoff = Backoff::constant(Duration::from_millis(500)).jitter(Jitter::None);
    let retry = RetryBuilder::http().backoff(backoff).without_budget().without_throttle().build().unwrap();
    let service = ServiceBuilder::new()
        .with_queue(queue)
        .with_breaker(BreakerLayer::http().build().unwrap())
        .with_retry(retry)
        .service(probe);

    // One attempt of 300 ms; a second one could only begin after 800 ms. Meanwhile another request waits in the queue in vain.
    let begin = Instant::now();
    let first = tokio::spawn(service.clone().oneshot(within(800)));
    tokio::task::yield_now().await;
    let second = service.clone().oneshot(within(299)).await.unwrap_err();
    assert_eq!((status(&second), begin.elapsed().as_millis(), watch.calls()), (504, 300, 1));
    let first = first.await.unwrap().unwrap_err();
    assert_eq!((status(&first), begin.elapsed().as_millis(), watch.calls()), (504, 300, 1));

    // A millisecond more, and there is a second attempt, and no third.
    let begin = Instant::now();
    let error = service.clone().oneshot(within(801)).await.unwrap_err();
    assert_eq!((status(&error), begin.elapsed().as_millis(), watch.calls()), (504, 1100, 3));
}
