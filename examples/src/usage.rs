//! Wrong arguments, in one line.

use forebay::core::ConfigError;
use std::fmt;

/// The arguments are wrong; one line, for the user.
#[derive(Debug)]
pub struct UsageError(String);

/// The value of `option`.
///
/// # Errors
///
/// When there is none, or it is not UTF-8.
pub(crate) fn text(parser: &mut lexopt::Parser, option: &str) -> Result<String, UsageError> {
    let value = parser.value().map_err(|_none| UsageError(format!("{option} needs a value; see --help")))?;
    value.into_string().map_err(|value| UsageError::of(option, &value.to_string_lossy(), "text in UTF-8"))
}

// === impl UsageError ===

impl UsageError {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    pub(crate) fn of(option: &str, value: &str, allowed: &str) -> Self {
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
