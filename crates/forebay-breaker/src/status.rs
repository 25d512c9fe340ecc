//! The states, modes and reasons that users see.

use std::fmt;

/// What a breaker does with calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Healthy: calls go through and are counted.
    #[default]
    Closed,
    /// Tripped: calls are rejected until the open time is over.
    Open,
    /// The open time is over: a few calls go through as probes, all others are rejected.
    HalfOpen,
    /// Healthy again: a growing share of the calls goes through and is counted.
    Ramping,
}

/// Whether a breaker acts on what it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It opens and closes by what it sees (the default).
    #[default]
    Normal,
    /// Every call is rejected and nothing is counted.
    ForcedOpen,
    /// Every call goes through and nothing is counted.
    ForcedClosed,
    /// It opens and closes by what it sees, and says so, but rejects nothing.
    ///
    /// A call that would have been rejected goes through and is not counted.
    ObserveOnly,
}

/// Why a breaker changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// Several calls failed in a row.
    Consecutive {
        /// How many calls failed.
        failures: u32,
    },
    /// Too large a share of the calls in a window failed.
    FailureRatio {
        /// How many calls failed.
        failures: u64,
        /// How many calls the window held.
        calls: u64,
    },
    /// Too large a share of the calls in a window was slow.
    SlowRatio {
        /// How many calls were slow.
        slow: u64,
        /// How many calls the window held.
        calls: u64,
    },
    /// A probe failed.
    ProbeFailed,
    /// A probe succeeded, but was slow.
    ProbeSlow,
    /// The open time is over.
    OpenTimeOver,
    /// As many probes succeeded as it takes to close.
    ProbesSucceeded,
    /// The ramp is over: all calls go through.
    RampOver,
    /// The mode was changed through a handle.
    Forced,
    /// It was reset through a handle.
    Reset,
    /// The key was idle, or was removed through a handle; a later call for it starts with nothing counted.
    Removed,
}

// === impl State ===

impl State {
    /// From its number in the lowest two bits.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Closed,
            1 => Self::Open,
            2 => Self::HalfOpen,
            _ => Self::Ramping,
        }
    }

    /// The name under which the state is reported, in `snake_case`; stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Ramping => "ramping",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Mode ===

impl Mode {
    /// From its number in the lowest two bits.
    pub(crate) const fn from_bits(bits: u64) -> Self {
        match bits & 3 {
            0 => Self::Normal,
            1 => Self::ForcedOpen,
            2 => Self::ForcedClosed,
            _ => Self::ObserveOnly,
        }
    }

    /// The name under which the mode is reported, in `snake_case`; stable.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::ForcedOpen => "forced_open",
            Self::ForcedClosed => "forced_closed",
            Self::ObserveOnly => "observe_only",
        }
    }

    /// The state that is seen from outside in this mode.
    pub(crate) const fn shows(self, state: State) -> State {
        match self {
            Self::ForcedOpen => State::Open,
            Self::ForcedClosed => State::Closed,
            Self::Normal | Self::ObserveOnly => state,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

// === impl Reason ===

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consecutive { failures } => write!(f, "{failures} calls failed in a row"),
            Self::FailureRatio { failures, calls } => write!(f, "{failures} of {calls} calls failed"),
            Self::SlowRatio { slow, calls } => write!(f, "{slow} of {calls} calls were slow"),
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::ProbeSlow => f.write_str("a probe was slow"),
            Self::OpenTimeOver => f.write_str("the open time is over"),
            Self::ProbesSucceeded => f.write_str("enough probes succeeded"),
            Self::RampOver => f.write_str("the ramp is over"),
            Self::Forced => f.write_str("the mode was changed"),
            Self::Reset => f.write_str("it was reset"),
            Self::Removed => f.write_str("the key was removed"),
        }
    }
}
