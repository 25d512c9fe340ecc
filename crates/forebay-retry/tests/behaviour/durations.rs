//! Every duration that a user or a server supplies, at the ends of its range: refused or borne, never a panic.

#![expect(clippy::unwrap_used, reason = "test code")]

use crate::support::ms;
use forebay_core::{BoxError, Outcome};
use forebay_retry::{Backoff, ConfigError, Deadline, Jitter, Policy, RetryBuilder, RetryLayer, Throttle};
use forebay_testkit::Probe;
use std::time::Duration;
use tower::{Layer, Service, ServiceExt};

const ENDS: [Duration; 3] = [Duration::ZERO, Duration::from_nanos(1), Duration::MAX];

/// Longer than every wait that is not one of the ends.
const SOME: Duration = Duration::from_secs(600);

type Classifier = Box<dyn Fn(&Result<(), BoxError>) -> Outcome + Send + Sync>;
type Builder =
    RetryBuilder<Classifier, forebay_retry::policy::Cloned, forebay_retry::policy::Keyed<forebay_core::Unkeyed>>;

fn throttled(hint: Option<Duration>, throttle: Throttle) -> Builder {
    let classifier: Classifier = Box::new(move |_| Outcome::Retryable { after: hint });
    RetryLayer::builder(classifier).throttle(throttle)
}

fn builder(hint: Option<Duration>) -> Builder {
    throttled(hint, Throttle::default())
}

/// Sends two requests that fail; they end, or wait on. Either way time goes on without a panic.
async fn drive(what: &str, builder: Builder) {
    let service = builder.build().unwrap().layer(Probe::<u32, ()>::new(|_| async { Err("away".into()) }));
    for _ in 0..2 {
        // A timer of its own: what waits for ever is dropped while it waits.
        if let Ok(result) = tokio::time::timeout(SOME, service.clone().oneshot(7)).await {
            assert!(result.is_err(), "{what}");
        }
    }
}

fn hints() -> impl Iterator<Item = Option<Duration>> {
    [None, Some(Duration::from_secs(7))].into_iter().chain(ENDS.map(Some))
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_knob_is_refused_or_borne_at_the_ends_of_its_range() {
    type Knob = (&'static str, fn(Option<Duration>, Duration) -> Result<Builder, ConfigError>);
    let knobs: [Knob; 12] = [
        ("max_elapsed", |hint, time| Ok(builder(hint).max_elapsed(time))),
        ("max_hint", |hint, time| Ok(builder(hint).max_hint(time))),
        ("constant", |hint, time| Ok(builder(hint).backoff(Backoff::constant(time)))),
        ("exponential", |hint, time| Ok(builder(hint).backoff(Backoff::exponential(time)))),
        ("fibonacci", |hint, time| Ok(builder(hint).backoff(Backoff::fibonacci(time)))),
        ("decorrelated", |hint, time| Ok(builder(hint).backoff(Backoff::decorrelated(time)))),
        ("cap", |hint, time| Ok(builder(hint).backoff(Backoff::exponential(ms(100)).cap(time)))),
        ("additive jitter", |hint, time| {
            Ok(builder(hint).backoff(Backoff::constant(ms(100)).jitter(Jitter::Additive(time))))
        }),
        ("throttle max_hint", |hint, time| Ok(throttled(hint, Throttle::builder().max_hint(time).build()?))),
        ("throttle patience", |hint, time| Ok(throttled(hint, Throttle::builder().patience(time).build()?))),
        ("both hints", |hint, time| {
            Ok(throttled(hint, Throttle::builder().max_hint(time).patience(time).build()?).max_hint(time))
        }),
        ("all of them", |hint, time| {
            let throttle = Throttle::builder().max_hint(time).patience(time).spread(100.0).build()?;
            let backoff = Backoff::exponential(time).cap(time).jitter(Jitter::Additive(time));
            Ok(throttled(hint, throttle).max_hint(time).max_elapsed(time).backoff(backoff))
        }),
    ];
    for (name, set) in knobs {
        for time in ENDS {
            for hint in hints() {
                match set(hint, time) {
                    Ok(builder) => drive(&format!("{name} = {time:?}, hint {hint:?}"), builder).await,
                    Err(refused) => assert!(!refused.knob().is_empty() && !refused.allowed().is_empty(), "{refused}"),
                }
            }
        }
    }
}

#[derive(Clone)]
struct Until(Deadline);

impl Policy<u32, (), BoxError> for Until {
    fn copy(&self, request: &u32) -> Option<u32> {
        Some(*request)
    }

    fn deadline(&self, _: &u32) -> Option<Deadline> {
        Some(self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn f02_every_deadline_and_every_hint_to_a_throttle_is_borne() {
    for time in ENDS {
        for hint in hints() {
            let layer = builder(hint).policy(Until(Deadline::after(time))).build().unwrap();
            let mut service = layer.layer(Probe::<u32, ()>::new(|_| async { Err("away".into()) }));
            let call = service.ready().await.unwrap().call(7);
            if let Ok(result) = tokio::time::timeout(SOME, call).await {
                assert!(result.is_err());
            }
        }
        let throttle = Throttle::builder().max_hint(Duration::MAX).spread(100.0).build().unwrap();
        for hint in ENDS {
            throttle.hint("key", time);
            throttle.hint("key", hint);
            assert_eq!(throttle.held("key").is_some(), time.max(hint) > Duration::ZERO, "{time:?}, {hint:?}");
            throttle.release("key");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f02_a_run_bears_every_hint_and_every_delay() {
    for time in ENDS {
        for hint in hints() {
            let classifier = move |_: &Result<(), ()>| Outcome::Retryable { after: hint };
            let retry = RetryLayer::builder(classifier).max_hint(time).max_elapsed(Duration::MAX);
            let retry = retry.backoff(Backoff::exponential(time)).build().unwrap();
            if let Ok(result) = tokio::time::timeout(SOME, retry.run(|| async { Err(()) })).await {
                assert_eq!(result, Err(()));
            }
        }
    }
}
