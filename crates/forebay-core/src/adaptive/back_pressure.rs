//! What is known of back-pressure: which limit is too much, and when it is tried again.

use super::window::{Measure, one_if};
use crate::chance::SplitMix64;
use std::time::Instant;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct BackPressure {
    /// When the limit was cut: what started before says nothing more.
    pub(super) cut_at: Option<Instant>,
    /// A share of refusals that does not depend on the limit.
    tolerated: f64,
    /// While refusals go on.
    pub(super) descent: Option<Descent>,
    /// The limit that is too much.
    pub(super) too_much: Option<f64>,
    /// The windows until that limit is tried again.
    wait: f64,
    /// How often in a row that was in vain.
    in_vain: u32,
    /// Whether the latest limit that was too much was so because throughput collapsed there, and not because of refusals.
    pub(super) collapsed: bool,
    /// The limit that is tried again.
    pub(super) retried: Option<f64>,
    /// The greatest limit that was held for long without a refusal; zero where there is none.
    proven: f64,
    /// The windows without a refusal that may prove a limit: the least limit of them, and how many they are.
    proving: (f64, u32),
    /// The attempts in a row that were not refused.
    clean: f64,
    /// Since the latest refusal: when that was, and the time that all attempts since have taken, in seconds.
    since: Option<Instant>,
    busy: f64,
}

/// Cuts that follow each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descent {
    first_cut: Instant,
    /// The limit before all cuts.
    from: f64,
    /// The limit whose half shows whether less is refused there.
    base: f64,
    /// The limit at the latest refusal.
    last: f64,
    /// Not even what is refused now shows that less than that is too much.
    least: f64,
    /// What of `from` was held for long without a refusal: others have filled the server.
    held: f64,
    /// What ended at `base`, and at its half.
    whole: Tally,
    half: Tally,
    /// Whether many were refused.
    many: bool,
    /// Whether nearly all was refused at the floor as well: the server was away, which says nothing about the limit.
    away: bool,
    /// How often a refusal followed on a success, or a success on a refusal; and what the latest attempt was.
    switches: f64,
    latest: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    ended: f64,
    refused: f64,
}

/// What the limit before the first cut was, and what was known of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) at: Instant,
    pub(super) from: f64,
    /// The number in flight that was refused.
    pub(super) refused_at: f64,
    /// What ended at this limit before, and what of it was refused.
    pub(super) ended: f64,
    pub(super) refused: f64,
    /// A limit that a whole window was held, and that a refusal at `from` does not show to be too much.
    pub(super) good: f64,
}

/// The windows for which a limit has to be held to be proven.
const PROVEN: u32 = 5;
/// What a client keeps of a limit that it has held for long, and that is refused now: those with more than a few in flight yield.
const KEPT: f64 = 0.8;
/// So many are a few: of them a client yields nothing, as one less would be a far greater share of them than of many.
const FEW: f64 = 5.0;
/// What a client with few in flight keeps of a limit that is refused, whatever is refused on the way down.
const KEPT_OF_FEW: f64 = 0.85;
/// The successes in a row, at least, after which refusals are over. A client with one in flight counts them for as many round trips,
/// in which those with more have taken what it left.
const CLEAN: f64 = 7.0;
/// The attempts at the floor that it takes to tell chance from a server that others fill and leave again and again.
const AT_FLOOR: f64 = 24.0;
/// A limit that was refused is tried again by so many times its square root. By a share of it, those with many in flight would gain
/// more than those with few; and a server that counts over many round trips refuses for as long what was far too much.
const CAREFUL: f64 = 0.21;
/// The same near a limit at which throughput collapsed, as a share of it: latency shows that before it costs much.
const CAREFUL_OF_COLLAPSE: f64 = 0.05;
/// Nearly all is refused: that is never chance.
const ALL: f64 = 0.75;

// === impl BackPressure ===

impl BackPressure {
    /// Counts an attempt, and returns the mean number in flight since the latest refusal.
    pub(super) fn count(&mut self, started: Instant, finished: Instant, refused: bool) -> f64 {
        self.clean = if refused { 0.0 } else { self.clean + 1.0 };
        self.busy += finished.saturating_duration_since(started).as_secs_f64();
        let since = *self.since.get_or_insert(started);
        let elapsed = finished.saturating_duration_since(since).as_secs_f64();
        let mean = if elapsed > 0.0 { self.busy / elapsed } else { 0.0 };
        if refused {
            (self.since, self.busy) = (Some(finished), 0.0);
        }
        mean
    }

    /// Whether a refusal of an attempt that started at `started` is a reason to cut.
    pub(super) fn asks_for_cut(&self, started: Instant) -> bool {
        self.tolerated == 0.0 && self.cut_at.is_none_or(|at| started > at)
    }

    /// Counts what the cuts do to the share of refusals. Some limit, if refusals do not depend on it: that of before.
    pub(super) fn weigh(&mut self, started: Instant, refused: bool, point: f64, floor: f64) -> Option<f64> {
        let descent = self.descent.as_mut()?;
        if started <= descent.first_cut {
            descent.whole.add(refused);
            return None;
        }
        if point > descent.pause(floor) || self.cut_at.is_some_and(|at| started <= at) {
            return None;
        }
        descent.half.add(refused);
        descent.switches += one_if(descent.latest.replace(refused).is_some_and(|latest| latest != refused));
        let (whole, half) = (descent.whole.share(), descent.half.share());
        let enough = if point <= floor { AT_FLOOR } else { 12.0 };
        if descent.half.ended < (5.0 / whole.max(0.01)).clamp(enough, 100.0) {
            return None;
        }
        // Chance mixes what is refused with what is not; a server that is full refuses all, and then none.
        let is_mixed = descent.switches >= half * (1.0 - half) * descent.half.ended;
        if is_mixed && (0.05..ALL).contains(&half) && (half >= 0.6 * whole || point <= floor) {
            let from = descent.from;
            (self.tolerated, self.too_much, self.descent) = (half, None, None);
            return Some(from);
        }
        descent.many |= descent.is_many();
        descent.away |= point <= floor && half >= ALL;
        (descent.base, descent.whole, descent.half) = (point, descent.half, Tally::default());
        (descent.switches, descent.latest) = (0.0, None);
        None
    }

    /// A refusal asks for a cut. `false` while the cuts pause, because enough is known at half of the limit.
    pub(super) fn cut(&mut self, cut: Cut, mean: f64, point: f64, floor: f64) -> bool {
        let held = self.proven.min(cut.from);
        (self.proven, self.proving) = (0.0, (0.0, 0));
        let is_first = self.descent.is_none();
        let descent = self.descent.get_or_insert(Descent {
            first_cut: cut.at,
            from: cut.from,
            base: cut.from,
            last: cut.refused_at,
            // What was in flight on the average for all the time since is not too much, whatever the server remembers.
            least: ((mean + 2.0) * 1.03).max(cut.good),
            held,
            whole: Tally { ended: cut.ended.max(1.0), refused: cut.refused.max(1.0) },
            half: Tally::default(),
            many: false,
            away: false,
            switches: 0.0,
            latest: None,
        });
        descent.last = cut.refused_at;
        if !is_first && descent.first_cut < cut.at && point <= descent.pause(floor) {
            return false;
        }
        self.cut_at = Some(cut.at);
        true
    }

    /// Ends the cuts if enough attempts in a row were not refused. `false` while that is open.
    pub(super) fn is_over(&mut self, chance: &mut SplitMix64) -> bool {
        let Some(descent) = self.descent else { return true };
        let Tally { ended, refused } = descent.whole;
        if self.clean < (3.0 * ended / refused.max(1.0)).max(CLEAN) {
            return false;
        }
        if !descent.away && (descent.many || descent.is_many()) {
            let own = descent.last.max(descent.least.min(descent.from));
            let Descent { from, held, .. } = descent;
            let kept = (KEPT * held).max(held.min(FEW)).max(KEPT_OF_FEW * from.min(8.0));
            // Chance rounds, so that few in flight yield the same share on the average as many.
            let kept = (kept + chance.unit()).floor() + 1.0;
            self.condemn(own.max(kept), 1.0, chance);
        }
        self.descent = None;
        true
    }

    /// So many in flight are too many, and are tried again after a while: the longer, the more that costs.
    pub(super) fn condemn(&mut self, at: f64, cost: f64, chance: &mut SplitMix64) {
        self.collapsed = cost > 1.0;
        self.too_much = Some(match self.too_much {
            Some(too_much) => {
                // A collapse after a collapse: the next one would cost as much.
                self.in_vain = if cost > 1.0 { self.in_vain.max(1) } else { self.in_vain };
                at.min(too_much)
            }
            None => {
                let again = self.retried.take().filter(|retried| at <= retried * 1.3);
                self.in_vain = if again.is_some() { (self.in_vain + 1).min(4) } else { 0 };
                // Less than that was held for all the time since.
                at.max(again.unwrap_or_default())
            }
        });
        let cost = if self.in_vain > 0 { cost.clamp(1.0, 4.0) } else { 1.0 };
        let most = f64::from(16_u32 << (2 * self.in_vain)) * cost;
        self.wait = most * (0.5 + 0.5 * chance.unit());
    }

    /// The limit `at` was too much already, as less was better.
    pub(super) fn lower(&mut self, at: f64) {
        if let Some(too_much) = &mut self.too_much {
            *too_much = too_much.min(at);
        }
    }

    /// A window has ended in which `refused` of `ended` attempts were refused.
    pub(super) fn judge_share(&mut self, ended: f64, refused: f64) {
        if self.tolerated == 0.0 || ended < 4.0 {
            return;
        }
        let share = refused / ended;
        if share > (self.tolerated + 0.1 + ended.sqrt().recip()).min(0.95) {
            self.tolerated = 0.0;
            return;
        }
        self.tolerated += 0.1 * (share - self.tolerated);
        if self.tolerated < 0.02 {
            self.tolerated = 0.0;
        }
    }

    /// A window has ended; `is_held` says whether it was held at the most that is not too much.
    pub(super) fn judge(&mut self, measure: &Measure, is_held: bool) {
        if measure.clean {
            let (least, windows) = self.proving;
            self.proving = if windows == 0 { (measure.limit, 1) } else { (least.min(measure.limit), windows + 1) };
            if self.proving.1 == PROVEN {
                (self.proven, self.proving.1) = (self.proven.max(self.proving.0), 0);
            }
        }
        if self.too_much.is_some() && is_held {
            self.wait -= 1.0;
            if self.wait <= 0.0 {
                self.retried = self.too_much.take();
            }
        }
    }

    /// Whether a limit near `point` was too much once, and is tried with care.
    pub(super) fn is_careful(&self, point: f64) -> bool {
        let near = if self.collapsed { 1.3 } else { 2.0 };
        self.retried.is_some_and(|retried| point < near * retried)
    }

    /// How far the logarithm of a limit near `point` goes up at a time, with care.
    pub(super) fn careful(&self, point: f64) -> f64 {
        if self.collapsed { CAREFUL_OF_COLLAPSE } else { CAREFUL / point.sqrt() }
    }

    /// Whether refusals have shown a limit to be too much: it is known, and above it is not climbed.
    pub(super) fn is_refused_above(&self) -> bool {
        self.too_much.is_some() && !self.collapsed
    }
}

// === impl Descent ===

impl Descent {
    /// The limit at which the cuts pause until enough is known there.
    fn pause(&self, floor: f64) -> f64 {
        (self.base / 2.0).max(floor)
    }

    /// A refusal that is one of many shows that the limit was too much; a single one does not.
    fn is_many(&self) -> bool {
        let Tally { ended, refused } = self.whole;
        refused >= 2.0 && refused >= 0.05 * ended || self.from <= 8.0 && refused >= 0.1 * ended
    }
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, refused: bool) {
        self.ended += 1.0;
        self.refused += one_if(refused);
    }

    fn share(&self) -> f64 {
        self.refused / self.ended.max(1.0)
    }
}
