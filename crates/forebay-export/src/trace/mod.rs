//! What is told to `tracing`: events at debug, and one warning when items are lost. Without the feature nothing is.

#[cfg(feature = "tracing")]
mod alarm;
#[cfg(feature = "tracing")]
mod losses;
#[cfg(feature = "tracing")]
mod on;

#[cfg(not(feature = "tracing"))]
mod off;

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::*;
#[cfg(feature = "tracing")]
pub(crate) use self::{
    losses::{Bell, Losses},
    on::*,
};
