use crate::{HostError, HostReport, Settings};
use forebay_core::ConfigError;
use forebay_registry::CloseEnd;
use std::fmt;

/// What an observer hears: what whoever runs the driver may want to know, and no more often than that.
///
/// Nothing of it is an error of the driver, and nothing holds a secret. A driver shows it at its debug level.
#[non_exhaustive]
pub enum Notice<'a> {
    /// A setting was wrong, and its fallback is used.
    BadSetting(&'a ConfigError),
    /// The kill switch has a value that is none, and is ignored.
    BadKillSwitch {
        /// The value, in quotes.
        value: &'a str,
    },
    /// No telemetry is sent for a connection: its host is none that is sent to.
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
    /// Nobody's credentials could be used, so logs were not sent; said again only after a request that succeeded.
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
    /// Whether the service wants telemetry could not be asked; without an older answer there is none.
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
            Self::GateFailed { host, why } => write!(f, "{host}: whether telemetry is wanted is unknown: {why}"),
            Self::Closed { host, report } => write!(f, "{host}: closed; {}", report.logs),
            Self::CloseFailed { host, end } => write!(f, "{host}: closing did not end well: {end:?}"),
        }
    }
}
