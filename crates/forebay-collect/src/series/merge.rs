use super::{Series, Value};
use std::{error::Error, fmt};

/// Two values of different kinds, units of time or buckets cannot be put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NotMerged;

// === impl Value ===

impl Value {
    /// Adds another value: sums and histograms add up, of two gauges the other one stays.
    ///
    /// # Errors
    /// [`NotMerged`], and nothing is done, if they differ in kind, temporality or buckets.
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
    /// Adds the value of another series; it then began with the first of the two, and was taken with the last.
    ///
    /// # Errors
    /// [`NotMerged`], and nothing is done, if they differ in kind, temporality or buckets.
    pub fn merge(&mut self, other: &Self) -> Result<(), NotMerged> {
        self.value.merge(&other.value)?;
        self.start_unix_nanos = self.start_unix_nanos.min(other.start_unix_nanos);
        self.time_unix_nanos = self.time_unix_nanos.max(other.time_unix_nanos);
        Ok(())
    }
}

impl fmt::Display for NotMerged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("two values that differ in kind, temporality or buckets were not put together")
    }
}

impl Error for NotMerged {}
