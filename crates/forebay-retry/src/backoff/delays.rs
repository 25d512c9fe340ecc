use super::{Backoff, Jitter, Kind, nanos, scale};
use forebay_core::chance::SplitMix64;
use std::time::Duration;

/// The delays of one request: an endless iterator.
///
/// It is not `Clone`, so that no two requests can be given the same one.
#[derive(Debug)]
pub struct Delays {
    kind: Kind,
    jitter: Jitter,
    rng: SplitMix64,
    /// All in nanoseconds, `base` and the steps not above `cap`.
    base: u64,
    cap: u64,
    step: u64,
    /// Fibonacci only: the step after `step`.
    following: u64,
}

// === impl Delays ===

impl Delays {
    pub(super) fn new(backoff: &Backoff, rng: SplitMix64) -> Self {
        let cap = nanos(backoff.cap);
        let base = nanos(backoff.base).min(cap);
        Self { kind: backoff.kind, jitter: backoff.jitter, rng, base, cap, step: base, following: base }
    }

    /// The next delay, given what the server asked for with its last response.
    ///
    /// See [`Backoff`](Backoff#a-servers-hint) for what a hint does; `None` is [`next`](Iterator::next).
    pub fn next_after(&mut self, hint: Option<Duration>) -> Duration {
        let step = self.next_step();
        let (low, high) = self.jitter.window(step, self.cap);
        let own = self.rng.between(low, high);
        let Some(hint) = hint else { return Duration::from_nanos(own) };

        let asked = nanos(hint);
        let spread = self.rng.between(0, self.spread(step, asked));
        // CORRECTNESS: added to the `Duration`, not to the rounded nanoseconds, so that no hint is ever undercut.
        hint.saturating_add(Duration::from_nanos(spread)).max(Duration::from_nanos(own))
    }

    /// How wide a wait of `asked` is spread, so that clients with the same hint come back apart.
    fn spread(&self, step: u64, asked: u64) -> u64 {
        match (self.kind, self.jitter) {
            (Kind::Exponential { .. } | Kind::Constant | Kind::Fibonacci, Jitter::None) => 0,
            _ => step.max(asked / 2).min(self.cap),
        }
    }

    fn next_step(&mut self) -> u64 {
        match self.kind {
            Kind::Constant => self.step,
            Kind::Exponential { factor } => {
                // A factor that is no number grows nothing, instead of making the next delay zero.
                let grown = scale(self.step, factor).max(self.step).min(self.cap);
                std::mem::replace(&mut self.step, grown)
            }
            Kind::Fibonacci => {
                let sum = self.step.saturating_add(self.following).min(self.cap);
                let next = std::mem::replace(&mut self.following, sum);
                std::mem::replace(&mut self.step, next)
            }
            Kind::Decorrelated => {
                let high = self.step.saturating_mul(3).clamp(self.base, self.cap);
                self.step = self.rng.between(self.base, high);
                self.step
            }
        }
    }
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        Some(self.next_after(None))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::MAX, None)
    }
}
