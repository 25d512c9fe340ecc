use super::{
    Configured, FetchError, FetchedConfig, RemoteConfig, RemoteStatus, RemoteWorker,
    worker::{Fetch, FetchSchedule},
};
use forebay_core::{
    ConfigError,
    chance::{SplitMix64, entropy},
};
use std::{fmt, future::Future, ops::RangeInclusive, sync::Arc, time::Duration};
use tokio::sync::watch;

/// Builds a [`RemoteConfig`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`interval`](Self::interval) | 1 minute | within `interval_range` |
/// | [`interval_range`](Self::interval_range) | 1 second to 1 day | above 0, at most 365 days |
/// | [`timeout`](Self::timeout) | 5 seconds | above 0 |
/// | [`jitter`](Self::jitter) | 0.1 of the interval, either way | 0.0 to 1.0 |
/// | [`validate`](Self::validate) | every configuration is valid | |
#[must_use = "a builder does nothing until `build`"]
pub struct RemoteConfigBuilder<V> {
    fetch: Fetch<V>,
    validate: Validate<V>,
    interval: Duration,
    range: RangeInclusive<Duration>,
    timeout: Duration,
    jitter: f64,
    seed: Option<u64>,
}

pub(super) type Validate<V> = Arc<dyn Fn(&V) -> Result<(), String> + Send + Sync>;

// === impl RemoteConfigBuilder ===

impl<V: PartialEq + Send + Sync + 'static> RemoteConfigBuilder<V> {
    pub(super) fn new<F, Fut>(mut fetch: F) -> Self
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchedConfig<V>, FetchError>> + Send + 'static,
    {
        Self {
            fetch: Box::new(move || Box::pin(fetch())),
            validate: Arc::new(|_| Ok(())),
            interval: Duration::from_secs(60),
            range: Duration::from_secs(1)..=Duration::from_secs(24 * 60 * 60),
            timeout: Duration::from_secs(5),
            jitter: 0.1,
            seed: None,
        }
    }

    /// Sets the interval of the fetches until the server sets another one; default 1 minute.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Sets the range of intervals that are accepted from the server; default 1 second to 1 day.
    pub fn interval_range(mut self, range: RangeInclusive<Duration>) -> Self {
        self.range = range;
        self
    }

    /// Sets how long one fetch may take; default 5 seconds.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the share by which an interval may be shorter or longer; default 0.1.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Sets the seed of the jitter; by default it is random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Sets the check of a fetched configuration. A configuration that it refuses, with a reason, is not applied.
    ///
    /// This check must include any endpoint that the server gives, before anything is sent there.
    pub fn validate(mut self, validate: impl Fn(&V) -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.validate = Arc::new(validate);
        self
    }

    /// Builds the handle, and the worker that fetches while its [`run`](RemoteWorker::run) is polled.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if a knob is out of its range.
    pub fn build(self) -> Result<(RemoteConfig<V>, RemoteWorker<V>), ConfigError> {
        let Self { fetch, validate, interval, range, timeout, jitter, seed } = self;
        let (least, most) = (*range.start(), *range.end());
        if least.is_zero() || least > most || most > crate::Schedule::MAX {
            let given = format!("{least:?} to {most:?}");
            return Err(ConfigError::new("interval_range", given, "above 0 s, at most 365 days, the shorter first"));
        }
        if !range.contains(&interval) {
            let allowed = format!("{least:?} to {most:?}, see `interval_range`");
            return Err(ConfigError::new("interval", format_args!("{interval:?}"), allowed));
        }
        if timeout.is_zero() || timeout > crate::Schedule::MAX {
            return Err(ConfigError::new("timeout", format_args!("{timeout:?}"), "above 0 s, and at most 365 days"));
        }
        if !(0.0..=1.0).contains(&jitter) {
            return Err(ConfigError::new("jitter", jitter, "0.0 to 1.0"));
        }
        let (sender, receiver) =
            watch::channel(Configured { value: None, status: RemoteStatus::Starting, successes: 0, failures: 0 });
        let plan = FetchSchedule { interval, range, jitter, rng: SplitMix64::new(seed.unwrap_or_else(entropy)) };
        Ok((RemoteConfig::new(receiver), RemoteWorker { fetch, validate, plan, timeout, sender }))
    }
}

impl<V> fmt::Debug for RemoteConfigBuilder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RemoteConfigBuilder")
            .field("interval", &self.interval)
            .field("range", &self.range)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
