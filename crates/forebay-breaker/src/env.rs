//! The clock and the generator of chance of a breaker.

use crate::slot::Env;
use forebay_core::{chance, support::thread_number};
use std::{
    cell::Cell,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};
use tokio::time::Instant;

/// Microseconds since the breaker was built, by tokio's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(Instant);

/// The clock and the generator of chance, as one call sees them.
pub(crate) struct CallEnv<'a> {
    clock: Clock,
    draws: &'a AtomicU64,
    now: Cell<Option<u64>>,
    /// Whether an observer or a subscriber of `tracing` wants events.
    pub(crate) observed: bool,
}

/// Whole microseconds; a duration beyond 580,000 years saturates.
#[inline]
pub(crate) fn micros(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(duration.subsec_micros()))
}

// === impl Clock ===

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    #[inline]
    pub(crate) fn now(self) -> u64 {
        self.micros_at(Instant::now())
    }

    #[inline]
    pub(crate) fn micros_at(self, instant: Instant) -> u64 {
        micros(instant.saturating_duration_since(self.0))
    }

    /// The instant after so many microseconds; `None` if it cannot be represented.
    pub(crate) fn at(self, micros: u64) -> Option<Instant> {
        self.0.checked_add(Duration::from_micros(micros))
    }
}

// === impl CallEnv ===

impl<'a> CallEnv<'a> {
    pub(crate) fn new(clock: Clock, draws: &'a AtomicU64, observed: bool) -> Self {
        Self { clock, draws, now: Cell::new(None), observed }
    }

    /// The same, at a time that is known already.
    pub(crate) fn at(mut self, now: Option<u64>) -> Self {
        self.now = Cell::new(now);
        self
    }
}

impl Env for CallEnv<'_> {
    fn now(&self) -> u64 {
        let now = self.now.get().unwrap_or_else(|| self.clock.now());
        self.now.set(Some(now));
        now
    }

    fn draw(&self) -> u64 {
        // Relaxed: no two draws are alike, whatever their order.
        chance::mix(self.draws.fetch_add(chance::GAMMA, Ordering::Relaxed))
    }

    #[inline]
    fn stripe(&self) -> usize {
        thread_number()
    }
}
