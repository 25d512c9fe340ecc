use super::{Series, Value};
use std::{error::Error, fmt};

/// Two values of different kinds, temporalities or buckets cannot be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotMerged;

// === impl Value ===

impl Value {
    /// Merges another value: sums and histograms are added, and a gauge is replaced by the other one.
    ///
    /// # Errors
    /// Returns [`NotMerged`], and changes nothing, if they differ in kind, temporality or buckets.
    pub fn merge(&mut self, other: &Self) -> Result<(), NotMerged> {
        match (self, other) {
            (Self::Gauge(value), Self::Gauge(other)) => {
                *value = *other;
                Ok(())
            }
            (
                Self::Sum { value, monotonic, temporality },
                Self::Sum { value: other, monotonic: of_other, temporality: since },
            ) if monotonic == of_other && temporality == since => {
                *value = value.plus(*other);
                Ok(())
            }
            (Self::Histogram { histogram, temporality }, Self::Histogram { histogram: other, temporality: since })
                if temporality == since =>
            {
                histogram.add(other).then_some(()).ok_or(NotMerged)
            }
            _ => Err(NotMerged),
        }
    }
}

// === impl Series ===

impl Series {
    /// Merges the value of another series. The earlier start and the later time of the two apply.
    ///
    /// # Errors
    /// Returns [`NotMerged`], and changes nothing, if they differ in kind, temporality or buckets.
    pub fn merge(&mut self, other: &Self) -> Result<(), NotMerged> {
        self.value.merge(&other.value)?;
        self.start_unix_nanos = self.start_unix_nanos.min(other.start_unix_nanos);
        self.time_unix_nanos = self.time_unix_nanos.max(other.time_unix_nanos);
        Ok(())
    }
}

impl fmt::Display for NotMerged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two values that differ in kind, temporality or buckets were not merged")
    }
}

impl Error for NotMerged {}
