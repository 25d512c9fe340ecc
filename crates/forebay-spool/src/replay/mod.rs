//! When to lease, and from which end: a pure machine, whose shell leases, sends and reports back.
//!
//! ```text
//!            backoff ends          probe delivered            ramp over
//!  Waiting ───────────────► Probing ───────────────► Ramping ───────────► Steady
//!     ▲                        │ failed                 │ failed             │ failed
//!     └────────────────────────┴────────────────────────┴────────────────────┘
//! ```

mod policy;

pub use self::policy::ReplayPolicy;
use crate::{Order, Want};
use forebay_core::time::saturating_add;
use std::time::{Duration, Instant};

/// Decides when the next records of one destination are replayed. Time is an argument.
///
/// A shell asks [`next`](Self::next), leases what it says, and reports with [`leased`](Self::leased) or
/// [`nothing`](Self::nothing), and then with [`delivered`](Self::delivered) or [`failed`](Self::failed).
#[derive(Clone, Debug)]
pub struct Replay {
    policy: ReplayPolicy,
    phase: Phase,
    /// Leases that are out.
    in_flight: usize,
    /// Failures in a row: the wait doubles with each.
    failures: u32,
    /// Records that may be leased now.
    tokens: f64,
    /// When `tokens` was last brought up to date.
    at: Instant,
    /// The share of the backlog that is owed, in leases.
    owed: f64,
    /// When records were last leased.
    last: Option<Instant>,
}

/// What the shell does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Lease this much now.
    Lease(Want),
    /// Ask again at this time, or when a lease has ended.
    Wait(Instant),
    /// Ask again when a lease has ended.
    Busy,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The destination has failed: nothing is sent before this time.
    Waiting { until: Instant },
    /// One lease of few records finds out whether the destination is there.
    Probing,
    /// The rate grows since this time.
    Ramping { since: Instant },
    /// The full rate.
    Steady,
}

// === impl Replay ===

impl Replay {
    /// A machine that begins with a probe.
    #[must_use]
    pub fn new(policy: ReplayPolicy, now: Instant) -> Self {
        Self { policy, phase: Phase::Probing, in_flight: 0, failures: 0, tokens: 0.0, at: now, owed: 0.0, last: None }
    }

    /// What to do now. `live_waits` says whether fresh items wait for the same destination outside of the spool: they are sent
    /// first, and the replay goes on as a trickle.
    pub fn next(&mut self, now: Instant, live_waits: bool) -> Next {
        self.refill(now);
        if let Phase::Waiting { until } = self.phase {
            if now < until {
                return Next::Wait(until);
            }
            self.phase = Phase::Probing;
        }
        if self.phase == Phase::Probing {
            // One probe, and no second one beside it.
            return if self.in_flight > 0 { Next::Busy } else { Next::Lease(self.want(self.policy.probe_records)) };
        }
        if self.in_flight >= self.policy.max_in_flight {
            return Next::Busy;
        }
        if live_waits {
            let yields = self.last.map(|last| saturating_add(last, self.policy.yield_for)).filter(|until| now < *until);
            if let Some(until) = yields {
                return Next::Wait(until);
            }
            if self.in_flight > 0 {
                return Next::Busy;
            }
        }
        let batch = self.policy.batch_records as f64;
        if self.tokens < batch.min(self.burst(now)) {
            let missing = batch.min(self.burst(now)) - self.tokens;
            let wait = Duration::try_from_secs_f64(missing / self.rate(now)).unwrap_or(forebay_core::time::FAR);
            // A nanosecond more than the division says: the same question must not be asked twice at one time.
            return Next::Wait(saturating_add(now, wait.saturating_add(Duration::from_nanos(1))));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, and is cut to the batch"
        )]
        let tokens = self.tokens as usize;
        let records = self.policy.batch_records.min(tokens).max(1);
        Next::Lease(self.want(records))
    }

    /// So many records were leased, as [`next`](Self::next) said.
    pub fn leased(&mut self, now: Instant, records: usize) {
        self.in_flight += 1;
        self.tokens -= records as f64;
        self.last = Some(now);
        if self.policy.order == Order::NewestFirst {
            self.owed = if self.owed >= 1.0 { self.owed - 1.0 } else { self.owed + self.policy.trickle };
        }
    }

    /// There was nothing to lease: ask again at the time that is returned, or when something was appended.
    #[must_use]
    pub fn nothing(&self, now: Instant) -> Instant {
        saturating_add(now, self.policy.idle)
    }

    /// A lease was delivered, at least in part: the destination is there.
    pub fn delivered(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.failures = 0;
        match self.phase {
            Phase::Probing => {
                self.phase = Phase::Ramping { since: now };
                self.tokens = 0.0;
                self.at = now;
            }
            Phase::Ramping { since } if now.saturating_duration_since(since) >= self.policy.ramp => {
                self.phase = Phase::Steady;
            }
            // A lease from before the failure says nothing about the time after it.
            Phase::Waiting { .. } | Phase::Ramping { .. } | Phase::Steady => {}
        }
    }

    /// A lease was not delivered because the destination is not there, or asks for a pause of `after`.
    pub fn failed(&mut self, now: Instant, after: Option<Duration>) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Phase::Waiting { until } = self.phase {
            // One outage ends many leases: it is one failure. A hint may still make the wait longer.
            let hinted = after.map_or(until, |after| saturating_add(now, after.min(self.policy.max_backoff)));
            self.phase = Phase::Waiting { until: until.max(hinted) };
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let doubled = self.policy.min_backoff.saturating_mul(1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX));
        let wait = doubled.max(after.unwrap_or_default()).min(self.policy.max_backoff);
        self.phase = Phase::Waiting { until: saturating_add(now, wait) };
    }

    /// A lease was given back, and says nothing about the destination.
    pub fn released(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Which end is next: the newest, and now and then the oldest.
    fn want(&self, records: usize) -> Want {
        let order = match self.policy.order {
            Order::NewestFirst if self.owed < 1.0 => Order::NewestFirst,
            Order::NewestFirst | Order::Oldest => Order::Oldest,
        };
        Want { order, records, bytes: self.policy.batch_bytes }
    }

    /// Records a second, at this time.
    fn rate(&self, now: Instant) -> f64 {
        let full = f64::from(self.policy.max_records_per_second);
        match self.phase {
            Phase::Ramping { since } if !self.policy.ramp.is_zero() => {
                let passed = now.saturating_duration_since(since).as_secs_f64() / self.policy.ramp.as_secs_f64();
                // From a tenth on: a ramp that begins with nothing never begins.
                full * passed.clamp(0.1, 1.0)
            }
            Phase::Waiting { .. } | Phase::Probing | Phase::Ramping { .. } | Phase::Steady => full,
        }
    }

    /// Tokens never grow beyond a tenth of a second of the rate, or one record.
    fn burst(&self, now: Instant) -> f64 {
        (self.rate(now) / 10.0).max(1.0)
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate(now)).min(self.burst(now));
        self.at = now;
    }
}

#[cfg(test)]
mod tests;
