//! What a cached value is worth at an instant, pure: time and chance are arguments.

use crate::RefreshError;
use forebay_core::time::{FAR, saturating_add, saturating_mul};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// What decides how long values and failures count.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// The time to live of a value that says nothing.
    pub(crate) default_ttl: Duration,
    /// The least and the most that a fetched value may say; `None` takes it as it is.
    pub(crate) ttl_range: Option<(Duration, Duration)>,
    /// After which share of its time to live a value is fetched again.
    pub(crate) refresh_at: f64,
    /// For how long after its time to live a value is used while no newer one can be had.
    pub(crate) stale_for: Duration,
    /// For how long after a failure no fetch is tried.
    pub(crate) negative_ttl: Duration,
    /// By which share of its time at most a refresh comes earlier.
    pub(crate) jitter: f64,
}

/// A value, a failure, both or neither.
#[derive(Debug)]
pub(crate) struct CacheState<V> {
    /// The latest value, however old.
    value: Option<Kept<V>>,
    /// The latest failure, if no value came since.
    failure: Option<Failure>,
}

/// A value and its times.
#[derive(Clone, Debug)]
pub(crate) struct Kept<V> {
    /// Shared, so that a clone under the lock runs no user code.
    pub(crate) value: Arc<V>,
    pub(crate) fetched: Instant,
    /// From here on a newer one is fetched.
    pub(crate) fresh_until: Instant,
    /// The end of its time to live.
    expires: Instant,
    /// From here on it is not used, even if no newer one can be had.
    usable_until: Instant,
}

#[derive(Debug)]
struct Failure {
    error: RefreshError,
    /// From here on a fetch is tried again.
    until: Instant,
}

/// What a caller gets without a new fetch.
#[derive(Debug)]
pub(crate) enum Lookup<V> {
    Fresh(Kept<V>),
    /// Its time to live is not over, and a newer one is to be fetched.
    Due(Kept<V>),
    /// No newer one can be had.
    Stale(Kept<V>, RefreshError),
    /// There is none, and none is fetched for a while.
    Failed(RefreshError),
    /// There is none.
    Missing,
}

/// What has left the state: user code, to be dropped after the lock is released.
pub(crate) type Replaced<V> = (Option<Kept<V>>, Option<RefreshError>);

// === impl CacheState ===

impl<V> CacheState<V> {
    pub(crate) fn new() -> Self {
        Self { value: None, failure: None }
    }
}

impl<V: Clone> CacheState<V> {
    pub(crate) fn lookup(&self, now: Instant) -> Lookup<V> {
        let usable = self.usable(now);
        if let Some(kept) = &usable
            && now < kept.fresh_until
        {
            return Lookup::Fresh(kept.clone());
        }
        let failed = self.failure.as_ref().filter(|failure| now < failure.until);
        let error = failed.map(|it| it.error.again(it.until.saturating_duration_since(now)));
        match (error, usable) {
            // Before its time to live is over, a failure to replace it takes nothing away from it.
            (Some(_), Some(kept)) if now < kept.expires => Lookup::Fresh(kept),
            (Some(error), Some(kept)) => Lookup::Stale(kept, error),
            (Some(error), None) => Lookup::Failed(error),
            (None, Some(kept)) if now < kept.expires => Lookup::Due(kept),
            (None, _) => Lookup::Missing,
        }
    }

    /// The latest value, however old, and the latest failure since.
    pub(crate) fn latest(&self) -> Option<(Kept<V>, Option<RefreshError>)> {
        Some((self.value.clone()?, self.failure.as_ref().map(|failure| failure.error.clone())))
    }

    /// A value has come. `ttl` is what the server said; `draw` is from 0 to 1.
    pub(crate) fn stored(
        &mut self,
        value: Arc<V>,
        ttl: Option<Duration>,
        now: Instant,
        policy: &Policy,
        draw: f64,
    ) -> (Kept<V>, Replaced<V>) {
        let ttl = ttl.map_or(policy.default_ttl, |ttl| policy.allowed(ttl));
        let expires = saturating_add(now, ttl);
        let kept = Kept {
            value,
            fetched: now,
            fresh_until: saturating_add(now, policy.early(saturating_mul(ttl, policy.refresh_at), draw)),
            expires,
            usable_until: saturating_add(expires, policy.stale_for),
        };
        let replaced = self.value.replace(kept.clone());
        (kept, (replaced, self.failure.take().map(|failure| failure.error)))
    }

    /// No value has come. The old one is used on for a while, and no fetch is tried before `negative_ttl` is over.
    pub(crate) fn failed(&mut self, error: RefreshError, now: Instant, policy: &Policy, draw: f64) -> Replaced<V> {
        let until = saturating_add(now, policy.early(policy.negative_ttl, draw));
        (None, self.failure.replace(Failure { error, until }).map(|failure| failure.error))
    }

    /// From now on a new value is wanted. The old one is used on only if none can be had.
    pub(crate) fn expire(&mut self, now: Instant) -> Replaced<V> {
        if let Some(kept) = &mut self.value {
            kept.fresh_until = kept.fresh_until.min(now);
            kept.expires = kept.expires.min(now);
        }
        (None, self.failure.take().map(|failure| failure.error))
    }

    /// The old value where `now` allows it.
    pub(crate) fn usable(&self, now: Instant) -> Option<Kept<V>> {
        self.value.as_ref().filter(|kept| now < kept.usable_until).cloned()
    }
}

// === impl Kept ===

impl<V> Kept<V> {
    /// Whether its time to live is over.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.expires
    }
}

// === impl Policy ===

impl Policy {
    /// What a fetched value says, as far as it may.
    fn allowed(&self, ttl: Duration) -> Duration {
        let ttl = ttl.min(FAR);
        self.ttl_range.map_or(ttl, |(least, most)| ttl.clamp(least, most))
    }

    /// Up to `jitter` of the time earlier, so that processes that started together do not go on together.
    fn early(&self, time: Duration, draw: f64) -> Duration {
        saturating_mul(time, 1.0 - (self.jitter * draw).clamp(0.0, 1.0))
    }
}
