//! Events for `tracing`, at debug, and one warning when items are lost. Without the feature there is none.

#[cfg(feature = "tracing")]
mod alarm;
#[cfg(feature = "tracing")]
mod losses;
#[cfg(feature = "tracing")]
mod on;

#[cfg(not(feature = "tracing"))]
mod off;

/// At which level lost items are said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Loudness {
    /// A warning, at most once a minute.
    #[default]
    Warns,
    /// At debug, as everything else, and as rarely: for a library that must not be heard in its host's log.
    Quiet,
}

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::*;
#[cfg(feature = "tracing")]
pub(crate) use self::{
    losses::{Bell, Losses},
    on::*,
};
