//! Every duration that a user or a server can say, at the ends of its range: refused by name, or borne.

#![expect(clippy::unwrap_used, clippy::panic, reason = "test code")]

use forebay_collect::{
    Aggregator, Emission, FetchError, FetchedConfig, Fold, Folded, Gathering, Place, RemoteConfig, RemoteConfigBuilder,
    RemoteStatus, Reporter, ReporterBuilder, Schedule, Series,
};
use forebay_core::{ConfigError, Priority};
use std::{
    sync::{
        Arc, Mutex, Once,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};
use tokio::time::{sleep, timeout};
use tower::service_fn;

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

/// An invalid knob is refused by name, with its range.
fn named(what: &str, refused: &ConfigError) {
    assert!(!refused.knob().is_empty() && !refused.allowed().is_empty(), "{what}: {refused}");
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_knob_of_a_reporter_is_refused_or_borne_at_the_ends_of_its_range() {
    type Knob = (&'static str, fn(ReporterBuilder, Duration) -> ReporterBuilder);
    let knobs: [Knob; 3] = [
        ("interval", |builder, time| builder.interval(time)),
        ("timeout", |builder, time| builder.timeout(time)),
        ("both", |builder, time| builder.interval(time).timeout(time)),
    ];
    let ends = ENDS.into_iter().chain([Schedule::MAX]);
    for (name, set) in knobs {
        for time in ends.clone() {
            for hangs in [false, true] {
                let (what, before) = (format!("{name} = {time:?}, hangs: {hangs}"), count_panics());
                let calls = Arc::<AtomicUsize>::default();
                let service = service_fn(move |_: Vec<Series>| {
                    let first = calls.fetch_add(1, Relaxed) == 0;
                    async move {
                        match (first, hangs) {
                            (true, true) => std::future::pending().await,
                            (true, false) => Err("down"),
                            (false, _) => Ok(()),
                        }
                    }
                });
                let source = |into: &mut Gathering<'_>| into.gauge("g", 1.0);
                let built = set(Reporter::builder().source(source).spread(10.0..10.0), time).build(service);
                let (reporter, worker) = match built {
                    Ok(built) => built,
                    Err(refused) => {
                        named(&what, &refused);
                        continue;
                    }
                };
                let worker = tokio::spawn(worker.run());
                sleep(Duration::from_millis(50)).await;
                // Another interval than that of the builder: taken, or refused and nothing changed.
                if let Err(refused) = reporter.set_interval(time).await {
                    named(&what, &refused);
                }
                sleep(Duration::from_millis(50)).await;
                let ended = timeout(Duration::from_secs(100), reporter.shutdown(Duration::from_secs(60))).await;
                let counts = ended.unwrap_or_else(|_| panic!("{what}: it did not end"));
                assert!(counts.failed + counts.exported > 0 || hangs, "{what}: {counts:?}");
                timeout(Duration::from_secs(1), worker).await.unwrap().unwrap();
                assert_eq!(count_panics(), before, "{what}: something panicked");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f02_every_deadline_of_a_reporter_is_borne_at_the_ends_of_its_range() {
    for time in ENDS {
        let before = count_panics();
        let service = service_fn(|_: Vec<Series>| async { Err::<(), _>("down") });
        let (reporter, worker) = Reporter::builder().build(service).unwrap();
        let worker = tokio::spawn(worker.run());
        timeout(Duration::from_secs(1), reporter.shutdown(time)).await.unwrap();
        timeout(Duration::from_secs(1), worker).await.unwrap().unwrap();
        assert_eq!(count_panics(), before, "{time:?}");
    }
}

type Fetched = Result<FetchedConfig<u32>, FetchError>;

/// Fetches a configuration that fails with `failure` first: the next fetch follows within `most`.
async fn drive(
    what: &str,
    failure: Fetched,
    set: impl FnOnce(RemoteConfigBuilder<u32>) -> RemoteConfigBuilder<u32>,
    most: Duration,
) {
    let before = count_panics();
    let failures = Mutex::new(vec![failure.clone(), failure]);
    let fetch = move || std::future::ready(failures.lock().unwrap().pop().unwrap_or(Ok(FetchedConfig::new(7))));
    let (mut config, worker) = match set(RemoteConfig::builder(fetch)).build() {
        Ok(built) => built,
        Err(refused) => return named(what, &refused),
    };
    let worker = tokio::spawn(worker.run());
    for _ in 0..3 {
        let changed = timeout(most, config.changed()).await;
        assert!(changed.unwrap_or_else(|_| panic!("{what}: it is not asked again within {most:?}")), "{what}");
    }
    assert!(matches!(config.state().status, RemoteStatus::Current), "{what}");
    assert_eq!(config.current().as_deref(), Some(&7), "{what}");
    drop(config);
    timeout(Duration::from_secs(1), worker).await.unwrap().unwrap();
    assert_eq!(count_panics(), before, "{what}: something panicked");
}

#[tokio::test(start_paused = true)]
async fn f02_every_duration_knob_of_a_remote_configuration_is_refused_or_borne_at_the_ends_of_its_range() {
    type Knob = (&'static str, fn(RemoteConfigBuilder<u32>, Duration) -> RemoteConfigBuilder<u32>);
    let nanosecond = Duration::from_nanos(1);
    let knobs: [Knob; 5] = [
        ("interval", |builder, time| builder.interval(time)),
        ("timeout", |builder, time| builder.timeout(time)),
        ("interval_range to", |builder, time| builder.interval_range(Duration::from_nanos(1)..=time).interval(time)),
        ("interval_range from", |builder, time| builder.interval_range(time..=Schedule::MAX).interval(Schedule::MAX)),
        ("all of them", |builder, time| builder.interval_range(time..=time).interval(time).timeout(time)),
    ];
    for (name, set) in knobs {
        for time in ENDS.into_iter().chain([Schedule::MAX]) {
            for jitter in [0.0, 1.0] {
                for failure in [FetchError::status(503), FetchError::status(429).retry_after(nanosecond)] {
                    let what = format!("{name} = {time:?}, jitter {jitter}, {failure}");
                    drive(&what, Err(failure), |builder| set(builder, time).jitter(jitter).seed(1), Schedule::MAX * 3)
                        .await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn f01_f02_every_duration_of_a_server_is_borne_and_none_keeps_it_unasked_for_longer_than_a_day() {
    let day = Duration::from_secs(24 * 60 * 60 + 1);
    for time in ENDS {
        let hint = Err(FetchError::status(429).retry_after(time));
        drive(&format!("a hint of {time:?}"), hint, |builder| builder, day).await;
        let refresh = Ok(FetchedConfig::new(1).refresh(time));
        drive(&format!("a refresh of {time:?}"), refresh, |builder| builder, day).await;
    }
}

/// Each event is a part of one key, and never the last.
struct Endless;

impl Fold<u32> for Endless {
    type Key = u32;
    type Held = u32;
    type Item = u32;

    fn place(&self, event: &u32) -> Place<u32> {
        Place::Part(*event)
    }

    fn weigh(&self, _: &u32) -> usize {
        10
    }

    fn open(&self, _: &u32) -> u32 {
        0
    }

    fn add(&self, held: &mut u32, _: u32) {
        *held += 1;
    }

    fn alone(&self, event: u32) -> Option<u32> {
        Some(event)
    }

    fn error(&self, _: &u32, _: &mut u32, event: u32, _: forebay_collect::End) -> Folded<u32> {
        Folded::Out(event)
    }

    fn finish(&self, _: u32, held: u32, _: forebay_collect::End) -> Option<u32> {
        Some(held)
    }
}

#[tokio::test(start_paused = true)]
async fn f02_the_life_of_a_key_is_refused_or_borne_at_the_ends_of_its_range() {
    for time in ENDS.into_iter().chain([Schedule::MAX]) {
        let (what, before) = (format!("{time:?}"), count_panics());
        let out = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&out);
        let sink = move |emission: Emission<u32>| {
            counted.fetch_add(1, Relaxed);
            assert_eq!(emission.priority, Priority::Normal);
        };
        let aggregator = match Aggregator::builder(Endless).ttl(time).build(sink) {
            Ok(aggregator) => aggregator,
            Err(refused) => {
                named(&what, &refused);
                continue;
            }
        };
        let ticker = tokio::spawn(aggregator.ticker());
        (0..3).for_each(|event| aggregator.record(event));
        sleep(Duration::from_secs(1)).await;
        assert_eq!(out.load(Relaxed), if time < Duration::from_secs(1) { 3 } else { 0 }, "{what}");
        aggregator.close();
        timeout(Duration::from_secs(1), ticker).await.unwrap().unwrap();
        assert_eq!((out.load(Relaxed), aggregator.totals().balance()), (3, true), "{what}");
        assert_eq!(count_panics(), before, "{what}: something panicked");
    }
}
