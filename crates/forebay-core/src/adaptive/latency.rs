//! How long attempts take, by what was measured so far.

use super::window::Measure;

/// The times of attempts: without load, a moment ago, and by how much they differ.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    /// The least mean time, in seconds, and of how many attempts it is the mean.
    least: Option<(f64, f64)>,
    /// The relative variance of the time of one attempt, smoothed; and before the latest window.
    pub(super) spread: f64,
    spread_before: f64,
    /// The mean time of the latest window, in seconds: what is in flight has ended after that. Zero after a collapse, when it is not
    /// known how long that takes.
    pub(super) settle: f64,
    /// The mean time and the number in flight that are usual now.
    usual: Option<(f64, f64)>,
    /// The windows in a row in which attempts took much longer.
    strained: u32,
}

/// Attempts that take so much longer all at once are not slower by chance.
const MUCH_LONGER: f64 = 1.4;

// === impl Latency ===

impl Latency {
    pub(super) fn record(&mut self, measure: &Measure) {
        if self.settle > 0.0 || self.least.is_none() {
            self.spread_before = self.spread;
            self.spread += 0.3 * (measure.spread - self.spread);
        }
        self.settle = measure.latency;
        let spread = self.spread.max(measure.spread);
        let fresh = (measure.latency, measure.count);
        let is_less = |least: &(f64, f64)| certain(*least, spread) <= certain(fresh, spread);
        self.least = Some(self.least.filter(is_less).unwrap_or(fresh));
    }

    /// How many times as long as without load an attempt of `measure` took.
    ///
    /// The least of many uncertain means is too low: it counts with its doubt added.
    pub(super) fn stretch(&self, measure: &Measure) -> f64 {
        let spread = self.spread.max(measure.spread);
        self.least.map_or(1.0, |least| measure.latency / certain(least, spread)).max(1.0)
    }

    /// The logarithm of how many times as many attempts wait in the server as one client of many may have there.
    pub(super) fn crowding(&self, measure: &Measure) -> f64 {
        let waiting = measure.in_flight * (1.0 - 1.0 / self.stretch(measure));
        let allowed = (4.0 + 0.1 * measure.in_flight) * (1.0 + self.spread.sqrt());
        (waiting.max(0.1) / allowed).ln()
    }

    /// How far the logarithm of the ratio of two rates may be from the truth.
    pub(super) fn doubt(&self, one: &Measure, other: &Measure) -> f64 {
        let usual = self.spread * (1.0 / one.count + 1.0 / other.count);
        (one.error + other.error).max(usual).sqrt()
    }

    /// The time that a window expects of its attempts.
    pub(super) fn expected(&self) -> Option<f64> {
        self.least.map(|(least, _)| self.settle.max(least))
    }

    /// The time that was usual a moment ago.
    pub(super) fn usual(&self, measure: &Measure) -> f64 {
        self.usual.map_or(measure.latency, |(latency, _)| latency)
    }

    /// Whether attempts take much longer than a moment ago, for two windows, and by more than what more in flight explains: where all
    /// of them wait for each other, they take as many times longer as there are more of them.
    pub(super) fn has_jumped(&mut self, measure: &Measure) -> bool {
        let (latency, in_flight) = self.usual.unwrap_or((measure.latency, measure.in_flight));
        let doubt = 3.0 * measure.error.max(self.spread / measure.count).sqrt();
        let explained = latency * (measure.in_flight / in_flight).max(1.0);
        if measure.latency > MUCH_LONGER * explained * (1.0 + doubt) {
            self.strained += 1;
            return self.strained >= 2;
        }
        self.strained = 0;
        let towards = |usual: f64, now: f64| usual + 0.3 * (now - usual);
        self.usual = Some((towards(latency, measure.latency), towards(in_flight, measure.in_flight)));
        false
    }

    /// Whether attempts at the limit of `good` are still much slower than `good` was.
    pub(super) fn is_still_slow(measure: &Measure, good: &Measure) -> bool {
        measure.latency > MUCH_LONGER * good.latency * (1.0 + 3.0 * measure.error.sqrt())
    }

    /// What is usual has to be found again.
    pub(super) fn forget_usual(&mut self) {
        (self.usual, self.strained) = (None, 0);
    }

    /// What the latest window has shown says nothing about times: its limit was far too much.
    pub(super) fn collapsed(&mut self) {
        self.forget_usual();
        self.spread = self.spread_before;
        self.settle = 0.0;
    }

    /// The time of `measure` is the time without load.
    pub(super) fn rebase(&mut self, measure: &Measure) {
        self.least = Some((measure.latency, measure.count));
    }
}

/// A mean time with its doubt added.
fn certain((latency, count): (f64, f64), spread: f64) -> f64 {
    latency * (1.0 + 2.0 * (spread / count).sqrt())
}
