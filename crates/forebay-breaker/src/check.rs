//! From what a user wrote to what the state machine reads, or to the reason why not.

use crate::{
    Cancelled, KeyLabel, Mode, OpenFor, Ramp, Trip,
    clock::micros,
    policy::{Bad, OpenTime, Policy, RampPlan, Rule, TimeWindow, WHOLE, Window},
    state::Mark,
    trip::{RatioTrip, Span},
};
use forebay_core::ConfigError;
use std::{fmt, ops::RangeInclusive, time::Duration};

/// What a user wrote.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) keyed: bool,
    pub(crate) name: KeyLabel,
    pub(crate) trip: Trip,
    pub(crate) open_for: OpenFor,
    pub(crate) close_after: u32,
    pub(crate) probes: u32,
    pub(crate) probe_lease: Duration,
    pub(crate) ramp: Option<Ramp>,
    pub(crate) cancelled: Cancelled,
    pub(crate) max_keys: u32,
    pub(crate) idle: Duration,
    pub(crate) max_open_share: f64,
    pub(crate) mode: Mode,
    pub(crate) stripes: Option<u32>,
    pub(crate) seed: Option<u64>,
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
const MILLISECOND: Duration = Duration::from_millis(1);
/// What a hint or growth may come to where nothing else is said.
const CAP: Duration = Duration::from_secs(600);

/// How many bytes the counters of all keys may take before they share stripes.
const COUNTERS: usize = 16 << 20;

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            keyed: false,
            name: KeyLabel::EMPTY,
            trip: Trip::consecutive(5),
            open_for: OpenFor::new(Duration::from_secs(60)),
            close_after: 2,
            probes: 1,
            probe_lease: Duration::from_secs(30),
            ramp: None,
            cancelled: Cancelled::Failure,
            max_keys: 10_000,
            idle: Duration::from_secs(600),
            max_open_share: 1.0,
            mode: Mode::Normal,
            stripes: None,
            seed: None,
        }
    }
}

impl Settings {
    /// How many stripes each key's `cells` counters have.
    pub(crate) fn stripes(&self, cells: usize) -> usize {
        let keys = if self.keyed { self.max_keys as usize } else { 1 };
        let affordable = COUNTERS / (keys * cells.max(1) * size_of::<u64>()).max(1);
        self.stripes.map_or_else(
            || {
                let cores = std::thread::available_parallelism().map_or(4, usize::from);
                cores.min(16).min(affordable).max(1).next_power_of_two()
            },
            |stripes| stripes as usize,
        )
    }
}

/// The policy that the settings describe.
pub(crate) fn compile(settings: &Settings) -> Result<Policy, ConfigError> {
    within("close_after", settings.close_after, 1..=65_535)?;
    within("probes", settings.probes, 1..=1_024)?;
    within("max_keys", settings.max_keys, 1..=1 << 24)?;
    lasting("probe_lease", settings.probe_lease, MILLISECOND..=DAY)?;
    lasting("idle", settings.idle, MILLISECOND..=YEAR)?;
    if let Some(stripes) = settings.stripes {
        within("stripes", stripes, 1..=256)?;
        if !stripes.is_power_of_two() {
            return Err(ConfigError::new("stripes", stripes, "a power of two"));
        }
    }
    let streak = match settings.trip.consecutive {
        Some(failures) => within("trip", failures, 1..=65_535)?.try_into().unwrap_or(u16::MAX),
        None => 0,
    };
    let rules = rules(&settings.trip.ratios)?;
    let slow = rules.iter().any(|rule| rule.bad != Bad::Failed);
    if settings.cancelled == Cancelled::Slow && !slow {
        return Err(ConfigError::new("cancelled", "Slow", "Failure or Ignored, where no rule is about slow calls"));
    }
    let rings = rules.iter().filter(|rule| matches!(rule.window, Window::Calls { .. })).count();
    let cells = cells(&rules);
    Ok(Policy {
        streak,
        rings,
        timed: cells > 0 || slow,
        stopwatch: slow,
        cells,
        only: match *rules {
            [Rule { bad: Bad::Failed, window: Window::Time(window), .. }] => Some(window),
            _ => None,
        },
        rules,
        open: open_time(&settings.open_for)?,
        close_after: settings.close_after,
        probes: settings.probes,
        lease: micros(settings.probe_lease),
        ramp: settings.ramp.as_ref().map(ramp).transpose()?,
        cancelled: match settings.cancelled {
            Cancelled::Failure => Mark::Failure,
            Cancelled::Ignored => Mark::Ignored,
            Cancelled::Slow => Mark::Slow,
        },
        open_share: share("max_open_share", settings.max_open_share)?,
    })
}

fn rules(ratios: &[RatioTrip]) -> Result<Box<[Rule]>, ConfigError> {
    let (mut rules, mut first, mut ring) = (Vec::with_capacity(ratios.len()), 0, 0);
    for rule in ratios {
        let (window, most) = match rule.window {
            Span::Time(span) => {
                lasting("over", span, Duration::from_millis(10)..=DAY)?;
                within("buckets", rule.buckets, 2..=60)?;
                let width = micros(span).checked_div(rule.buckets.into()).unwrap_or_default();
                let window = TimeWindow { width, buckets: rule.buckets, first };
                first += window.cells();
                (Window::Time(window), u32::MAX)
            }
            Span::Calls(calls) => {
                within("over_calls", calls, 1..=10_000)?;
                ring += 1;
                (Window::Calls { calls, ring: ring - 1 }, calls)
            }
        };
        let min_calls = within("min_calls", rule.min_calls.unwrap_or(20.min(most)), 1..=most)?;
        let bad = match rule.slower_than {
            Some(limit) => Bad::SlowerThan(micros(lasting("slow_ratio", limit, MILLISECOND..=DAY)?)),
            None => Bad::Failed,
        };
        rules.push(Rule { bad, ratio: share("ratio", rule.ratio)?, min_calls, window });
    }
    Ok(rules.into())
}

/// The counters of all windows over a time.
fn cells(rules: &[Rule]) -> usize {
    rules.iter().map(|rule| if let Window::Time(window) = &rule.window { window.cells() } else { 0 }).sum()
}

fn open_time(open_for: &OpenFor) -> Result<OpenTime, ConfigError> {
    let base = lasting("open_for", open_for.base, MILLISECOND..=YEAR)?;
    let jitter = number("jitter", open_for.jitter, 0.0..=1.0)?;
    let longest = forebay_core::time::saturating_mul(base, 1.0 + jitter);
    let cap = match open_for.cap {
        Some(cap) => lasting("cap", cap, base..=YEAR)?,
        None => longest.max(CAP),
    };
    let growth = number("growth", open_for.growth, 1.0..=100.0)?;
    Ok(OpenTime { base: micros(base), growth, cap: micros(cap), jitter, hints: open_for.hints })
}

fn ramp(ramp: &Ramp) -> Result<RampPlan, ConfigError> {
    let over = micros(lasting("ramp", ramp.over, MILLISECOND..=DAY)?);
    Ok(RampPlan { over, from: share("ramp", ramp.from)? })
}

fn within(knob: &'static str, value: u32, allowed: RangeInclusive<u32>) -> Result<u32, ConfigError> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(knob, value, format!("{} to {}", allowed.start(), allowed.end())))
}

fn lasting(knob: &'static str, value: Duration, allowed: RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    let text = format!("{:?} to {:?}", allowed.start(), allowed.end());
    Err(ConfigError::new(knob, Shown(value), text))
}

fn number(knob: &'static str, value: f64, allowed: RangeInclusive<f64>) -> Result<f64, ConfigError> {
    if allowed.contains(&value) {
        return Ok(value);
    }
    Err(ConfigError::new(knob, value, format!("{:?} to {:?}", allowed.start(), allowed.end())))
}

/// A share above nothing and up to all, in parts per million.
fn share(knob: &'static str, value: f64) -> Result<u32, ConfigError> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and a cast saturates")]
    let parts = (value * f64::from(WHOLE)).round() as u32;
    if value <= 1.0 && parts > 0 {
        return Ok(parts);
    }
    Err(ConfigError::new(knob, value, "a share above 0.0, in millionths, and at most 1.0"))
}

/// A duration as a user would write it.
struct Shown(Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
