//! What can be configured.

use crate::{Cached, Fetched, fetch::Fetcher, state::Policy};
use forebay_core::{BoxError, ConfigError, chance::entropy};
use std::{fmt, future::Future, sync::Arc, time::Duration};

/// Builds a [`Cached`]; from [`Cached::builder`] or [`Cached::credentials`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`ttl`](Self::ttl) | 15 min, where the fetched value says nothing | above 0, at most 30 days, within `ttl_range` |
/// | [`ttl_range`](Self::ttl_range) | none: the fetched value's own time counts | least above 0, most at most 30 days |
/// | [`refresh_at`](Self::refresh_at) | 1.0: when its time is over | above 0.0, at most 1.0 |
/// | [`stale_for`](Self::stale_for) | 0: never | at most 30 days |
/// | [`negative_ttl`](Self::negative_ttl) | 1 min | at most 30 days |
/// | [`jitter`](Self::jitter) | 0.1 | 0.0 to 1.0 |
/// | [`fetch_timeout`](Self::fetch_timeout) | 10 s | above 0, at most 30 days |
/// | [`seed`](Self::seed) | from the system | |
///
/// 15 min and the 10 s are those of the Databricks Node.js driver's feature-flag cache, 1 min after a failure is that of the
/// ADBC driver.
#[must_use = "a builder does nothing until `build`"]
pub struct CachedBuilder<V> {
    fetch: Fetcher<V>,
    policy: Policy,
    fetch_timeout: Duration,
    seed: Option<u64>,
}

/// Longer than a value should live, and near enough for the clock.
const A_MONTH: Duration = Duration::from_secs(30 * 24 * 60 * 60);

// === impl CachedBuilder ===

impl<V> CachedBuilder<V> {
    pub(crate) fn new<F, Fut, E>(fetch: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self {
            fetch: Arc::new(move || {
                let fetching = fetch();
                Box::pin(async move { fetching.await.map_err(Into::into) })
            }),
            policy: Policy {
                default_ttl: Duration::from_secs(15 * 60),
                ttl_range: None,
                refresh_at: 1.0,
                stale_for: Duration::ZERO,
                negative_ttl: Duration::from_secs(60),
                jitter: 0.1,
            },
            fetch_timeout: Duration::from_secs(10),
            seed: None,
        }
    }

    /// How long a value is fresh when the fetched value does not say.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.policy.default_ttl = ttl;
        self
    }

    /// Clamps the time that a fetched value gives ([`Fetched::ttl`]), where that is what a server says.
    ///
    /// Without it that time is taken as it is; 0 means that each call fetches.
    pub fn ttl_range(mut self, least: Duration, most: Duration) -> Self {
        self.policy.ttl_range = Some((least, most));
        self
    }

    /// After which share of its time to live a value is fetched again, ahead of its end.
    ///
    /// One caller waits for the new value; the others get the old one without a wait, and so do all of them when the fetch fails.
    pub fn refresh_at(mut self, share: f64) -> Self {
        self.policy.refresh_at = share;
        self
    }

    /// For how long after its time to live a value is used if no newer one can be had. With 0, never: the failure is returned.
    pub fn stale_for(mut self, time: Duration) -> Self {
        self.policy.stale_for = time;
        self
    }

    /// For how long after a failure no fetch is tried. With 0, every call that needs a value tries.
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.policy.negative_ttl = ttl;
        self
    }

    /// By which share of its time at most a value is fetched again earlier, and a failure forgotten earlier.
    ///
    /// Each time is drawn for itself, so that a thousand processes that started together do not ask together for ever.
    pub fn jitter(mut self, share: f64) -> Self {
        self.policy.jitter = share;
        self
    }

    /// How long one fetch may take. It is not kept outside a Tokio runtime, or in one without a timer.
    pub fn fetch_timeout(mut self, timeout: Duration) -> Self {
        self.fetch_timeout = timeout;
        self
    }

    /// Makes the jitter repeatable, for tests.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }
}

impl<V: Clone + Send + Sync + 'static> CachedBuilder<V> {
    /// The value, not fetched yet.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a knob outside the range in the table above.
    pub fn build(self) -> Result<Cached<V>, ConfigError> {
        let Self { fetch, policy, fetch_timeout, seed } = self;
        let Policy { default_ttl, ttl_range, refresh_at, stale_for, negative_ttl, jitter } = policy;
        let (least, most) = ttl_range.unwrap_or((Duration::from_nanos(1), A_MONTH));
        if least.is_zero() || least > most {
            let given = format!("{least:?} to {most:?}");
            return Err(ConfigError::new("ttl_range", given, "least above 0, and not above the most"));
        }
        for (knob, value, allowed) in [
            ("ttl_range", most, least..=A_MONTH),
            ("ttl", default_ttl, least..=most),
            ("stale_for", stale_for, Duration::ZERO..=A_MONTH),
            ("negative_ttl", negative_ttl, Duration::ZERO..=A_MONTH),
            ("fetch_timeout", fetch_timeout, Duration::from_nanos(1)..=A_MONTH),
        ] {
            ConfigError::within(knob, value, allowed)?;
        }
        ConfigError::within("jitter", jitter, 0.0..=1.0)?;
        if !(refresh_at > 0.0 && refresh_at <= 1.0) {
            return Err(ConfigError::new("refresh_at", refresh_at, "above 0.0, at most 1.0"));
        }
        let seed = seed.unwrap_or_else(entropy);
        Ok(Cached::new(fetch, policy, fetch_timeout, seed))
    }
}

impl<V> fmt::Debug for CachedBuilder<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedBuilder")
            .field("policy", &self.policy)
            .field("fetch_timeout", &self.fetch_timeout)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
