//! From the knobs to what the state machine reads, or to the reason why not.

use crate::{
    Cancelled, OpenFor, Ramp,
    env::micros,
    knobs::Knobs,
    observation::Grade,
    policy::{OpenTime, Policy, RampPlan, WHOLE, Window},
    rule::{Bad, Rule},
    trip,
};
use forebay_core::ConfigError;
use std::time::Duration;

pub(crate) const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);
/// How far the open time may grow where no cap is given.
const CAP: Duration = Duration::from_secs(600);

/// The policy that the knobs describe.
pub(crate) fn compile(knobs: &Knobs) -> Result<Policy, ConfigError> {
    ConfigError::within("close_after", knobs.close_after, 1..=65_535)?;
    ConfigError::within("probes", knobs.probes, 1..=1_024)?;
    ConfigError::within("max_keys", knobs.max_keys, 1..=1 << 24)?;
    ConfigError::within("probe_lease", knobs.probe_lease, MILLISECOND..=DAY)?;
    ConfigError::within("idle", knobs.idle, MILLISECOND..=YEAR)?;
    if let Some(stripes) = knobs.stripes {
        ConfigError::within("stripes", stripes, 1..=256)?;
        if !stripes.is_power_of_two() {
            return Err(ConfigError::new("stripes", stripes, "a power of two"));
        }
    }
    let trip = knobs.trip();
    let streak = match trip.consecutive {
        Some(failures) => ConfigError::within("trip", failures, 1..=65_535)?.try_into().unwrap_or(u16::MAX),
        None => 0,
    };
    let rules = trip::compile(&trip.ratios)?;
    let slow = rules.iter().any(|rule| rule.bad != Bad::Failed);
    if knobs.cancelled == Cancelled::Slow && !slow {
        return Err(ConfigError::new("cancelled", "Slow", "Failure or Ignored, where no rule is about slow calls"));
    }
    let rings = rules.iter().filter(|rule| matches!(rule.window, Window::Calls(_))).count();
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
        open: open_time(&knobs.open_for)?,
        close_after: knobs.close_after,
        probes: knobs.probes,
        lease: micros(knobs.probe_lease),
        ramp: knobs.ramp.as_ref().map(ramp).transpose()?,
        cancelled: match knobs.cancelled {
            Cancelled::Failure => Grade::Failure,
            Cancelled::Ignored => Grade::Ignored,
            Cancelled::Slow => Grade::Slow,
        },
        terminal: if knobs.counts_terminal { Grade::Failure } else { Grade::Ignored },
        open_share: share("max_open_share", knobs.max_open_share)?,
    })
}

/// The counters of all windows over a time.
fn cells(rules: &[Rule]) -> usize {
    rules.iter().map(|rule| if let Window::Time(window) = &rule.window { window.cells() } else { 0 }).sum()
}

fn open_time(open_for: &OpenFor) -> Result<OpenTime, ConfigError> {
    let base = ConfigError::within("open_for", open_for.base, MILLISECOND..=YEAR)?;
    let jitter = ConfigError::within("jitter", open_for.jitter, 0.0..=1.0)?;
    let longest = forebay_core::time::saturating_mul(base, 1.0 + jitter);
    let cap = match open_for.cap {
        Some(cap) => ConfigError::within("cap", cap, base..=YEAR)?,
        None => longest.max(CAP),
    };
    let max_hint = ConfigError::within("max_hint", open_for.max_hint, Duration::ZERO..=YEAR)?;
    let growth = ConfigError::within("growth", open_for.growth, 1.0..=100.0)?;
    Ok(OpenTime { base: micros(base), growth, cap: micros(cap), jitter, max_hint: micros(max_hint) })
}

fn ramp(ramp: &Ramp) -> Result<RampPlan, ConfigError> {
    let over = micros(ConfigError::within("ramp", ramp.over, MILLISECOND..=DAY)?);
    Ok(RampPlan { over, from: share("ramp", ramp.from)? })
}

/// A share above nothing and up to all, in parts per million.
pub(crate) fn share(knob: &'static str, value: f64) -> Result<u32, ConfigError> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked, and a cast saturates")]
    let parts = (value * f64::from(WHOLE)).round() as u32;
    if value <= 1.0 && parts > 0 {
        return Ok(parts);
    }
    Err(ConfigError::new(knob, value, "a share above 0.0, in millionths, and at most 1.0"))
}
