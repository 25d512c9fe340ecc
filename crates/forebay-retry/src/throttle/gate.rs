use super::Throttle;
use forebay_core::KeyOf;
use std::{fmt, time::Duration};

/// What may hold an attempt back; `()` holds nothing back and costs nothing.
///
/// Implemented by `()` and by [`Keyed`]: a layer gets one with
/// [`throttle`](crate::RetryBuilder::throttle) or [`throttle_by`](crate::RetryBuilder::throttle_by).
pub trait Gate<Req> {
    /// What stands for the key of `request`.
    fn key(&self, request: &Req) -> u64;

    /// How long a call with this key must wait before its first attempt, or a later one.
    fn held(&self, key: u64, first: bool) -> Option<Duration>;

    /// A server asked for a wait.
    fn hint(&self, key: u64, wait: Duration);

    /// How long one call may be held back in all before one attempt.
    fn patience(&self) -> Duration;
}

/// A [`Throttle`], and which key a request has.
#[derive(Clone)]
pub struct Keyed<K> {
    throttle: Throttle,
    key: K,
}

// === impl Gate ===

impl<Req> Gate<Req> for () {
    #[inline]
    fn key(&self, _: &Req) -> u64 {
        0
    }

    #[inline]
    fn held(&self, _: u64, _: bool) -> Option<Duration> {
        None
    }

    #[inline]
    fn hint(&self, _: u64, _: Duration) {}

    #[inline]
    fn patience(&self) -> Duration {
        Duration::MAX
    }
}

impl<Req, K: KeyOf<Req>> Gate<Req> for Keyed<K> {
    #[inline]
    fn key(&self, request: &Req) -> u64 {
        self.throttle.hash(self.key.key_of(request))
    }

    #[inline]
    fn held(&self, key: u64, first: bool) -> Option<Duration> {
        if first && !self.throttle.0.hold_first_attempts {
            return None;
        }
        self.throttle.held_hashed(key)
    }

    fn hint(&self, key: u64, wait: Duration) {
        self.throttle.hint_hashed(key, wait);
    }

    fn patience(&self) -> Duration {
        self.throttle.0.patience
    }
}

// === impl Keyed ===

impl<K> Keyed<K> {
    pub(crate) fn new(throttle: Throttle, key: K) -> Self {
        Self { throttle, key }
    }
}

impl<K> fmt::Debug for Keyed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyed").field("throttle", &self.throttle).finish_non_exhaustive()
    }
}
