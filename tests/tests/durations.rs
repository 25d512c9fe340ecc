//! Every duration that a user or a server can say, at the ends of its range: refused by name, or borne.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use bytes::Bytes;
use forebay::{
    batch::Batching,
    breaker::{OpenFor, Trip},
    core::{BoxError, DropReason},
    export::{Credential, Exporter, ExporterBuilder},
    otlp::{LogRecord, LogsEncoder},
    retry::{Backoff, Jitter},
};
use http::{Request, Response};
use http_body_util::Full;
use std::{
    future::{Ready, ready},
    sync::{
        Arc, Once,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tower::util::ServiceFn;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A worker's panic is kept in its task; here each is counted.
fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // An assertion of another test is not a panic of a crate.
            if panic.location().is_none_or(|at| !at.file().contains("tests/")) {
                PANICS.fetch_add(1, Relaxed);
            }
            report(panic);
        }));
    });
}

const ENDS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX];

type Answer = Result<Response<Full<Bytes>>, BoxError>;
type Client<F> = ServiceFn<F>;
type Builder = ExporterBuilder<LogRecord, LogsEncoder>;

/// Refuses the first requests with `503` and `hint`, and takes what comes after them.
fn client(
    refusals: usize,
    hint: Option<&'static str>,
) -> Client<impl FnMut(Request<Full<Bytes>>) -> Ready<Answer> + Clone + Send> {
    let asked = Arc::<AtomicUsize>::default();
    tower::service_fn(move |_| {
        let refused = asked.fetch_add(1, Relaxed) < refusals;
        let mut response = Response::builder().status(if refused { 503 } else { 200 });
        if let (true, Some(hint)) = (refused, hint) {
            response = response.header("retry-after", hint);
        }
        ready(response.body(Full::default()).map_err(BoxError::from))
    })
}

fn exporter() -> Builder {
    Exporter::builder()
        .endpoint("http://far.example/")
        .encoder(LogsEncoder::builder().build().unwrap())
        .batching(Batching::new().max_items(1))
}

/// Drives failures through an exporter: it ends in time, without a panic, and its ledger balances.
async fn drive(what: &str, builder: Builder, hint: Option<&'static str>) {
    count_panics();
    let before = PANICS.load(Relaxed);
    let exporter = match builder.client(client(6, hint)).build() {
        Ok(exporter) => exporter,
        Err(refused) => {
            assert!(!refused.knob().is_empty() && !refused.allowed().is_empty(), "{what}: {refused}");
            return;
        }
    };
    for number in 0..4 {
        exporter.emit(LogRecord::new(format!("record {number}")));
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let ended = tokio::time::timeout(Duration::from_secs(700), exporter.shutdown(Duration::from_secs(600))).await;
    let totals = ended.unwrap_or_else(|_| panic!("{what}: it did not end")).totals;
    assert!(totals.balance() && totals.pending == 0, "{what}: {totals}");
    assert_eq!(totals.dropped.get(DropReason::Panicked), 0, "{what}");
    assert_eq!(PANICS.load(Relaxed), before, "{what}: something panicked");
}

/// Each knob of the exporter and of the layers in it that is a duration.
#[tokio::test(start_paused = true)]
async fn f02_every_duration_knob_is_refused_or_borne_at_the_ends_of_its_range() {
    type Knob = (&'static str, fn(Builder, Duration) -> Builder);
    let knobs: [Knob; 22] = [
        ("max_age", |builder, time| builder.max_age(time)),
        ("max_hint", |builder, time| builder.max_hint(time)),
        ("attempt_timeout", |builder, time| builder.attempt_timeout(time)),
        ("batch max_delay", |builder, time| builder.batching(Batching::new().max_delay(time))),
        ("park_backoff constant", |builder, time| builder.park_backoff(Backoff::constant(time))),
        ("park_backoff exponential", |builder, time| builder.park_backoff(Backoff::exponential(time))),
        ("park_backoff cap", |builder, time| {
            builder.park_backoff(Backoff::exponential(Duration::from_secs(1)).cap(time))
        }),
        ("park_backoff fibonacci", |builder, time| builder.park_backoff(Backoff::fibonacci(time))),
        ("park_backoff decorrelated", |builder, time| builder.park_backoff(Backoff::decorrelated(time))),
        ("park_backoff additive", |builder, time| {
            builder.park_backoff(Backoff::constant(Duration::from_secs(1)).jitter(Jitter::Additive(time)))
        }),
        ("retry constant", |builder, time| builder.retry(|retry| retry.backoff(Backoff::constant(time)))),
        ("retry exponential", |builder, time| builder.retry(|retry| retry.backoff(Backoff::exponential(time)))),
        ("retry max_elapsed", |builder, time| builder.retry(|retry| retry.max_elapsed(time))),
        ("retry max_hint", |builder, time| builder.retry(|retry| retry.max_hint(time))),
        ("open_for", |builder, time| builder.breaker(|breaker| breaker.trip(Trip::consecutive(1)).open_for(time))),
        ("open_for cap", |builder, time| {
            let open = OpenFor::new(Duration::from_secs(1)).growth(2.0).cap(time);
            builder.breaker(|breaker| breaker.trip(Trip::consecutive(1)).open_for(open))
        }),
        ("probe_lease", |builder, time| {
            let open = Duration::from_secs(1);
            builder.breaker(|breaker| breaker.trip(Trip::consecutive(1)).open_for(open).probe_lease(time))
        }),
        ("ramp", |builder, time| {
            let open = Duration::from_secs(1);
            builder.breaker(|breaker| {
                breaker.trip(Trip::consecutive(1)).open_for(open).ramp(forebay::breaker::Ramp::over(time))
            })
        }),
        ("trip over", |builder, time| {
            builder.breaker(|breaker| breaker.trip(Trip::ratio(0.5).over(time).min_calls(1)))
        }),
        ("idle keys", |builder, time| builder.breaker(|breaker| breaker.idle(time))),
        ("valid_for", |builder, time| {
            let credential =
                move || ready(Credential::bearer("token").map(|it| it.valid_for(time)).map_err(BoxError::from));
            builder.auth(credential).allow_plaintext_credentials()
        }),
        ("all of them", |builder, time| {
            builder.max_age(time).max_hint(time).attempt_timeout(time).park_backoff(Backoff::constant(time))
        }),
    ];
    for (name, set) in knobs {
        for time in ENDS {
            for hint in [None, Some("7")] {
                drive(&format!("{name} = {time:?}"), set(exporter(), time), hint).await;
            }
        }
    }
}

/// Each way in which a server says how long to wait.
#[tokio::test(start_paused = true)]
async fn f02_every_duration_of_a_server_is_borne_at_the_ends_of_its_range() {
    for hint in [
        "0",
        "1",
        "18446744073709551615",
        "99999999999999999999999",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ] {
        drive(hint, exporter(), Some(hint)).await;
        drive(hint, exporter().max_hint(Duration::MAX), Some(hint)).await;
        drive(hint, exporter().max_hint(Duration::MAX).max_age(Duration::MAX), Some(hint)).await;
    }
}
