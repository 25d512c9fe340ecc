//! What a cached value is worth at an instant, pure: time and chance are arguments.

use super::RefreshError;
use forebay_core::time::{FAR, saturating_add};
use std::time::{Duration, Instant};

/// The knobs.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) default_ttl: Duration,
    /// The least and the most that a fetched value may say; `None` takes it as it is.
    pub(crate) ttl_range: Option<(Duration, Duration)>,
    pub(crate) stale_for: Duration,
    pub(crate) negative_ttl: Duration,
    pub(crate) jitter: f64,
}

/// A value, a failure, both or neither.
#[derive(Debug)]
pub(crate) struct Shelf<V> {
    value: Option<Kept<V>>,
    failure: Option<Failure>,
}

#[derive(Clone, Debug)]
pub(crate) struct Kept<V> {
    pub(crate) value: V,
    pub(crate) fetched: Instant,
    pub(crate) fresh_until: Instant,
    /// As far as a failure to get a new one lets it live.
    usable_until: Instant,
}

#[derive(Debug)]
struct Failure {
    error: RefreshError,
    until: Instant,
}

/// What the shelf has to offer.
#[derive(Debug)]
pub(crate) enum Look<'a, V> {
    Fresh(&'a Kept<V>),
    /// There is no newer one to be had.
    Stale(&'a Kept<V>, RefreshError),
    /// There is none, and nobody asks for one for a while.
    Failed(RefreshError),
    /// Somebody has to ask for one.
    Fetch,
}

// === impl Shelf ===

impl<V> Default for Shelf<V> {
    fn default() -> Self {
        Self { value: None, failure: None }
    }
}

impl<V> Shelf<V> {
    pub(crate) fn look(&self, now: Instant) -> Look<'_, V> {
        let usable = self.value.as_ref().filter(|kept| now < kept.usable_until);
        if let Some(kept) = usable
            && now < kept.fresh_until
        {
            return Look::Fresh(kept);
        }
        match (&self.failure, usable) {
            (Some(failure), Some(kept)) if now < failure.until => Look::Stale(kept, failure.error(now)),
            (Some(failure), None) if now < failure.until => Look::Failed(failure.error(now)),
            _ => Look::Fetch,
        }
    }

    /// The last value, however old.
    pub(crate) fn value(&self) -> Option<&Kept<V>> {
        self.value.as_ref()
    }

    /// The last failure, if no value came since.
    pub(crate) fn error(&self) -> Option<&RefreshError> {
        self.failure.as_ref().map(|failure| &failure.error)
    }

    /// A value has come. `ttl` is what the server said; `draw` is from 0 to 1.
    pub(crate) fn stored(
        &mut self,
        value: V,
        ttl: Option<Duration>,
        now: Instant,
        policy: &Policy,
        draw: f64,
    ) -> &Kept<V> {
        let ttl = ttl.map_or(policy.default_ttl, |ttl| policy.allowed(ttl));
        let expires = saturating_add(now, ttl);
        let kept = Kept {
            value,
            fetched: now,
            fresh_until: saturating_add(now, policy.early(ttl, draw)),
            usable_until: saturating_add(expires, policy.stale_for),
        };
        self.failure = None;
        self.value.insert(kept)
    }

    /// None has come. The one that is there goes on for a while, and nobody asks again before `negative_ttl` is over.
    pub(crate) fn failed(&mut self, error: RefreshError, now: Instant, policy: &Policy, draw: f64) {
        let until = saturating_add(now, policy.early(policy.negative_ttl, draw));
        self.failure = Some(Failure { error, until });
    }

    /// From now on a new one is wanted. The old one lives on if none can be had.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.failure = None;
        if let Some(kept) = &mut self.value {
            kept.fresh_until = kept.fresh_until.min(now);
        }
    }

    /// The old one where `now` allows it, after a failure for which nobody is to wait.
    pub(crate) fn usable(&self, now: Instant) -> Option<&Kept<V>> {
        self.value.as_ref().filter(|kept| now < kept.usable_until)
    }
}

impl Failure {
    fn error(&self, now: Instant) -> RefreshError {
        self.error.again(self.until.saturating_duration_since(now))
    }
}

// === impl Policy ===

impl Policy {
    /// What a fetched value says, as far as it may.
    fn allowed(&self, ttl: Duration) -> Duration {
        let ttl = ttl.min(FAR);
        self.ttl_range.map_or(ttl, |(least, most)| ttl.clamp(least, most))
    }

    /// Up to `jitter` of the time earlier, so that those who began together do not go on together.
    fn early(&self, time: Duration, draw: f64) -> Duration {
        forebay_core::time::saturating_mul(time, 1.0 - (self.jitter * draw).clamp(0.0, 1.0))
    }
}
