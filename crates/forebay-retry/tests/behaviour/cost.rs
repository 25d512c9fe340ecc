//! What a first attempt that succeeds costs: no allocation, and a small future.

use bytes::Bytes;
use forebay_core::{BoxError, ByError, Concrete, Outcome};
use forebay_retry::{Budget, Retry, RetryLayer, Throttle};
use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};
use tower::{Layer, Service};

/// Its future has 8 bytes, and is ready at once.
#[derive(Clone)]
struct Inner;

impl<Req> Service<Req> for Inner {
    type Response = ();
    type Error = std::io::Error;
    type Future = std::future::Ready<Result<(), std::io::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        std::future::ready(Ok(()))
    }
}

fn allocations<Req, S>(service: &mut S, request: Req) -> u64
where
    S: Service<Req, Response = (), Error = BoxError>,
{
    let info = allocation_counter::measure(|| {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(service.poll_ready(&mut cx).is_ready());
        let response = pin!(service.call(request));
        assert!(matches!(response.poll(&mut cx), Poll::Ready(Ok(()))));
    });
    info.count_total
}

#[test]
fn a_first_attempt_that_succeeds_allocates_nothing() {
    let mut plain = RetryLayer::builder(ByError::new()).build().unwrap().layer(Inner);
    let mut throttled = RetryLayer::builder(ByError::new())
        .throttle_by(Throttle::default(), |text: &Bytes| text)
        .build()
        .unwrap()
        .layer(Inner);
    let classifier = move |result: &Result<(), std::io::Error>| match result {
        Ok(()) => Outcome::Success,
        Err(_) => Outcome::RETRYABLE,
    };
    let mut observed =
        RetryLayer::builder(classifier).observe(|_: &forebay_retry::RetryEvent| {}).build().unwrap().layer(Inner);
    let body = Bytes::from(vec![7; 65_536]);
    // The first clone of a `Bytes` makes it shared, once.
    let _shared = body.clone();
    for _ in 0..3 {
        assert_eq!(allocations(&mut plain, 7_u64), 0);
        assert_eq!(allocations(&mut plain, body.clone()), 0);
        assert_eq!(allocations(&mut throttled, body.clone()), 0);
        assert_eq!(allocations(&mut observed, 7_u64), 0);
    }
}

#[test]
fn an_operation_that_succeeds_at_once_allocates_nothing() {
    let retry = RetryLayer::default();
    let info = allocation_counter::measure(|| {
        let mut cx = Context::from_waker(Waker::noop());
        let result = pin!(retry.run(|| std::future::ready(Ok::<_, std::io::Error>(7))));
        assert!(matches!(result.poll(&mut cx), Poll::Ready(Ok(7))));
    });
    assert_eq!(info.count_total, 0);
}

#[tokio::test(start_paused = true)]
async fn nor_does_it_while_the_budget_is_being_filled() {
    let budget = Budget::builder().floor_per_second(0.0).reserve(1.0).build().unwrap();
    let failing = RetryLayer::builder(|_: &Result<(), std::io::Error>| Outcome::RETRYABLE)
        .budget(budget.clone())
        .build()
        .unwrap()
        .layer(Inner);
    tower::ServiceExt::oneshot(failing, 7_u64).await.unwrap();
    assert!(budget.available() < 0.5);
    let mut service = RetryLayer::builder(ByError::new()).budget(budget.clone()).build().unwrap().layer(Inner);
    for _ in 0..20 {
        assert_eq!(allocations(&mut service, 7_u64), 0);
    }
    assert!((budget.available() - 1.0).abs() < 1e-9);
}

#[test]
fn the_future_is_at_most_128_bytes_larger_than_the_inner_one() {
    type Of<Req> = <Retry<Inner, ByError<Concrete>> as Service<Req>>::Future;
    let inner = size_of::<<Inner as Service<u64>>::Future>();
    for (name, size) in
        [("u64", size_of::<Of<u64>>()), ("Bytes", size_of::<Of<Bytes>>()), ("String", size_of::<Of<String>>())]
    {
        assert!(size - inner <= 128, "{name}: {size} over {inner}");
    }
    // What is not the request's own.
    assert!(size_of::<Of<u64>>() - inner - size_of::<Option<u64>>() <= 64);
}

/// Whatever a retry needs is allocated when it is needed.
#[tokio::test(start_paused = true)]
async fn a_retry_allocates_its_wait() {
    let mut service =
        RetryLayer::builder(|_: &Result<(), std::io::Error>| Outcome::RETRYABLE).build().unwrap().layer(Inner);
    let mut cx = Context::from_waker(Waker::noop());
    assert!(Service::<u64>::poll_ready(&mut service, &mut cx).is_ready());
    let info = allocation_counter::measure(|| {
        let response = pin!(service.call(7_u64));
        assert!(response.poll(&mut cx).is_pending());
    });
    assert!((1..=4).contains(&info.count_total), "{} allocations", info.count_total);
}
