use crate::{
    Adaptive,
    window::{Measure, Window, float},
};
use forebay_core::{Outcome, chance::SplitMix64};
use tokio::time::Instant;

/// Finds how many attempts a server takes at a time.
#[derive(Debug)]
pub struct Limiter {
    adaptive: Adaptive,
    chance: SplitMix64,
    /// Where it stands; the limit in force is near it.
    point: f64,
    phase: Phase,
    window: Window,
    /// The least mean time of a window, in seconds.
    baseline: Option<f64>,
    /// By which factor attempts may take longer than the baseline, because that has been worth it.
    allowance: f64,
    /// For how many comparisons that holds; then it has to be earned again.
    allowed_for: u32,
    /// The mean time of an attempt a moment ago, in seconds, and the number in flight.
    usual: Option<(f64, f64)>,
    /// Windows in a row in which they took much longer than that.
    strained: u32,
    /// Pairs in a row in which more in flight cost nothing.
    free: u32,
    /// The relative variance of the times within a window, smoothed.
    spread: f64,
    /// The window before, while two limits are compared.
    before: Option<Measure>,
    refusals: Refusals,
}

/// One attempt that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// When it was sent: not when its request came, and not when an earlier attempt of it was sent.
    pub started: Instant,
    /// When its response was there, or its failure.
    pub finished: Instant,
    /// How many attempts were in flight when it started, itself included.
    pub in_flight: usize,
    /// How it ended.
    pub outcome: Outcome,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Grows as long as that brings something.
    Climb { below: Option<Measure>, line: Line },
    /// Compares two limits near each other, and goes towards the better one.
    Seek { first: Option<Measure>, held: u32 },
    /// Comes back after back-pressure.
    Recover,
    /// Latency has grown: less in flight, until that helps or it is certain that it does not.
    Drain(Drain),
}

/// How it is found out why attempts take longer all at once.
#[derive(Clone, Copy, Debug)]
struct Drain {
    /// The limit when that began.
    from: f64,
    /// The mean time then, in seconds.
    latency: f64,
    /// At this time or less it was load.
    enough: f64,
}

/// Whether the time of an attempt grows evenly with the number in flight, from the baseline on.
///
/// Then the load is all of it ours, and may be worth its price. Where others fill the server as well, there is a bend, or a line
/// that does not begin at the baseline.
#[derive(Clone, Copy, Debug)]
enum Line {
    /// So many points of it, one after the other, lie on such a line.
    Straight(u32),
    Bent,
}

/// What is known of back-pressure.
#[derive(Clone, Copy, Debug, Default)]
struct Refusals {
    /// When the limit was cut for it: what started before says nothing more.
    cut_at: Option<Instant>,
    /// The greatest limit that a whole window was held without a refusal.
    proven: f64,
    /// The limit that was too much.
    bad: Option<f64>,
    /// The windows until that limit is tried again.
    wait: u32,
    /// How often in a row that was in vain.
    in_vain: u32,
    /// The limit that is tried again.
    tried: Option<f64>,
    /// The share of refusals, smoothed over some sixty attempts.
    share: f64,
    /// Attempts in a row that were not refused, and attempts in a row that were.
    clean: f64,
    run: u32,
    /// The attempts that were under way at the first cut, and may show whether one refusal was one of many.
    round: Option<Round>,
    /// The limit before the first cut.
    back: f64,
    /// While refusals go on.
    descent: Option<Descent>,
    /// Since the latest refusal: when that was, and the time that all attempts since have taken, in seconds.
    since: Option<Instant>,
    busy: f64,
    /// A share of refusals that does not depend on the limit.
    tolerated: f64,
}

/// The attempts that were under way when the limit was cut.
#[derive(Clone, Copy, Debug)]
struct Round {
    cut_at: Instant,
    limit: f64,
    ended: f64,
    refused: f64,
}

/// Cuts that follow each other.
#[derive(Clone, Copy, Debug)]
struct Descent {
    /// The limit before the first.
    from: f64,
    /// The limit before all of them.
    first: f64,
    /// The limit at the cut before.
    cut: f64,
    /// Not even what is refused now shows that less than that is too much.
    least: f64,
    /// The greatest share of refusals so far.
    share: f64,
    /// What ended at half of that limit or less, and what of it was refused.
    ended: f64,
    refused: f64,
}

/// How far apart two limits are that are compared.
const APART: f64 = 1.2;
/// What one per cent more in flight may cost in latency, in per cent, and is still worth it.
const WORTH: f64 = 0.85;
/// How far a comparison moves the limit.
const GAIN: f64 = 0.3;
const STEP: f64 = 0.25;
const CUT: f64 = 0.85;
const DRAIN: f64 = 0.8;
const RECOVER: f64 = 1.25;
/// Refusals that are this share of the attempts are many.
const MANY: f64 = 0.15;
/// With so few in flight, a single refusal is no reason for fewer.
const FEW: f64 = 4.0;
const MOST_STRETCH: f64 = 10.0;
const MUCH_LONGER: f64 = 1.25;
const ALLOWED_FOR: u32 = 50;

// === impl Limiter ===

impl Limiter {
    /// A limiter that knows nothing so far, from `now` on.
    #[must_use]
    pub fn new(adaptive: &Adaptive, now: Instant) -> Self {
        Self {
            adaptive: *adaptive,
            chance: SplitMix64::new(adaptive.seed()),
            point: float(adaptive.initial),
            phase: Phase::Climb { below: None, line: Line::Straight(0) },
            window: Window::new(now, adaptive.initial, 0.0),
            baseline: None,
            allowance: 1.0,
            allowed_for: 0,
            usual: None,
            strained: 0,
            free: 0,
            spread: 0.0,
            before: None,
            refusals: Refusals::default(),
        }
    }

    /// How many attempts may be in flight now.
    #[inline]
    #[must_use]
    pub fn limit(&self) -> usize {
        self.window.limit
    }

    /// One attempt has ended.
    pub fn sampled(&mut self, sample: Sample) {
        let now = sample.finished;
        if sample.outcome == Outcome::Ignored {
            return;
        }
        let over = self.window.take(&sample);
        let refused = matches!(sample.outcome, Outcome::Retryable { .. });
        let refusals = &mut self.refusals;
        refusals.share += (f64::from(u8::from(refused)) - refusals.share) / 64.0;
        refusals.clean = if refused { 0.0 } else { refusals.clean + 1.0 };
        refusals.busy += now.saturating_duration_since(sample.started).as_secs_f64();
        let since = *refusals.since.get_or_insert(sample.started);
        let elapsed = now.saturating_duration_since(since).as_secs_f64();
        let mean = if elapsed > 0.0 { refusals.busy / elapsed } else { 0.0 };
        if refused {
            refusals.since = Some(now);
            refusals.busy = 0.0;
        }
        refusals.run = if refused { refusals.run.saturating_add(1) } else { 0 };
        self.count_round(&sample, refused, over);
        let fresh = self.refusals.cut_at.is_none_or(|at| sample.started >= at);
        if fresh && (self.descends(refused) || refused) && self.pushed_back(&sample, mean) {
            return;
        }
        if over {
            self.judge(now);
        }
    }

    /// A refusal that is one of many of its round shows that the limit was too much; a single one does not.
    fn count_round(&mut self, sample: &Sample, refused: bool, over: bool) {
        let Some(round) = &mut self.refusals.round else { return };
        let of_round = sample.started < round.cut_at;
        if of_round {
            round.ended += 1.0;
            round.refused += f64::from(u8::from(refused));
        }
        if round.ended >= round.limit || over && !of_round {
            let Round { limit, ended, refused, .. } = *round;
            self.refusals.round = None;
            if ended >= 3.0 && refused >= MANY * ended {
                self.condemn(limit, 1.0);
            }
        }
    }

    /// Counts what half of the limit has done to refusals, and draws the conclusion. `false` while it is open.
    fn descends(&mut self, refused: bool) -> bool {
        let Some(descent) = &mut self.refusals.descent else { return refused };
        descent.share = descent.share.max(self.refusals.share);
        if self.point > (descent.from / 2.0).max(FEW).max(float(self.adaptive.floor)) {
            if self.refusals.clean >= 24.0_f64.max(3.0 / descent.share) {
                self.refusals.descent = None;
            }
            return refused;
        }
        descent.ended += 1.0;
        descent.refused += f64::from(u8::from(refused));
        if descent.ended < 12.0_f64.max(4.0 / descent.share.max(0.01)).min(100.0) {
            return false;
        }
        let share = descent.refused / descent.ended;
        let before = descent.share;
        // Half of the limit is refused as much as all of it, whether by chance or by a rule that is not about load. Had the server
        // a limit of its own, twice the share would be served.
        if share >= (0.6 * before).max(1.0 - 1.3 * (1.0 - before)) && share < 0.7 {
            self.point = descent.first;
            self.refusals.tolerated = share;
            self.refusals.bad = None;
            self.refusals.descent = None;
            self.phase = Phase::Climb { below: None, line: Line::Straight(0) };
            return false;
        }
        if share <= 0.1 {
            self.refusals.descent = None;
            return refused;
        }
        (descent.first, descent.share) = (self.point, share);
        (descent.from, descent.ended, descent.refused) = (self.point, 0.0, 0.0);
        true
    }

    /// Cuts for back-pressure. `false` if that is not to be.
    fn pushed_back(&mut self, sample: &Sample, mean: f64) -> bool {
        let floor = float(self.adaptive.floor);
        let refusals = &mut self.refusals;
        if refusals.tolerated > 0.0 || float(self.window.limit) <= floor.max(FEW) && refusals.run < 3 {
            return false;
        }
        let at = float(self.window.limit.min(sample.in_flight));
        if let Some(descent) = &refusals.descent {
            if self.point <= (descent.from / 2.0).max(floor) {
                return false;
            }
            // What is refused after a cut was too much as well, or is refused for what was sent before it.
            let too_much = descent.cut.max(descent.least);
            let certain = refusals.bad.is_some() || descent.share >= MANY || refusals.run >= 3;
            if certain && refusals.bad.is_none_or(|bad| too_much < bad) {
                self.condemn(too_much, 1.0);
            }
        } else {
            let from = float(self.window.limit);
            let least = (mean + 1.0).max(refusals.tried.unwrap_or_default());
            let share = refusals.share;
            refusals.descent = Some(Descent { from, first: from, cut: at, least, share, ended: 0.0, refused: 0.0 });
            refusals.back = from;
            refusals.round = None;
            if refusals.tried.is_some_and(|tried| at >= 0.95 * tried) {
                self.condemn(at, 1.0);
            } else if at > refusals.proven {
                refusals.round = Some(Round { cut_at: sample.finished, limit: at, ended: 1.0, refused: 1.0 });
            }
        }
        let refusals = &mut self.refusals;
        refusals.proven = refusals.proven.min(at * CUT);
        refusals.cut_at = Some(sample.finished);
        if let Some(descent) = &mut refusals.descent {
            descent.cut = at;
        }
        self.point = (at * CUT).min(at - 1.0);
        self.phase = Phase::Recover;
        self.open(sample.finished, self.point.floor(), (3.0 * self.point).min(12.0));
        true
    }

    /// So many in flight are too many, and are tried again after a while: the longer, the more that costs.
    fn condemn(&mut self, at: f64, cost: f64) {
        let refusals = &mut self.refusals;
        let mut at = at;
        if refusals.bad.is_none() {
            let again = refusals.tried.take().filter(|tried| at <= tried * 1.3);
            refusals.in_vain = if again.is_some() { (refusals.in_vain + 1).min(2) } else { 0 };
            // Less than that was held for all the time since.
            at = at.max(again.unwrap_or_default());
        }
        refusals.bad = Some(at);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and 16")]
        let most = (16_u64 << (2 * refusals.in_vain)) * cost.clamp(1.0, 16.0) as u64;
        refusals.wait = u32::try_from(self.chance.between(most / 2, most)).unwrap_or(16);
    }

    /// A window is over.
    fn judge(&mut self, now: Instant) {
        let measured = self.window.measure();
        if let Some(share) = self.window.refused_share() {
            self.judge_refusals(share, measured.is_some_and(|measure| measure.whole));
        }
        let Some(measure) = measured else {
            self.open(now, self.point, 0.0);
            return;
        };
        self.spread += 0.3 * (measure.spread - self.spread);
        // The least of many uncertain means is too low: each counts with its doubt added.
        let certain = measure.latency * (1.0 + 2.0 * measure.error.max(self.spread / measure.count).sqrt());
        let baseline = self.baseline.map_or(certain, |baseline| baseline.min(certain));
        self.baseline = Some(baseline);
        let stretch = (measure.latency / baseline).max(1.0);
        if self.refusals.bad.is_some() && self.point * 1.02 >= self.most() {
            self.refusals.wait = self.refusals.wait.saturating_sub(1);
            if self.refusals.wait == 0 {
                self.refusals.tried = self.refusals.bad.take();
            }
        }
        match self.phase {
            Phase::Drain(drain) => self.drain(now, measure, drain),
            Phase::Climb { below, line } => {
                self.usual = Some((measure.latency, measure.in_flight));
                self.climb(now, measure, below, line, stretch);
            }
            Phase::Seek { first, held } => {
                if self.jumped(&measure) {
                    let enough = MUCH_LONGER * baseline;
                    self.drain(now, measure, Drain { from: self.point, latency: measure.latency, enough });
                } else {
                    self.seek(now, measure, first, held, stretch);
                }
            }
            Phase::Recover => {
                self.usual = None;
                self.recover(now);
            }
        }
    }

    /// Whether attempts take much longer than a moment ago, for two windows, although not so many more are in flight.
    fn jumped(&mut self, measure: &Measure) -> bool {
        let (latency, in_flight) = self.usual.unwrap_or((measure.latency, measure.in_flight));
        let longer = MUCH_LONGER * latency * (measure.in_flight / in_flight).max(1.0);
        if measure.latency > longer * (1.0 + 3.0 * measure.error.sqrt()) {
            self.strained += 1;
            return self.strained >= 2;
        }
        self.strained = 0;
        let towards = |usual: f64, now: f64| usual + 0.3 * (now - usual);
        self.usual = Some((towards(latency, measure.latency), towards(in_flight, measure.in_flight)));
        false
    }

    fn judge_refusals(&mut self, (share, doubt): (f64, f64), whole: bool) {
        let refusals = &mut self.refusals;
        if share <= 0.0 && whole {
            refusals.proven = refusals.proven.max(float(self.window.limit));
        }
        if refusals.tolerated > 0.0 {
            if share > (refusals.tolerated + 0.15 + 0.5 * doubt).min(0.9) {
                refusals.tolerated = 0.0;
            } else {
                let near = refusals.tolerated + 0.1 * (share - refusals.tolerated);
                refusals.tolerated = if near < 0.02 { 0.0 } else { near };
            }
        }
    }

    /// Clients that share a server all see that it is full, and all drain, so that it is not any more. If half of the load
    /// changes nothing, it is not load.
    fn drain(&mut self, now: Instant, measure: Measure, drain: Drain) {
        self.usual = None;
        self.strained = 0;
        if measure.latency <= drain.enough {
            self.point = self.point.max(drain.from * DRAIN);
            self.phase = Phase::Seek { first: None, held: 0 };
        } else if self.point > drain.from / 2.0 && self.point > float(self.adaptive.floor) {
            self.phase = Phase::Drain(drain);
            self.point *= DRAIN;
        } else if (measure.latency / drain.latency).ln().abs() <= 0.1 + measure.error.sqrt() {
            // The server has become slower, or is farther away: what it takes now is what it takes without load.
            self.baseline = Some(measure.latency);
            self.allowance = 1.0;
            self.phase = Phase::Climb { below: None, line: Line::Straight(0) };
        } else {
            // It helps, or others make it worse, who see the same.
            self.phase = Phase::Drain(Drain { from: self.point, latency: measure.latency, ..drain });
            self.point *= DRAIN;
        }
        self.open(now, self.point, 0.0);
    }

    fn climb(&mut self, now: Instant, measure: Measure, below: Option<Measure>, line: Line, stretch: f64) {
        if !measure.limited {
            return self.open(now, self.point, 0.0);
        }
        let baseline = self.baseline.unwrap_or(measure.latency);
        let line = below.filter(|_| stretch > 1.1).map_or(line, |below| line.with(&below, &measure, baseline));
        let worth = below.is_none_or(|below| {
            let more = (measure.in_flight / below.in_flight).ln();
            // In doubt it goes on: two limits near each other are compared for longer, later.
            let doubt = (measure.error + below.error).sqrt().min(0.5);
            let worth = measure.whole && (more <= 0.0 || (measure.rate / below.rate).ln() > 0.14 * more - doubt);
            if worth && line.points() >= 4 {
                self.allowance = self.allowance.max(stretch * 1.2).min(MOST_STRETCH);
                self.allowed_for = ALLOWED_FOR;
            }
            let most = (1.15 * self.allowance).max(self.target(measure.in_flight).min(1.55));
            let bearable = stretch <= most || line.points() >= 2 && stretch <= 2.0;
            worth && bearable
        });
        if !worth || self.point >= self.most() {
            if let Some(below) = below.filter(|_| !worth) {
                self.point = float(below.limit);
                if measure.rate < below.rate * 0.8 || !measure.whole {
                    self.condemn(between(&below, &measure), stretch);
                }
            }
            self.phase = Phase::Seek { first: None, held: 5 };
            return self.open(now, self.point, 0.0);
        }
        self.phase = Phase::Climb { below: Some(measure), line };
        let factor = if self.point < 16.0 { 2.0 } else { 1.5 };
        self.point = (self.point * factor).min(self.most());
        self.open(now, self.point, 0.0);
    }

    fn recover(&mut self, now: Instant) {
        if self.refusals.descent.is_none() || self.refusals.clean >= self.point {
            let most = self.most().min(self.refusals.back.max(float(self.adaptive.floor)));
            let factor = if self.point < most / 2.0 { 1.6 } else { RECOVER };
            self.point = (self.point * factor).max(self.point + 1.0);
            if self.point >= most {
                self.point = most;
                self.phase = Phase::Seek { first: None, held: 0 };
            }
        }
        self.open(now, self.point, 0.0);
    }

    fn seek(&mut self, now: Instant, measure: Measure, first: Option<Measure>, held: u32, stretch: f64) {
        if !measure.limited {
            self.free = 0;
            self.phase = Phase::Seek { first: None, held };
            return self.open(now, self.point, 0.0);
        }
        let wanted = 2.0 * self.spread / (0.35 * APART.ln()).powi(2);
        let wanted = wanted * (1.0 + 0.5 * self.chance.unit());
        let most = self.most();
        let capped = self.point * 1.02 >= most;
        // A limit that was too much once is tried with care.
        let careful = self.refusals.tried.is_some_and(|tried| self.point < 1.3 * tried);
        let before = self.before.replace(measure);
        let Some(first) = first else {
            if let Some(before) = before
                && measure.in_flight > 1.02 * before.in_flight
                && (measure.rate / before.rate).ln() < -0.3 - 2.0 * (measure.error + before.error).sqrt()
            {
                self.condemn(between(&before, &measure), stretch);
                self.point = float(before.limit);
                self.before = Some(before);
                self.phase = Phase::Seek { first: None, held: 5 };
                return self.open(now, self.point, wanted);
            }
            if capped && held < 6 {
                self.phase = Phase::Seek { first: None, held: held + 1 };
                self.point = most;
                return self.open(now, self.point, wanted);
            }
            self.phase = Phase::Seek { first: Some(measure), held: 0 };
            let other = if capped {
                self.point / APART
            } else {
                (self.point * if careful { 1.1 } else { APART }).max(self.point + 1.0).min(most)
            };
            return self.open(now, other, wanted);
        };
        let more = (measure.in_flight / first.in_flight).ln();
        if more.abs() > 0.01 {
            let cost = 1.0 - (measure.rate / first.rate).ln() / more;
            let error = (measure.error + first.error) / (more * more);
            let gain = (measure.rate / first.rate).ln();
            let doubt = 2.0 * (measure.error + first.error).sqrt();
            if more > 0.0 && (gain < -0.4 * more - doubt || first.whole && !measure.whole) {
                self.condemn(between(&first, &measure), stretch);
                self.point = float(first.limit);
            } else if more < 0.0
                && gain > doubt
                && let Some(bad) = &mut self.refusals.bad
            {
                // Less than the most that is not too much is better: that was too much already.
                *bad = bad.min(first.in_flight);
            } else {
                let gain = if cost - 2.0 * error.sqrt() > WORTH { 2.5 * GAIN } else { GAIN };
                let step =
                    (gain * (WORTH - cost) / (1.0 + 3.0 * error)).clamp(-STEP, if careful { 0.05 } else { STEP });
                // Of clients that share a server, those that have more than the others yield, and those that have less grow.
                let over = (stretch / self.target(measure.in_flight)).ln();
                let step = if over > 2.0 * measure.error.sqrt() {
                    step.min(-(0.5 * over).min(0.15))
                } else {
                    step.min((-over).max(0.0))
                };
                self.point *= step.exp();
            }
            self.free = if cost < 0.4 && stretch < 1.25 { self.free + 1 } else { 0 };
        }
        if self.allowance > 1.0 {
            self.allowed_for = self.allowed_for.saturating_sub(1);
            if self.allowed_for == 0 {
                // What looked like a line of our own may have been others that yielded: from half of it on, it shows again.
                self.allowance = 1.0;
                self.point *= 0.5;
                self.free = 2;
            }
        }
        let most = self.most().min(most);
        self.point = self.point.clamp(float(self.adaptive.floor), most);
        if self.free >= 2 && self.point < most && !careful {
            self.free = 0;
            self.phase = Phase::Climb { below: None, line: Line::Straight(0) };
        } else {
            self.phase = Phase::Seek { first: None, held: if more < 0.0 { 0 } else { 5 } };
        }
        self.open(now, self.point, wanted);
    }

    /// By which factor attempts should take longer than the baseline at most, with so many in flight.
    ///
    /// The more in flight, the less: that makes the shares of those equal that fill one server together.
    fn target(&self, in_flight: f64) -> f64 {
        ((1.2 + 6.0 / in_flight) * (1.0 + 0.6 * self.spread.sqrt())).max(self.allowance)
    }

    /// The most that may be tried now.
    fn most(&self) -> f64 {
        let ceiling = float(self.adaptive.ceiling);
        let below = |bad: f64| (bad - 1.0).min(bad * 0.98).max(float(self.adaptive.floor));
        self.refusals.bad.map_or(ceiling, below).min(ceiling)
    }

    fn open(&mut self, now: Instant, limit: f64, at_least: f64) {
        self.point = self.point.clamp(float(self.adaptive.floor), float(self.adaptive.ceiling));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a float above an integer is cut to it"
        )]
        let limit = (limit.round() as usize).clamp(self.adaptive.floor, self.adaptive.ceiling);
        self.window = Window::new(now, limit, at_least);
    }
}

// === impl Line ===

impl Line {
    /// With one point more.
    fn with(self, below: &Measure, measure: &Measure, baseline: f64) -> Self {
        let more = measure.in_flight - below.in_flight;
        if more < 0.5 {
            return self;
        }
        let slope = (measure.latency - below.latency) / more;
        let without_load = measure.latency - slope * measure.in_flight;
        let doubt = 2.0 * (measure.error + below.error).sqrt() * measure.latency * measure.in_flight / more;
        let straight = (without_load - baseline).abs() <= 0.25 * baseline + doubt.min(0.1 * baseline);
        match self {
            Self::Straight(points) if straight => Self::Straight(points + 1),
            Self::Straight(_) | Self::Bent => Self::Bent,
        }
    }

    const fn points(self) -> u32 {
        match self {
            Self::Straight(points) => points,
            Self::Bent => 0,
        }
    }
}

/// A limit between one that is good and one that is too much.
fn between(good: &Measure, too_much: &Measure) -> f64 {
    (good.in_flight * too_much.in_flight).sqrt().max(good.in_flight + 1.0)
}
