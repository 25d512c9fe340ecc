//! Every duration that a driver or the service can say, at the ends of its range: refused by name, or borne.

#![expect(clippy::panic, reason = "test code")]

mod common;

use common::{Answer, Fake, advance, build, connect, flag, telemetry};
use forebay_databricks::{
    ConnectionParameters, DriverTelemetry, FeatureFlag, ResultInfo, Settings, Severity, VolumeOperation,
};
use std::{
    sync::{
        Once,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{Instant, timeout};

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// A worker keeps its panic to itself; here each is counted.
fn count_panics() -> usize {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            // An assertion of another test is not a panic of the crate.
            if panic.location().is_none_or(|at| !at.file().contains("tests/")) {
                PANICS.fetch_add(1, Relaxed);
            }
            report(panic);
        }));
    });
    PANICS.load(Relaxed)
}

const ENDS: [Duration; 4] = [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(u64::MAX), Duration::MAX];

type Knob = (&'static str, fn(&mut Settings) -> &mut Duration);

const KNOBS: [Knob; 9] = [
    ("flush_interval", |settings| &mut settings.flush_interval),
    ("backoff_base", |settings| &mut settings.backoff_base),
    ("backoff_max", |settings| &mut settings.backoff_max),
    ("backoff_jitter", |settings| &mut settings.backoff_jitter),
    ("breaker_timeout", |settings| &mut settings.breaker_timeout),
    ("statement_ttl", |settings| &mut settings.statement_ttl),
    ("close_timeout", |settings| &mut settings.close_timeout),
    ("attempt_timeout", |settings| &mut settings.attempt_timeout),
    ("max_age", |settings| &mut settings.max_age),
];

/// The ends of what each knob takes.
fn ends(name: &str) -> [Duration; 2] {
    let (ms, s) = (Duration::from_millis, Duration::from_secs);
    match name {
        "flush_interval" | "statement_ttl" => [ms(1), s(86_400)],
        "backoff_base" | "backoff_jitter" => [ms(0), s(60)],
        "backoff_max" => [ms(0), s(600)],
        "breaker_timeout" => [ms(500), s(86_400)],
        "close_timeout" | "attempt_timeout" => [ms(1), s(600)],
        "max_age" => [ms(0), s(86_400)],
        other => panic!("{other}"),
    }
}

/// Lets the service fail six times: all of the telemetry ends in time, without a panic, and the ledgers balance.
async fn drive(what: &str, settings: Settings, answer: Answer) {
    let before = count_panics();
    let fake = Fake::new();
    fake.script(vec![answer; 6]);
    let (telemetry, heard) = telemetry(&fake, settings);
    let connection = telemetry.connect(connect()).await;
    assert!(connection.is_enabled(), "{what}");
    for number in 0..4 {
        let statement = connection.statement(&format!("statement-{number}"));
        statement.started(None, None, false);
        statement.completed(Duration::ZERO);
        connection.error_with_trace("E", "x", Severity::Terminal);
        advance(Duration::from_secs(2)).await;
    }
    timeout(Duration::from_secs(602), connection.close()).await.unwrap_or_else(|_| panic!("{what}: it did not end"));
    assert_eq!(heard.matching("closed; 8 offered"), 1, "{what}: {:?}", heard.all());
    assert_eq!(heard.matching("panicked"), 0, "{what}: {:?}", heard.all());
    assert_eq!(count_panics(), before, "{what}: something panicked");
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_knob_is_refused_or_borne_at_the_ends_of_its_range() {
    for (name, knob) in KNOBS {
        for preset in [Settings::node(), Settings { enabled: true, ..Settings::csharp() }] {
            let with = |time: Duration| {
                let mut settings = preset.clone();
                *knob(&mut settings) = time;
                settings
            };
            for time in ENDS {
                // What no knob takes is refused by name.
                match with(time).validate() {
                    Err(refused) => assert_eq!(refused.knob(), name),
                    Ok(()) => {
                        let [least, most] = ends(name);
                        assert!((least..=most).contains(&time), "{name} = {time:?}");
                    }
                }
            }
            for time in ends(name) {
                for answer in [Answer::Status(503), Answer::RetryAfter(u64::MAX), Answer::Hang] {
                    drive(&format!("{name} = {time:?}, {answer:?}"), with(time), answer).await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f02_every_deadline_is_borne_at_the_ends_of_its_range() {
    for time in ENDS {
        let before = count_panics();
        let fake = Fake::new();
        fake.otherwise(Answer::Status(503));
        let (telemetry, _) = telemetry(&fake, Settings::node());
        let connection = telemetry.connect(connect()).await;
        connection.operation("x", Duration::ZERO);
        timeout(Duration::from_secs(60), telemetry.flush(time)).await.unwrap();
        drop(connection);
        timeout(Duration::from_secs(60), telemetry.shutdown(time)).await.unwrap();
        assert_eq!(count_panics(), before, "{time:?}");
    }
}

/// For how long a flag holds is clamped, whatever the service says; and its hint when it fails keeps it unasked for a minute.
#[tokio::test(start_paused = true)]
async fn f01_f02_every_duration_of_the_service_is_borne_at_the_ends_of_its_range() {
    for (ttl, holds) in [(0, 60), (1, 60), (u64::MAX, 3_600)] {
        let before = count_panics();
        let fake = Fake::new();
        fake.flags_otherwise(flag("true", ttl));
        let (telemetry, _) = build(DriverTelemetry::builder(fake.clone()).feature_flag(FeatureFlag::node("1")));
        let connection = telemetry.connect(connect()).await;
        assert!(connection.is_enabled(), "{ttl}");
        let start = Instant::now();
        while fake.asked().len() == 1 {
            advance(Duration::from_secs(10)).await;
            drop(telemetry.connect(connect()).await);
            assert!(start.elapsed() <= Duration::from_secs(holds + 20), "{ttl}: {:?}", start.elapsed());
        }
        assert!(start.elapsed() >= Duration::from_secs(holds), "{ttl}: {:?}", start.elapsed());
        assert_eq!(count_panics(), before, "{ttl}");
    }
    for answer in [Answer::RetryAfter(0), Answer::RetryAfter(1), Answer::RetryAfter(u64::MAX)] {
        let before = count_panics();
        let fake = Fake::new();
        fake.flags_otherwise(answer.clone());
        let (telemetry, _) = build(DriverTelemetry::builder(fake.clone()).feature_flag(FeatureFlag::node("1")));
        assert!(!telemetry.connect(connect()).await.is_enabled(), "{answer:?}");
        fake.flags_otherwise(flag("true", 60));
        advance(Duration::from_secs(61)).await;
        assert!(telemetry.connect(connect()).await.is_enabled(), "{answer:?}: it is asked again after a minute");
        assert_eq!(count_panics(), before, "{answer:?}");
    }
}

/// What a driver measured is told as it is, and sums of it stay at the end of their range.
#[tokio::test(start_paused = true)]
async fn f02_every_latency_of_a_driver_is_borne_at_the_ends_of_its_range() {
    for time in ENDS {
        let before = count_panics();
        let fake = Fake::new();
        let (telemetry, _) = telemetry(&fake, Settings::node());
        let parameters = ConnectionParameters { socket_timeout: Some(time), ..ConnectionParameters::default() };
        let connection = telemetry.connect(connect().parameters(parameters)).await;
        connection.operation("x", time);
        connection.volume(VolumeOperation::default(), time);
        let statement = connection.statement("a");
        for index in 0..3 {
            statement.status_call(time);
            statement.chunk(index, time);
        }
        statement.result_ready(time, ResultInfo::default());
        statement.consumed(time);
        statement.completed(time);
        connection.close().await;
        let logs = fake.logs();
        assert_eq!(logs.len(), 3, "{time:?}");
        let operation = logs.iter().find_map(|log| {
            let chunks = &log["entry"]["sql_driver_log"]["sql_operation"]["chunk_details"];
            chunks.is_object().then(|| chunks.clone())
        });
        let chunks = operation.unwrap();
        assert_eq!(chunks["total_chunks_iterated"], 3, "{time:?}: {chunks}");
        let most = if time > Duration::from_secs(1) { u64::MAX } else { 0 };
        assert_eq!(chunks["sum_chunks_download_time_millis"], most, "{time:?}: {chunks}");
        assert_eq!(count_panics(), before, "{time:?}: something panicked");
    }
}
