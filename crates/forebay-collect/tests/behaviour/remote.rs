//! Configuration from a server that fails in every way.

#![expect(clippy::unwrap_used, reason = "test code")]

use forebay_collect::{FetchError, FetchedConfig, RemoteConfig, RemoteStatus};
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

type FetchResult = Result<FetchedConfig<u32>, FetchError>;

const MINUTE: Duration = Duration::from_secs(60);

/// Gives one response after the other, and then the last one repeatedly.
async fn served(responses: impl IntoIterator<Item = FetchResult>) -> RemoteConfig<u32> {
    let responses: Arc<Mutex<VecDeque<FetchResult>>> = Arc::new(Mutex::new(responses.into_iter().collect()));
    let fetch = move || {
        let mut responses = responses.lock().unwrap();
        let response = if responses.len() > 1 { responses.pop_front().unwrap() } else { responses[0].clone() };
        std::future::ready(response)
    };
    let (config, worker) = RemoteConfig::builder(fetch).jitter(0.0).build().unwrap();
    tokio::spawn(worker.run());
    config
}

fn good(value: u32) -> FetchResult {
    Ok(FetchedConfig::new(value))
}

#[tokio::test(start_paused = true)]
async fn it_is_disabled_until_the_server_has_spoken_and_is_asked_at_once() {
    let start = Instant::now();
    let mut config = served([good(1), good(2)]).await;
    assert!(config.current().is_none());
    assert!(matches!(config.state().status, RemoteStatus::Starting));
    assert!(config.changed().await);
    assert_eq!((config.current().as_deref(), start.elapsed()), (Some(&1), Duration::ZERO));
    config.changed().await;
    assert_eq!((config.current().as_deref(), start.elapsed()), (Some(&2), MINUTE));
}

#[tokio::test(start_paused = true)]
async fn c03_a_5xx_429_408_nonsense_and_silence_keep_what_was_good() {
    let errors = [
        FetchError::status(500),
        FetchError::status(503),
        FetchError::status(429),
        FetchError::status(408),
        FetchError::status(400),
        FetchError::unreadable("not JSON"),
        FetchError::no_response(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
    ];
    for error in errors {
        let mut config = served([good(7), Err(error.clone()), good(8)]).await;
        config.changed().await;
        let before = config.current().unwrap();
        config.changed().await;
        assert!(Arc::ptr_eq(&before, &config.current().unwrap()), "{error}");
        let state = config.state();
        assert!(matches!(state.status, RemoteStatus::Kept(_)), "{error}");
        assert_eq!((state.successes, state.failures), (1, 1));
        config.changed().await;
        assert_eq!(config.current().as_deref(), Some(&8), "it goes on");
    }
}

#[tokio::test(start_paused = true)]
async fn c03_a_401_403_404_disables_until_the_server_says_otherwise() {
    for status in [401, 403, 404] {
        let errors = [Err(FetchError::status(status)), Err(FetchError::status(500)), good(8)];
        let mut config = served(std::iter::once(good(7)).chain(errors)).await;
        config.changed().await;
        config.changed().await;
        assert!(config.current().is_none() && matches!(config.state().status, RemoteStatus::Disabled(_)));
        // A server that has trouble afterwards does not switch it on again.
        config.changed().await;
        assert!(config.current().is_none() && matches!(config.state().status, RemoteStatus::Disabled(_)));
        config.changed().await;
        assert_eq!(config.current().as_deref(), Some(&8));
    }
}

#[tokio::test(start_paused = true)]
async fn c04_a_bad_interval_keeps_the_configuration_and_the_interval() {
    let bad = [Duration::ZERO, Duration::MAX].map(|interval| Ok(FetchedConfig::new(2).refresh(interval)));
    let first = Ok(FetchedConfig::new(1).refresh(Duration::from_secs(10)));
    let mut config = served(std::iter::once(first).chain(bad).chain([good(3)])).await;
    config.changed().await;
    let start = Instant::now();
    for tick in 1..=2 {
        config.changed().await;
        assert_eq!(config.current().as_deref(), Some(&1));
        assert_eq!(start.elapsed(), Duration::from_secs(10) * tick, "the interval of the last valid response");
    }
    config.changed().await;
    assert_eq!(config.current().as_deref(), Some(&3));
}

#[tokio::test(start_paused = true)]
async fn a_hint_of_the_server_is_obeyed_up_to_the_longest_interval() {
    for (hint, wait) in [(5, 60), (300, 300), (u64::MAX, 24 * 60 * 60)] {
        let busy = FetchError::status(429).retry_after(Duration::from_secs(hint));
        let mut config = served([Err(busy), good(1)]).await;
        config.changed().await;
        let start = Instant::now();
        config.changed().await;
        assert_eq!(start.elapsed(), Duration::from_secs(wait));
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_and_a_fetch_that_panics_are_failures() {
    let calls = Arc::new(AtomicU32::new(0));
    let fetch = move || {
        let call = calls.fetch_add(1, Ordering::Relaxed);
        async move {
            match call {
                0 => std::future::pending().await,
                1 => panic!("no"),
                _ => good(5),
            }
        }
    };
    let (mut config, worker) = RemoteConfig::builder(fetch).jitter(0.0).build().unwrap();
    tokio::spawn(worker.run());
    let start = Instant::now();
    config.changed().await;
    assert_eq!(start.elapsed(), Duration::from_secs(5), "the timeout");
    config.changed().await;
    let state = config.state();
    assert!(format!("{:?}", state.status).contains("Panicked"));
    assert_eq!(state.failures, 2);
    config.changed().await;
    assert_eq!(config.current().as_deref(), Some(&5));
}

#[tokio::test(start_paused = true)]
async fn x06_what_does_not_make_sense_is_not_applied() {
    let (mut config, worker) = RemoteConfig::builder(|| async { good(13) })
        .validate(|value| if *value == 13 { Err("an endpoint within this machine".into()) } else { Ok(()) })
        .build()
        .unwrap();
    tokio::spawn(worker.run());
    config.changed().await;
    assert!(config.current().is_none());
    let RemoteStatus::Kept(error) = config.state().status else { panic!("{:?}", config.state()) };
    assert_eq!(error.to_string(), "the response is no configuration: an endpoint within this machine");
}

#[tokio::test(start_paused = true)]
async fn a_response_without_a_change_is_no_change() {
    let mut config = served([good(1)]).await;
    config.changed().await;
    let before = config.current().unwrap();
    config.changed().await;
    assert!(Arc::ptr_eq(&before, &config.current().unwrap()));
    assert_eq!(config.state().successes, 2);
}

#[tokio::test(start_paused = true)]
async fn the_worker_ends_with_the_last_handle() {
    let (config, worker) = RemoteConfig::builder(|| async { good(1) }).build().unwrap();
    let worker = tokio::spawn(worker.run());
    let clone = config.clone();
    drop(config);
    tokio::task::yield_now().await;
    assert!(!worker.is_finished());
    drop(clone);
    worker.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn clients_that_started_together_drift_apart() {
    let mut times = Vec::new();
    for seed in 0..20 {
        let (mut config, worker) = RemoteConfig::builder(|| async { good(1) }).seed(seed).build().unwrap();
        tokio::spawn(worker.run());
        config.changed().await;
        let start = Instant::now();
        config.changed().await;
        times.push(start.elapsed());
    }
    assert!(times.iter().all(|time| (54..=66).contains(&time.as_secs())), "{times:?}");
    times.sort();
    times.dedup();
    assert!(times.len() > 15);
}

#[test]
fn knobs_that_cannot_be_are_refused() {
    let builder = || RemoteConfig::builder(|| async { good(1) });
    let knob = |result: Result<_, forebay_core::ConfigError>| result.map(|_| ()).unwrap_err().knob();
    assert_eq!(knob(builder().interval(Duration::ZERO).build()), "interval");
    assert_eq!(knob(builder().interval_range(Duration::ZERO..=MINUTE).build()), "interval_range");
    assert_eq!(knob(builder().timeout(Duration::ZERO).build()), "timeout");
    assert_eq!(knob(builder().jitter(f64::NAN).build()), "jitter");
}
