//! One limiter for all tasks that call a server.

use super::{Adaptive, Limiter, Sample};
use crate::{Outcome, support::lock::Mutex};
use std::{sync::Arc, time::Instant};

/// A [`Limiter`] that several tasks share, and the number of attempts in flight; a clone is the same limiter.
///
/// It holds nothing back by itself: its owner asks for the [`limit`](Self::limit) before it sends.
#[derive(Clone, Debug)]
pub struct SharedLimiter(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    limiter: Limiter,
    /// The attempts that have started and not ended.
    in_flight: usize,
    /// How many there were when the latest attempt had started.
    at_latest_start: usize,
}

/// An attempt in flight.
///
/// CANCEL: an attempt that is dropped is no longer in flight, and teaches nothing.
#[derive(Debug)]
#[must_use = "an attempt that is dropped is no longer in flight"]
pub struct Attempt {
    limiter: SharedLimiter,
    started: Instant,
    /// How many were in flight when it started, itself included.
    in_flight: usize,
}

// === impl SharedLimiter ===

impl SharedLimiter {
    /// A limiter that knows nothing of the server, from `now` on.
    #[must_use]
    pub fn new(adaptive: &Adaptive, now: Instant) -> Self {
        Self(Arc::new(Mutex::new(State { limiter: Limiter::new(adaptive, now), in_flight: 0, at_latest_start: 0 })))
    }

    /// How many attempts may be in flight now.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.0.lock().limiter.limit()
    }

    /// An attempt starts at `now`, whether the limit allows it or not.
    pub fn start(&self, now: Instant) -> Attempt {
        let mut state = self.0.lock();
        state.in_flight += 1;
        state.at_latest_start = state.in_flight;
        Attempt { limiter: self.clone(), started: now, in_flight: state.in_flight }
    }

    /// Begins again at `now` with other bounds, and forgets what is known of the server.
    pub fn reset(&self, adaptive: &Adaptive, now: Instant) {
        self.0.lock().limiter = Limiter::new(adaptive, now);
    }
}

// === impl Attempt ===

impl Attempt {
    /// The attempt has ended at `now`.
    pub fn end(self, now: Instant, outcome: Outcome) {
        let mut state = self.limiter.0.lock();
        // Of a burst that fills the limit, the first attempt started alone and was not alone for long: it counts as the last one
        // does, whose start it has seen.
        let in_flight = self.in_flight.max(state.at_latest_start);
        state.limiter.sampled(Sample { started: self.started, finished: now, in_flight, outcome });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut state = self.limiter.0.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn attempts_are_counted_until_they_end_or_are_dropped() {
        #[expect(clippy::disallowed_methods, reason = "any instant will do: time is counted from here")]
        let now = Instant::now();
        let limiter = SharedLimiter::new(&Adaptive::default(), now);
        let (one, two) = (limiter.start(now), limiter.start(now));
        assert_eq!((one.in_flight, two.in_flight), (1, 2));
        drop(one);
        two.end(now + Duration::from_millis(1), Outcome::Success);
        assert_eq!(limiter.0.lock().in_flight, 0);
        limiter.reset(&Adaptive::builder().floor(7).build().unwrap(), now);
        assert_eq!(limiter.clone().limit(), 7);
    }
}
