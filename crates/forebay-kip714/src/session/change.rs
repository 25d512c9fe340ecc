use crate::{state::State, wire::ErrorCode};
use std::{fmt, time::Duration};

/// What a response has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Change {
    /// A subscription is in force; the first push is due after a jittered interval.
    Subscribed,
    /// The broker wants nothing; it is asked again after its interval.
    NothingWanted,
    /// The push was taken; the next is due after the interval.
    Pushed,
    /// The broker refused with this code; it is asked for its subscription again, when depends on the code.
    Refused(ErrorCode),
    /// No response came; the broker, or another, is asked for its subscription again.
    Lost,
    /// The session is being ended; a last push may follow.
    Terminating,
    /// The session has ended as it was asked to.
    Terminated,
    /// Telemetry is off for good. It is said once.
    Stopped(Stopped),
    /// The session had ended before.
    Ignored,
}

/// Why no response came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// The connection was refused or lost, or the response took too long.
    Lost {
        /// How long the way to the broker will be closed at least, where that is known. More than an hour counts as one.
        retry_in: Option<Duration>,
    },
    /// The broker does not know these requests.
    Unsupported,
}

/// Why telemetry is off for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stopped {
    /// `INVALID_REQUEST`: for the broker this client has terminated, or talks nonsense.
    InvalidRequest,
    /// `INVALID_RECORD`: the broker's receiver cannot read our metrics.
    InvalidRecord,
    /// `UNSUPPORTED_VERSION`, as a response.
    UnsupportedVersion,
    /// Any other error code.
    Refused(ErrorCode),
    /// The broker gave no instance id.
    NoInstanceId,
    /// A response came for which the machine has no arrow: a mistake of its driver.
    IllegalTransition {
        /// Where it stood.
        from: State,
        /// The state after it.
        to: State,
    },
}

// === impl Stopped ===

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("client telemetry is off: ")?;
        match self {
            Self::InvalidRequest => write!(f, "the broker responded with {}", ErrorCode::INVALID_REQUEST),
            Self::InvalidRecord => write!(f, "the broker responded with {}", ErrorCode::INVALID_RECORD),
            Self::UnsupportedVersion => write!(f, "the broker responded with {}", ErrorCode::UNSUPPORTED_VERSION),
            Self::Refused(code) => write!(f, "the broker responded with {code}"),
            Self::NoInstanceId => f.write_str("the broker gave no instance id"),
            Self::IllegalTransition { from, to } => write!(f, "there is no way from `{from}` to `{to}`"),
        }
    }
}
