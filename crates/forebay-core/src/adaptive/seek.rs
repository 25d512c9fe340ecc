//! How two limits near each other are compared, and what follows from that.

use super::{
    limiter::{FOREIGN, Limiter, Phase},
    window::Measure,
};
use std::time::Instant;

/// What one per cent more in flight has to bring in throughput, in per cent.
const WORTH: f64 = 0.15;
/// How far a comparison moves the limit, and how far at most.
const GAIN: f64 = 0.4;
const STEP: f64 = 0.25;
/// The windows that a limit is held below one that is too much, before less is compared with it.
const HOLD: u32 = 12;

/// Two limits near each other.
struct Pair {
    low: Measure,
    high: Measure,
    /// The logarithm of the ratio of what they serve, and how far that may be from the truth.
    gain: f64,
    doubt: f64,
}

// === impl Limiter ===

impl Limiter {
    /// ## Seek => (Seek | Climb)
    pub(super) fn seek(&mut self, now: Instant, measure: Measure, first: Option<Measure>) {
        let is_capped = self.point * 1.02 >= self.most();
        let Some(first) = first else {
            if is_capped && self.held < HOLD {
                self.held += 1;
                self.point = self.most();
                return self.open(now, self.point);
            }
            self.held = 0;
            // Clients that start together do not probe together.
            if self.chance.unit() < 0.3 {
                return self.open(now, self.point);
            }
            self.phase = Phase::Seek { first: Some(measure) };
            let other = if measure.limit > self.point + 0.5 { self.point } else { self.other(is_capped) };
            return self.open(now, other);
        };
        self.phase = Phase::Seek { first: None };
        let pair = self.pair(first, measure);
        if pair.high.limit > pair.low.limit && pair.high.has_collapsed(&pair.low, 0.25, pair.doubt) {
            if is_capped && measure.limit < first.limit {
                self.back_pressure.lower(first.limit);
            } else {
                self.collapsed(&pair.low, &pair.high);
            }
            self.point = pair.low.limit;
            self.streak = 0;
            return self.open(now, self.point);
        }
        let more = (pair.high.in_flight / pair.low.in_flight).ln();
        if more.abs() < 0.01 {
            return self.open(now, self.point);
        }
        if is_capped && pair.gain < -0.02 - pair.doubt {
            self.back_pressure.lower(pair.high.limit);
        }
        self.follow(now, &measure, &pair, more);
    }

    /// Goes where a comparison points.
    fn follow(&mut self, now: Instant, measure: &Measure, pair: &Pair, more: f64) {
        let worth = (pair.gain / more).clamp(-2.0, 2.0);
        let error = pair.doubt / more.abs();
        let stretch = self.latency.stretch(measure);
        let crowding = self.latency.crowding(measure);
        let is_careful = self.back_pressure.is_careful(self.point);
        let most = if is_careful { self.back_pressure.careful(self.point) } else { STEP };
        let step = (GAIN * (worth - WORTH) / (1.0 + 2.0 * error * error)).clamp(-STEP, most);
        let is_foreign = stretch > 1.15 && worth - 0.5 * error > FOREIGN / stretch;
        let step = if is_foreign && crowding > 0.0 {
            // Of clients that share a server, those that have more than the others yield.
            -(0.3 * crowding).clamp(0.02, STEP)
        } else if crowding > 0.0 && worth < WORTH {
            step.min(-(0.3 * crowding).min(0.15))
        } else if is_foreign {
            step.min(-0.3 * crowding)
        } else {
            step
        };
        self.point = (self.point * step.exp()).clamp(self.floor(), self.most());
        let is_free = worth > 0.6 && stretch < 1.3 * (1.0 + self.latency.spread.sqrt());
        self.streak = if is_free { self.streak + 1 } else { 0 };
        let is_held_back = self.back_pressure.is_refused_above() || self.back_pressure.is_careful(self.point);
        if self.streak >= 2 && !is_held_back {
            self.streak = 0;
            self.phase = Phase::Climb { below: None };
            return self.open(now, self.point);
        }
        // Which of the two limits comes first is left to chance as well.
        let limit =
            if self.chance.unit() < 0.5 && self.point * 1.02 < self.most() { self.other(false) } else { self.point };
        self.open(now, limit);
    }

    /// The limit that `point` is compared with.
    fn other(&self, is_capped: bool) -> f64 {
        let noise = (self.latency.spread / self.point).sqrt();
        let is_careful = self.back_pressure.is_careful(self.point);
        let apart = if is_careful { self.back_pressure.careful(self.point) } else { (2.0 * noise).clamp(0.1, 0.4) };
        let factor = apart.exp();
        if is_capped {
            (self.point / factor).min(self.point - 1.0)
        } else {
            (self.point * factor).max(self.point + 1.0).min(self.most())
        }
    }

    fn pair(&self, first: Measure, second: Measure) -> Pair {
        let (low, high) = if second.limit < first.limit { (second, first) } else { (first, second) };
        let gain = (high.rate / low.rate).ln();
        Pair { low, high, gain, doubt: self.latency.doubt(&first, &second) }
    }
}
