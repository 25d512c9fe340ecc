//! Everything that is encoded is checked against `opentelemetry-proto`.

#![expect(clippy::unwrap_used, reason = "test code")]

mod any;
mod body;
mod depth;
mod json_rules;
mod order;
mod origins;
mod round_trip;

use proptest::test_runner::Config;

/// As many cases as `PROPTEST_CASES` says, as in `.ci/test`; else few.
fn config() -> Config {
    let config = Config::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { 64 };
    Config { cases, ..config }
}
