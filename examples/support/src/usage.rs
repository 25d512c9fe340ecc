//! Arguments: the options that several programs have, and what is said of wrong ones in one line.

use forebay_core::ConfigError;
use std::fmt;

/// How the result is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table, and a progress bar on a terminal.
    Text,
    /// One line of JSON, the last one.
    Json,
}

/// The arguments are wrong; one line, for the user.
#[derive(Debug)]
pub struct UsageError(String);

/// The value of `option`.
///
/// # Errors
///
/// When there is none, or it is not UTF-8.
pub fn text(parser: &mut lexopt::Parser, option: &str) -> Result<String, UsageError> {
    let value = parser.value().map_err(|_none| UsageError(format!("{option} needs a value; see --help")))?;
    value.into_string().map_err(|value| UsageError::of(option, &value.to_string_lossy(), "text in UTF-8"))
}

// === impl UsageError ===

impl UsageError {
    /// Says `text`.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Says which values `option` takes, and that `value` is not one of them.
    #[must_use]
    pub fn of(option: &str, value: &str, allowed: &str) -> Self {
        // One line, and no control characters, whatever was given.
        Self(format!("{option} is {value:?}; allowed: {allowed}"))
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

impl From<ConfigError> for UsageError {
    fn from(error: ConfigError) -> Self {
        Self(error.to_string())
    }
}

impl From<lexopt::Error> for UsageError {
    fn from(error: lexopt::Error) -> Self {
        Self(format!("{error}; see --help"))
    }
}
