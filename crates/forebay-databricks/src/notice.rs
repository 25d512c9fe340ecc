use crate::{HostError, HostReport, Settings};
use forebay_breaker::{Reason, State};
use forebay_core::ConfigError;
use forebay_export::ExportError;
use forebay_registry::CloseEnd;
use std::fmt;

/// What an observer receives: what the operator of a driver may want to know, and no more often than that.
///
/// None of it is an error of the driver, and none holds a secret. A driver shows it at its debug level; that is also where
/// everything is that the crates below say through `tracing`.
#[non_exhaustive]
pub enum Notice<'a> {
    /// A setting was wrong, and its fallback is used.
    BadSetting(&'a ConfigError),
    /// The kill switch has a value that it does not know, and is ignored.
    BadKillSwitch {
        /// The value, in quotes.
        value: &'a str,
    },
    /// No telemetry is sent for a connection: its host is not one that logs are sent to.
    BadHost(HostError),
    /// A connection has no telemetry: there are too many hosts, or its host's exporter could not be made.
    Unavailable {
        /// The host.
        host: &'a str,
        /// What happened.
        why: &'a str,
    },
    /// A connection brought other settings than the first one of its host, which stay in force.
    Diverged {
        /// The host.
        host: &'a str,
        /// The settings in force.
        first: &'a Settings,
        /// The settings that were asked for.
        given: &'a Settings,
    },
    /// No credentials could be used, so logs were not sent; notified again only after a request that succeeded.
    NoCredentials {
        /// The host.
        host: &'a str,
    },
    /// The service refused some logs of a batch, or complained.
    Rejected {
        /// The host.
        host: &'a str,
        /// How many logs it did not take.
        logs: usize,
        /// Its own words, the first 256 characters.
        words: &'a str,
    },
    /// A batch of logs was not delivered, with all its retries; or it waits for the service.
    ExportFailed {
        /// The host.
        host: &'a str,
        /// What happened.
        error: &'a ExportError,
    },
    /// The circuit of a host has another state.
    CircuitChanged {
        /// The host.
        host: &'a str,
        /// The state before.
        from: State,
        /// The state now.
        to: State,
        /// Why.
        reason: Reason,
    },
    /// Whether the service wants telemetry could not be asked; without an older response there is none.
    GateFailed {
        /// The host.
        host: &'a str,
        /// What happened.
        why: &'a str,
    },
    /// The last connection of a host has ended, and so has its exporter.
    Closed {
        /// The host.
        host: &'a str,
        /// What became of all its events and logs.
        report: &'a HostReport,
    },
    /// Closing the exporter of a host did not end well; the driver is not troubled by it.
    CloseFailed {
        /// The host.
        host: &'a str,
        /// How it ended.
        end: &'a CloseEnd,
    },
}

impl fmt::Debug for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Notice<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BadSetting(error) => write!(f, "a setting was ignored: {error}"),
            Self::BadKillSwitch { value } => {
                write!(f, "`{}` is {value}; allowed: 1, true, yes, on", crate::KILL_SWITCH)
            }
            Self::BadHost(error) => error.fmt(f),
            Self::Unavailable { host, why } => write!(f, "{host}: a connection has no telemetry: {why}"),
            Self::Diverged { host, .. } => write!(f, "{host}: the settings of an earlier connection stay in force"),
            Self::NoCredentials { host } => write!(f, "{host}: no credentials could be used, logs are dropped"),
            Self::Rejected { host, logs, words } => write!(f, "{host}: the service did not take {logs} logs: {words}"),
            Self::ExportFailed { host, error } => write!(f, "{host}: {error}"),
            Self::CircuitChanged { host, from, to, reason } => {
                write!(f, "{host}: the circuit was {from} and is {to}: {reason}")
            }
            Self::GateFailed { host, why } => write!(f, "{host}: whether telemetry is wanted is unknown: {why}"),
            Self::Closed { host, report } => write!(f, "{host}: closed; {}", report.logs),
            Self::CloseFailed { host, end } => write!(f, "{host}: closing did not end well: {end:?}"),
        }
    }
}
