//! What a call and a key take from the heap.

#![expect(clippy::unwrap_used, reason = "test code")]

use allocation_counter::{AllocationInfo, measure};
use forebay_breaker::{BreakerLayer, Mode, Trip};
use forebay_core::BoxError;
use std::{fmt, future::Future, io, pin::pin, task::Context, time::Duration};
use tower::{Layer, Service, service_fn};

/// Ends with the first poll, or the test is wrong.
fn now<F: Future>(future: F) -> F::Output {
    let std::task::Poll::Ready(output) = pin!(future).poll(&mut Context::from_waker(std::task::Waker::noop())) else {
        unreachable!("nothing here waits");
    };
    output
}

/// Calls once as a user would.
fn call<S: Service<R, Response = u64, Error = BoxError>, R>(service: &mut S, request: R) -> Result<u64, BoxError> {
    now(std::future::poll_fn(|cx| service.poll_ready(cx))).unwrap();
    now(service.call(request))
}

async fn response(request: u64) -> Result<u64, io::Error> {
    Ok(request)
}

fn thousand<S: Service<u64, Response = u64, Error = BoxError>>(mut service: S) -> AllocationInfo {
    // What is made once, such as the number of a thread, is not the price of a call.
    for request in 0..200 {
        call(&mut service, request).unwrap();
    }
    measure(|| {
        for request in 0..1_000 {
            call(&mut service, request).unwrap();
        }
    })
}

#[test]
fn a_successful_call_allocates_nothing() {
    let window = Duration::from_secs(30);
    for trip in [
        Trip::consecutive(5),
        Trip::ratio(0.5).over_calls(100).into(),
        Trip::ratio(0.5).over(window).into(),
        Trip::slow_ratio(0.5, window).over(window).or(Trip::consecutive(5)).or(Trip::ratio(0.1).over_calls(9)),
    ] {
        let layer = BreakerLayer::builder().trip(trip.clone()).build().unwrap();
        assert_eq!(thousand(layer.layer(service_fn(response))).count_total, 0, "{trip:?}");
        let layer = BreakerLayer::builder().key(|request: &u64| if request.is_multiple_of(2) { "even" } else { "odd" });
        let layer = layer.trip(trip.clone()).build().unwrap();
        assert_eq!(thousand(layer.layer(service_fn(response))).count_total, 0, "with keys: {trip:?}");
    }
}

#[test]
fn a_rejected_call_allocates_the_box_of_its_error() {
    let key = "adb-1234567890123456.16.azuredatabricks.net:443";
    let keyed = BreakerLayer::builder().key(|_: &u64| key).mode(Mode::ForcedOpen).build().unwrap();
    let mut keyed = keyed.layer(service_fn(response));
    let unkeyed = BreakerLayer::builder().mode(Mode::ForcedOpen).build().unwrap();
    let mut unkeyed = unkeyed.layer(service_fn(response));
    call(&mut keyed, 0).unwrap_err();
    for rejected in [measure(|| drop(call(&mut keyed, 1))), measure(|| drop(call(&mut unkeyed, 1)))] {
        assert_eq!((rejected.count_total, rejected.bytes_total), (1, 104));
    }
}

#[test]
fn a_healthy_key_takes_at_most_125_bytes() {
    const KEYS: u32 = 100_000;
    let keys: Vec<String> = (0..KEYS).map(|number| format!("host-{number:06}.example.com:431")).collect();
    assert!(keys.iter().all(|key| key.len() == 27));
    let layer = BreakerLayer::builder().key(|key: &&str| *key).max_keys(KEYS);
    let layer = layer.build().unwrap();
    let mut service = layer.layer(service_fn(|_: &str| async { Ok::<u64, io::Error>(0) }));
    let taken = measure(|| {
        for key in &keys {
            call(&mut service, key.as_str()).unwrap();
        }
    });
    assert_eq!(layer.handle().len(), KEYS as usize);
    let each = taken.bytes_current / i64::from(KEYS);
    assert!(each <= 125, "{each} bytes per key");
}

#[test]
fn b19_a_key_takes_the_same_however_many_calls_it_gets() {
    let layer = BreakerLayer::builder().trip(Trip::ratio(0.5).over(Duration::from_secs(30)).min_calls(u32::MAX));
    let layer = layer.build().unwrap();
    let mut service = layer.layer(service_fn(|good: bool| async move {
        if good { Ok(0) } else { Err::<u64, BoxError>(Box::new(fmt::Error)) }
    }));
    let taken = measure(|| {
        for number in 0..100_000 {
            drop(call(&mut service, number % 2 == 0));
        }
    });
    assert_eq!(taken.bytes_current, 0);
}
