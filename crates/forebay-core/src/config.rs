use std::{error::Error, fmt, ops::RangeInclusive};

/// A builder was given a value that no service can work with.
///
/// It names the knob, the value, and what is allowed. Nothing was built and nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    knob: &'static str,
    value: String,
    allowed: String,
}

// === impl ConfigError ===

impl ConfigError {
    /// `value` was given for `knob`, and only `allowed` (a range or a rule, in words) is accepted.
    #[must_use]
    pub fn new(knob: &'static str, value: impl fmt::Display, allowed: impl Into<String>) -> Self {
        Self { knob, value: value.to_string(), allowed: allowed.into() }
    }

    /// Returns `value` if it is `allowed`.
    ///
    /// # Errors
    ///
    /// Else the error that names both ends, as a user would write them: `1.0`, `60s`.
    pub fn within<T: PartialOrd + fmt::Debug>(
        knob: &'static str,
        value: T,
        allowed: RangeInclusive<T>,
    ) -> Result<T, Self> {
        if allowed.contains(&value) {
            return Ok(value);
        }
        let (least, most) = allowed.into_inner();
        Err(Self::new(knob, format_args!("{value:?}"), format!("{least:?} to {most:?}")))
    }

    /// The name of the builder method.
    #[must_use]
    pub fn knob(&self) -> &'static str {
        self.knob
    }

    /// The value that was given, as text.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// What would have been accepted, in words.
    #[must_use]
    pub fn allowed(&self) -> &str {
        &self.allowed
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { knob, value, allowed } = self;
        write!(f, "`{knob}` is {value}; allowed: {allowed}")
    }
}

impl Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_the_knob_the_value_and_the_range() {
        let error = ConfigError::new("soft_limit", 1.5, "a share from 0.0 to 1.0");
        assert_eq!(error.to_string(), "`soft_limit` is 1.5; allowed: a share from 0.0 to 1.0");
        assert_eq!(error.knob(), "soft_limit");
    }
}
