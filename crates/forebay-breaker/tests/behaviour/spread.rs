//! B21: a fleet that opened together does not probe together.

use crate::far::*;
use forebay_breaker::{BreakerLayer, OpenFor, Trip};
use forebay_testkit::Histogram;
use tower::Layer;

#[tokio::test(start_paused = true)]
async fn b21_a_thousand_breakers_that_open_at_once_are_spread_over_their_jitter() {
    for (open_for, span) in [
        (OpenFor::from(secs(60)), secs(6)),
        (OpenFor::new(secs(60)).jitter(0.5), secs(30)),
        // At the cap, where the grown time is cut off.
        (OpenFor::new(secs(60)).growth(2.0).cap(secs(60)).jitter(0.5), secs(20)),
    ] {
        let mut waits = Vec::new();
        for seed in 0..1_000 {
            let layer = BreakerLayer::builder()
                .trip(Trip::consecutive(1))
                .open_for(open_for.clone())
                .seed(seed)
                .build()
                .unwrap();
            let mut service = layer.layer(far());
            calls(&mut service, Fail, 1).await;
            waits.push(call(&mut service, Succeed).await.rejection().retry_in());
        }
        let histogram = Histogram::new(ms(100), waits);
        assert!(histogram.peak_to_mean() <= 3.0, "{}: {:?}", histogram.peak_to_mean(), histogram.bins());
        let missing = span.saturating_sub(histogram.span());
        assert!(missing <= span / 20, "only over {:?} of {span:?}", histogram.span());
    }
}

#[tokio::test(start_paused = true)]
async fn b21_the_keys_of_one_breaker_are_spread_too() {
    let layer = BreakerLayer::builder()
        .key(|request: &u64| request)
        .trip(Trip::consecutive(1))
        .open_for(OpenFor::new(secs(60)).jitter(0.5))
        .seed(7)
        .build()
        .unwrap();
    let mut service =
        layer.layer(tower::service_fn(|_: u64| async { Err::<(), _>(forebay_core::BoxError::from("no")) }));
    for key in 0..1_000 {
        assert!(tower::Service::call(&mut service, key).await.is_err());
    }
    let waits = layer.handle().snapshot().keys.into_iter().map(|key| key.status.retry_in.unwrap());
    assert!(Histogram::new(ms(100), waits).peak_to_mean() <= 3.0);
}

#[tokio::test(start_paused = true)]
async fn two_breakers_without_a_seed_do_not_share_their_chance() {
    let mut waits = Vec::new();
    for _ in 0..8 {
        let layer = BreakerLayer::builder()
            .trip(Trip::consecutive(1))
            .open_for(OpenFor::new(secs(60)).jitter(1.0))
            .build()
            .unwrap();
        let mut service = layer.layer(far());
        calls(&mut service, Fail, 1).await;
        waits.push(call(&mut service, Succeed).await.rejection().retry_in());
    }
    waits.sort();
    waits.dedup();
    assert_eq!(waits.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_opens_for_the_same_time() {
    let mut waits = Vec::new();
    for _ in 0..2 {
        let layer = BreakerLayer::builder().trip(Trip::consecutive(1)).seed(42).build().unwrap();
        let mut service = layer.layer(far());
        calls(&mut service, Fail, 1).await;
        waits.push(call(&mut service, Succeed).await.rejection().retry_in());
    }
    assert_eq!(waits[0], waits[1]);
}
