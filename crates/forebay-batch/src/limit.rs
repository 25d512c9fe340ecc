use crate::MaxInFlight;
use forebay_core::adaptive::{Adaptive, Attempt, SharedLimiter};
use std::time::Instant;

/// How many batches may be in flight, and what is known of the server where that number tunes itself.
#[derive(Debug)]
pub(crate) struct InFlightLimit {
    /// The bounds that the limiter was set to; `None` while the number is fixed.
    bounds: Option<Adaptive>,
    limiter: Option<SharedLimiter>,
    /// Whether a layer below samples the attempts, since one batch may take several there.
    is_sampled_below: bool,
}

// === impl InFlightLimit ===

impl InFlightLimit {
    /// With a limiter that a layer below samples, or with one of its own.
    pub(crate) fn new(sampled_below: Option<SharedLimiter>) -> Self {
        Self { bounds: None, is_sampled_below: sampled_below.is_some(), limiter: sampled_below }
    }

    /// How many may be in flight at `now`. A limit with other bounds than before begins again.
    pub(crate) fn in_force(&mut self, max: MaxInFlight, now: Instant) -> usize {
        let adaptive = match max {
            MaxInFlight::Fixed(batches) => {
                self.bounds = None;
                return batches;
            }
            MaxInFlight::Adaptive(adaptive) => adaptive,
        };
        let is_new = self.bounds.replace(adaptive) != Some(adaptive);
        let limiter = match &self.limiter {
            Some(limiter) if is_new => {
                limiter.reset(&adaptive, now);
                limiter
            }
            Some(limiter) => limiter,
            None => self.limiter.insert(SharedLimiter::new(&adaptive, now)),
        };
        limiter.limit()
    }

    /// A batch is given to the inner service, as one attempt.
    pub(crate) fn start(&self, now: Instant) -> Option<Attempt> {
        if self.is_sampled_below {
            return None;
        }
        self.bounds.and(self.limiter.as_ref()).map(|limiter| limiter.start(now))
    }
}
