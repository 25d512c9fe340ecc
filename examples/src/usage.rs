//! What the programs say of wrong arguments.

use std::fmt;

/// The arguments are wrong; one line, for the user.
#[derive(Debug)]
pub struct UsageError(String);

// === impl UsageError ===

impl UsageError {
    /// `option` was given as `value`, and this is what it may be.
    #[must_use]
    pub fn of(option: &str, value: &str, allowed: &str) -> Self {
        // The value may hold anything an argument can.
        Self(format!("{option} is {:?}; allowed: {allowed}", value.escape_debug().to_string()))
    }

    /// In words.
    pub fn new(text: impl fmt::Display) -> Self {
        Self(text.to_string())
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(error.to_string())
    }
}
