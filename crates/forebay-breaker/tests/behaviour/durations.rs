//! Every duration that a user or a server can say, at the ends of its range: refused by name, or borne.

use crate::far::*;
use forebay_breaker::{BreakerBuilder, BreakerLayer, OpenFor, Ramp, State, Trip};
use forebay_core::{BoxError, ByError, Outcome, Unkeyed};
use std::time::Duration;
use tower::{Layer, Service, ServiceExt, service_fn};

type Plain = BreakerBuilder;

const ENDS: [Duration; 5] =
    [Duration::ZERO, Duration::from_nanos(1), ms(1), Duration::from_secs(u64::MAX), Duration::MAX];

type Set = fn(Plain, Duration) -> Plain;

const KNOBS: [(&str, Set); 8] = [
    ("open_for", |builder, time| builder.open_for(time)),
    ("cap", |builder, time| builder.open_for(OpenFor::new(ms(1)).growth(100.0).cap(time))),
    ("max_hint", |builder, time| builder.open_for(OpenFor::new(ms(1)).max_hint(time))),
    ("probe_lease", |builder, time| builder.probe_lease(time)),
    ("ramp", |builder, time| builder.ramp(Ramp::over(time))),
    ("idle", |builder, time| builder.idle(time)),
    ("over", |builder, time| builder.trip(Trip::ratio(0.5).over(time).min_calls(1))),
    ("slow_ratio", |builder, time| builder.trip(Trip::slow_ratio(0.5, time).min_calls(1))),
];

/// Fails with the longest hint, waits as long as the rejection says, and succeeds: the circuit is used in every state.
async fn drive(layer: &BreakerLayer<(), Unkeyed, ByError>) {
    let mut service = layer.layer(far());
    for _ in 0..3 {
        call(&mut service, Throttle(u64::MAX)).await;
        for _ in 0..5 {
            if let Got::Rejected(open) = call(&mut service, Succeed).await {
                assert!(!open.retry_in().is_zero());
                wait(open.retry_in()).await;
            }
        }
        let status = layer.handle().status(&()).unwrap();
        assert!(status.state != State::Open, "{status:?}");
    }
    layer.handle().expire_idle();
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_knob_is_refused_by_name_or_borne() {
    let mut built = Vec::new();
    for (knob, set) in KNOBS {
        for time in ENDS {
            match set(BreakerLayer::builder().trip(Trip::consecutive(1)).open_for(ms(1)), time).build() {
                Ok(layer) => {
                    drive(&layer).await;
                    built.push((knob, time));
                }
                Err(error) => {
                    assert_eq!(error.knob(), knob, "{error}");
                    assert_eq!(error.value(), format!("{time:?}"));
                    assert!(error.allowed().contains(" to "), "{error}");
                }
            }
        }
    }
    assert!(built.contains(&("max_hint", Duration::ZERO)) && built.contains(&("open_for", ms(1))), "{built:?}");
}

#[tokio::test(start_paused = true)]
async fn f01_f02_any_hint_of_a_server_is_obeyed_up_to_its_cap() {
    for hint in ENDS {
        for most in [Duration::ZERO, Duration::from_nanos(1), secs(60), secs(365 * 24 * 3600)] {
            let open_for = OpenFor::new(ms(1)).jitter(0.0).cap(secs(600)).max_hint(most);
            let layer = BreakerLayer::builder()
                .trip(Trip::consecutive(1))
                .open_for(open_for)
                .classify(move |_: &Result<(), BoxError>| Outcome::Retryable { after: Some(hint) })
                .build()
                .unwrap();
            let mut service = layer.layer(service_fn(|()| async { Ok(()) }));
            service.ready().await.unwrap().call(()).await.unwrap();
            let wait = layer.handle().status(&()).unwrap().retry_in.unwrap();
            assert_eq!(wait, hint.min(most).min(secs(600)).max(ms(1)), "hint {hint:?}, at most {most:?}");
        }
    }
}
