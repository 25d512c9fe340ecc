use super::{
    Adaptive,
    back_pressure::{BackPressure, Cut},
    latency::Latency,
    window::{Measure, Window, float},
};
use crate::{Outcome, chance::SplitMix64};
use std::time::Instant;

/// Finds how many attempts a server takes at a time; see the [module](super).
///
/// Its owner counts what is in flight. It never waits, allocates or reads a clock.
#[derive(Debug)]
pub struct Limiter {
    pub(super) adaptive: Adaptive,
    pub(super) chance: SplitMix64,
    /// Where it stands; the limit in force is near it.
    pub(super) point: f64,
    pub(super) phase: Phase,
    /// What is measured under the limit in force.
    window: Window,
    pub(super) latency: Latency,
    pub(super) back_pressure: BackPressure,
    /// The windows in a row in which it sought.
    calm: u32,
    /// The windows in a row that it was held at the most that is not too much.
    pub(super) held: u32,
    /// The comparisons in a row in which more in flight brought nearly as much more throughput.
    pub(super) streak: u32,
    /// What the limit was good for before the one above it collapsed: it has to be so again.
    verify: Option<Measure>,
}

/// One attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was sent: not when its request came, and not when an earlier attempt for it was sent.
    pub started: Instant,
    /// When its response was there, or its failure.
    pub finished: Instant,
    /// How many attempts were in flight when it started, itself included; where many start at once, when the last of them had.
    pub in_flight: usize,
    /// How it ended. [`Outcome::Retryable`] is back-pressure: a 429, a 503, a timeout. Where a result says nothing of the server's
    /// load, as a refusal of what a request contains does not, the outcome is [`Outcome::Terminal`] or [`Outcome::Ignored`]: the
    /// attempt is not counted.
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// It grows as long as that brings throughput.
    Climb { below: Option<Measure> },
    /// It compares two limits near each other, and goes towards the better one.
    Seek { first: Option<Measure> },
    /// It comes back after back-pressure.
    Recover,
    /// Attempts take longer all at once: it shrinks until they take less than `enough` seconds, or it is certain that they do not.
    Drain { from: f64, enough: f64 },
}

/// What a limit is multiplied by for back-pressure.
const CUT: f64 = 0.85;
/// The windows of calm after which a jump of the times is not the limiter's own doing.
const CALM: u32 = 8;
/// From the limit before a cut to the limit of after, in so many windows at most.
const RECOVERY: u32 = 12;
/// One's own load makes attempts slower at least as much as it brings throughput: what is above that is the load of others.
pub(super) const FOREIGN: f64 = 1.15;
/// Below that the limit doubles, whatever the last doubling brought.
const FEW: f64 = 16.0;
/// Where the first attempts take so many seconds, the first step is to four times as many: over a long round trip every round costs much.
const LONG: f64 = 0.15;
/// From that on, where so large a part of the attempts that were added brought throughput, the limit doubles again, and after one
/// round: a server whose limit is near has shown it by then.
const MANY: f64 = 48.0;
const FREE: f64 = 0.8;

// === impl Limiter ===

impl Limiter {
    /// A limiter that knows nothing of the server, from `now` on.
    #[must_use]
    pub fn new(adaptive: &Adaptive, now: Instant) -> Self {
        Self {
            adaptive: *adaptive,
            chance: SplitMix64::new(adaptive.seed()),
            point: float(adaptive.initial()),
            phase: Phase::Climb { below: None },
            window: Window::new(now, adaptive.initial(), 0.0, None),
            latency: Latency::default(),
            back_pressure: BackPressure::default(),
            calm: 0,
            held: 0,
            streak: 0,
            verify: None,
        }
    }

    /// How many attempts may be in flight now.
    #[inline]
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.window.limit
    }

    /// One attempt has ended.
    pub fn sampled(&mut self, sample: Sample) {
        let Sample { started, finished, .. } = sample;
        let refused = match sample.outcome {
            Outcome::Success => false,
            Outcome::Retryable { .. } => true,
            Outcome::Terminal | Outcome::Ignored => return,
        };
        let is_over = self.window.take(&sample);
        let mean = self.back_pressure.count(started, finished, refused);
        if let Some(from) = self.back_pressure.weigh(started, refused, self.point, self.floor()) {
            // ## any => Climb: refusals do not depend on the limit.
            (self.phase, self.point) = (Phase::Climb { below: None }, from);
            return self.open(finished, from);
        }
        if refused && self.back_pressure.asks_for_cut(started) {
            self.cut(&sample, mean);
        } else if is_over {
            self.judge(finished);
        }
    }

    /// ## any => Recover
    fn cut(&mut self, sample: &Sample, mean: f64) {
        let from = float(self.window.limit);
        let is_reached = self.window.is_reached_by(sample.in_flight);
        let refused_at = if is_reached { from } else { float(sample.in_flight) };
        let good = match self.phase {
            Phase::Seek { first: Some(first) } => first.limit + 1.0,
            Phase::Climb { below: Some(below) } if self.back_pressure.retried.is_some() => below.limit + 1.0,
            _ => 0.0,
        };
        let (ended, refused) = (self.window.ended, self.window.refused);
        let cut = Cut { at: sample.finished, from, refused_at, ended, refused, good };
        if self.back_pressure.cut(cut, mean, self.point, self.floor()) {
            self.latency.forget_usual();
            (self.phase, self.held) = (Phase::Recover, 0);
            self.point = (refused_at * CUT).min(refused_at - 1.0).max(self.floor());
            self.open(sample.finished, self.point.floor());
        }
    }

    /// A window is over.
    fn judge(&mut self, now: Instant) {
        self.back_pressure.judge_share(self.window.ended, self.window.refused);
        let Some(measure) = self.window.measure() else { return self.open(now, self.point) };
        self.latency.record(&measure);
        let is_held = self.point * 1.02 >= self.most();
        self.back_pressure.judge(&measure, is_held);
        if self.drains(&measure) {
            return self.open(now, self.point);
        }
        match self.phase {
            Phase::Drain { from, enough } => self.drain(now, &measure, from, enough),
            Phase::Recover => self.recover(now, measure.clean),
            // The client needs no more: nothing is learned of what the server takes.
            Phase::Climb { .. } | Phase::Seek { .. } if !measure.limited => {
                self.streak = 0;
                if let Phase::Seek { first } = &mut self.phase {
                    *first = None;
                }
                self.open(now, self.point);
            }
            Phase::Climb { below } => self.climb(now, measure, below),
            Phase::Seek { first } => self.seek(now, measure, first),
        }
    }

    /// ## (Climb | Seek) => Drain: attempts take longer all at once, and not because more are in flight.
    fn drains(&mut self, measure: &Measure) -> bool {
        let is_seeking = matches!(self.phase, Phase::Seek { .. });
        let good = self.verify.take().filter(|good| Latency::is_still_slow(measure, good));
        let usual = match good {
            Some(good) if !matches!(self.phase, Phase::Recover) => {
                // What is slow is slow at the limit of before as well.
                self.back_pressure.too_much = None;
                (self.calm > CALM).then_some(good.latency)
            }
            _ => None,
        };
        self.calm = if is_seeking { self.calm.saturating_add(1) } else { 0 };
        let usual = usual.or_else(|| {
            let has_jumped = self.calm > CALM && self.latency.has_jumped(measure);
            has_jumped.then(|| self.latency.usual(measure))
        });
        let Some(usual) = usual else { return false };
        self.calm = 0;
        self.phase = Phase::Drain { from: self.point, enough: (measure.latency * usual).sqrt() };
        self.point *= 0.5;
        true
    }

    /// ## Drain => (Drain | Seek | Climb)
    ///
    /// Clients that share a server all see that it is full, and all drain, so that it is not any more. If a quarter of the load
    /// changes nothing, it is not load.
    fn drain(&mut self, now: Instant, measure: &Measure, from: f64, enough: f64) {
        let is_relieved = measure.latency < enough;
        if !is_relieved && self.point > (from / 4.0).max(self.floor()) {
            self.point *= 0.5;
            return self.open(now, self.point);
        }
        self.latency.forget_usual();
        if is_relieved {
            self.point = from * 0.8;
            self.phase = Phase::Seek { first: None };
        } else {
            self.latency.rebase(measure);
            self.phase = Phase::Climb { below: None };
        }
        self.open(now, self.point);
    }

    /// ## Recover => (Recover | Seek)
    fn recover(&mut self, now: Instant, is_clean: bool) {
        if is_clean && self.back_pressure.is_over(&mut self.chance) {
            self.point = (self.point * 1.6).max(self.point + 1.0);
            self.held = self.held.saturating_add(1);
            if self.point >= self.most() || self.held > RECOVERY {
                self.point = self.point.min(self.most());
                self.phase = Phase::Seek { first: None };
            }
        }
        self.open(now, self.point);
    }

    /// ## Climb => (Climb | Seek)
    fn climb(&mut self, now: Instant, measure: Measure, below: Option<Measure>) {
        let mut is_free = false;
        if let Some(below) = below {
            let more = (measure.in_flight / below.in_flight).ln();
            let gain = (measure.rate / below.rate).ln();
            let doubt = self.latency.doubt(&measure, &below);
            is_free = self.point >= MANY && gain > FREE * more;
            let is_crowded = self.latency.crowding(&measure) > 0.0;
            let is_foreign = is_crowded && gain / more.max(0.01) > FOREIGN / self.latency.stretch(&measure);
            // In doubt it goes on: two limits near each other are compared for longer, later.
            if more > 0.05 && (is_foreign || gain + doubt <= 0.2 * more) {
                if measure.has_collapsed(&below, 0.35, doubt) {
                    self.collapsed(&below, &measure);
                }
                self.point = below.limit;
                self.phase = Phase::Seek { first: None };
                return self.open(now, self.point);
            }
        }
        if self.point >= self.most() {
            self.phase = Phase::Seek { first: None };
            return self.open(now, self.point);
        }
        self.phase = Phase::Climb { below: Some(measure) };
        let is_careful = self.back_pressure.retried.is_some();
        let factor = if is_careful {
            1.2
        } else if self.point < 2.0 && measure.latency > LONG {
            4.0
        } else if self.point < FEW || is_free {
            2.0
        } else {
            1.5
        };
        self.point = (self.point * factor).min(self.most());
        self.open(now, self.point);
        if is_free {
            self.window.shorten();
        }
    }

    /// Throughput has collapsed between two limits.
    pub(super) fn collapsed(&mut self, good: &Measure, too_much: &Measure) {
        // Nearer to the one that is good: a collapse costs more than a limit that is a little too low.
        let between = (good.limit * good.limit * too_much.limit).cbrt().max(good.limit + 1.0);
        self.back_pressure.condemn(between, too_much.latency / good.latency, &mut self.chance);
        self.latency.collapsed();
        self.verify = Some(*good);
    }

    pub(super) fn floor(&self) -> f64 {
        float(self.adaptive.floor())
    }

    /// The most that may be tried now.
    pub(super) fn most(&self) -> f64 {
        let ceiling = float(self.adaptive.ceiling());
        let below = |too_much: f64| (too_much - 1.0).min(too_much * 0.97).max(self.floor());
        self.back_pressure.too_much.map_or(ceiling, below).min(ceiling)
    }

    /// A limit near `limit` comes into force.
    pub(super) fn open(&mut self, now: Instant, limit: f64) {
        let (floor, ceiling) = (self.adaptive.floor(), self.adaptive.ceiling());
        self.point = self.point.clamp(float(floor), float(ceiling));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a whole number, cut to the bounds"
        )]
        let limit = (limit.round().min(self.most().floor()) as usize).clamp(floor, ceiling);
        self.window = Window::new(now, limit, self.latency.settle, self.latency.expected());
    }
}
