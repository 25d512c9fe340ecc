use crate::{KeyLabel, State, refusal::Refusal};
use forebay_core::{Advice, Deadline, DropReason, Seen, Verdict};
use std::{error::Error, fmt, time::Duration};

/// The circuit was open: the inner service was not called.
///
/// The server has not seen the request, so sending it later cannot double it. A retry is sensible after
/// [`retry_in`](Self::retry_in), and its [`source`](Error::source) is the [`Verdict`] that says so. Where that lies beyond the
/// deadline of the request, the verdict says that a retry is not sensible, so that no layer above waits or parks for it.
#[derive(Clone, Debug)]
pub struct CircuitOpen {
    key: KeyLabel,
    refusal: Refusal,
    verdict: Verdict,
}

// === impl CircuitOpen ===

impl CircuitOpen {
    #[inline(always)]
    pub(crate) fn new(key: KeyLabel, refusal: Refusal) -> Self {
        let advice = Advice::RetryAfter(refusal.wait());
        Self { key, refusal, verdict: Verdict::new(DropReason::CircuitOpen, Seen::No, advice) }
    }

    /// The same error for a request with this deadline.
    pub(crate) fn within(mut self: Box<Self>, deadline: Option<Deadline>) -> Box<Self> {
        // An attempt that would begin at the deadline is not begun: the retry layer counts in the same way.
        if deadline.is_some_and(|deadline| deadline.remaining() <= self.retry_in()) {
            self.verdict = Verdict::new(DropReason::CircuitOpen, Seen::No, Advice::Never);
        }
        self
    }

    /// Whether the deadline of the request passes before a call may go through.
    ///
    /// It is known where the breaker knows the deadline: see [`BreakerBuilder::deadline`](crate::BreakerBuilder::deadline).
    #[must_use]
    pub fn is_beyond_deadline(&self) -> bool {
        self.verdict.advice() == Advice::Never
    }

    /// The text of the request's key, or the breaker's name where it has no keys; empty if it has neither.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Which state rejected the call.
    ///
    /// While [`Open`](State::Open) no call goes through; while [`HalfOpen`](State::HalfOpen) all probes are under
    /// way; while [`Ramping`](State::Ramping) this call was not among the share that goes through.
    #[must_use]
    pub fn state(&self) -> State {
        self.refusal.state()
    }

    /// How long until a call may go through.
    ///
    /// While open this is the rest of the open time (or, if it was forced open, the configured one). While probes are
    /// under way and while traffic ramps up it cannot be known; it is one second then, or less if the state ends sooner.
    #[must_use]
    pub fn retry_in(&self) -> Duration {
        self.refusal.wait()
    }
}

impl fmt::Display for CircuitOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state() {
            State::Closed | State::Open => "the circuit is open",
            State::HalfOpen => "the circuit is half-open and its probes are under way",
            State::Ramping => "the circuit is ramping up",
        })?;
        if !self.key.is_empty() {
            write!(f, " for {}", self.key)?;
        }
        if self.is_beyond_deadline() { f.write_str(", longer than the deadline of the request") } else { Ok(()) }
    }
}

impl Error for CircuitOpen {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.verdict)
    }
}
