//! The knobs of both drivers.

mod knobs;

pub use self::knobs::{KNOBS, Knob};

use forebay_core::ConfigError;
use std::time::Duration;

/// How a driver's telemetry behaves.
///
/// [`node`](Self::node) and [`csharp`](Self::csharp) are the two drivers' own; [`read`](Self::read) takes what a user has
/// set. All knobs, under the names of both drivers:
///
/// | knob | Node | C# (`adbc.databricks.telemetry.*`) | environment | `node()` | `csharp()` | allowed |
/// | --- | --- | --- | --- | --- | --- | --- |
/// | `enabled` | `telemetryEnabled` | `enabled` | `DATABRICKS_TELEMETRY_ENABLED` | true | false | true, false |
/// | `authenticated` | `telemetryAuthenticatedExport` | – | – | true | true | true, false |
/// | `batch_size` | `telemetryBatchSize` | `batch_size` | `DATABRICKS_TELEMETRY_BATCH_SIZE` | 100 | 100 | 1 to 10,000 |
/// | `flush_interval` | `telemetryFlushIntervalMs` | `flush_interval_ms` | `DATABRICKS_TELEMETRY_FLUSH_INTERVAL_MS` | 5 s | 5 s | 1 ms to 1 day |
/// | `max_retries` | `telemetryMaxRetries` | `max_retries` | – | 3 | 3 | 0 to 20 |
/// | `backoff_base` | `telemetryBackoffBaseMs` | `retry_delay_ms` | – | 100 ms | 100 ms | 0 ms to 1 min |
/// | `backoff_max` | `telemetryBackoffMaxMs` | – | – | 1 s | 100 ms | 0 ms to 10 min |
/// | `backoff_jitter` | `telemetryBackoffJitterMs` | – | – | 100 ms | 0 ms | 0 ms to 1 min |
/// | `breaker_enabled` | – | `circuit_breaker_enabled` | – | true | true | true, false |
/// | `breaker_threshold` | `telemetryCircuitBreakerThreshold` | `circuit_breaker_threshold` | – | 5 | 5 | 1 to 1,000 |
/// | `breaker_timeout` | `telemetryCircuitBreakerTimeout` | `circuit_breaker_timeout_ms` | – | 60 s | 60 s | 500 ms to 1 day |
/// | `max_pending` | `telemetryMaxPendingMetrics` | – | – | 500 | 500 | 1 to 100,000 |
/// | `max_errors` | `telemetryMaxErrorsPerStatement` | – | – | 50 | 50 | 0 to 10,000 |
/// | `statement_ttl` | `telemetryStatementTtlMs` | – | – | 1 h | 1 h | 1 ms to 1 day |
/// | `max_statements` | `telemetryMaxStatementMetrics` | – | – | 5,000 | 5,000 | 1 to 1,000,000 |
/// | `close_timeout` | `telemetryCloseTimeoutMs` | – | – | 2 s | 5 s | 1 ms to 10 min |
/// | `attempt_timeout` | – | – | – | 10 s | 10 s | 1 ms to 10 min |
/// | `max_age` | – | – | – | 0 s | 0 s | 0 ms to 1 day |
///
/// The two differ besides in what they take for retryable (Node: only what is listed; C#: all but 400, 401, 403, 404), in
/// the breaker (Node: 5 in a row, closed after 2; C#: all of at least 5 within 30 s, closed after 1), and in what becomes
/// of retryable errors of a statement that succeeded (Node: reported; C#: not).
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Whose ways it follows.
    pub driver: Driver,
    /// Whether there is telemetry, if the service allows it.
    pub enabled: bool,
    /// Whether logs are sent with the connection's credentials; without, they have no names in them.
    pub authenticated: bool,
    /// How many logs a batch has.
    pub batch_size: usize,
    /// After which time a batch is sent that is not full, from its first log.
    pub flush_interval: Duration,
    /// How often a request is tried again: 3 are four attempts.
    pub max_retries: u32,
    /// The first delay before a retry.
    pub backoff_base: Duration,
    /// The longest delay before a retry, jitter included.
    pub backoff_max: Duration,
    /// Up to so much is added to a delay.
    pub backoff_jitter: Duration,
    /// Whether there is a circuit breaker.
    pub breaker_enabled: bool,
    /// How many exports have to fail until the circuit opens.
    pub breaker_threshold: u32,
    /// For how long the circuit is open.
    pub breaker_timeout: Duration,
    /// How many logs may wait or be under way, for one host. One more drops the oldest that reports no error.
    pub max_pending: usize,
    /// How many errors may wait with one statement.
    pub max_errors: usize,
    /// For how long a statement may be open.
    pub statement_ttl: Duration,
    /// How many statements may be open, for one host.
    pub max_statements: usize,
    /// How long the last flush of a host may take.
    pub close_timeout: Duration,
    /// How long one request may take.
    pub attempt_timeout: Duration,
    /// How old a log may grow while the service is away, before it is dropped. With zero, as in both drivers, a batch is
    /// dropped when its retries are used up or the circuit is open.
    pub max_age: Duration,
}

/// Whose ways are followed where the two drivers differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Driver {
    /// Those of `databricks-sql-nodejs`.
    Node,
    /// Those of the C# ADBC driver.
    CSharp,
}

// === impl Settings ===

impl Settings {
    /// The settings of `databricks-sql-nodejs`.
    #[must_use]
    pub const fn node() -> Self {
        Self {
            driver: Driver::Node,
            enabled: true,
            authenticated: true,
            batch_size: 100,
            flush_interval: Duration::from_secs(5),
            max_retries: 3,
            backoff_base: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
            backoff_jitter: Duration::from_millis(100),
            breaker_enabled: true,
            breaker_threshold: 5,
            breaker_timeout: Duration::from_secs(60),
            max_pending: 500,
            max_errors: 50,
            statement_ttl: Duration::from_secs(60 * 60),
            max_statements: 5_000,
            close_timeout: Duration::from_secs(2),
            attempt_timeout: Duration::from_secs(10),
            max_age: Duration::ZERO,
        }
    }

    /// The settings of the C# ADBC driver.
    #[must_use]
    pub const fn csharp() -> Self {
        let mut settings = Self::node();
        settings.driver = Driver::CSharp;
        settings.enabled = false;
        settings.backoff_max = Duration::from_millis(100);
        settings.backoff_jitter = Duration::ZERO;
        settings.close_timeout = Duration::from_secs(5);
        settings
    }

    /// Takes what users have set: `property` reads a property of the connection, `environment` a variable.
    ///
    /// A property counts before the environment, and both before what was there. A value that cannot be falls back to the
    /// next of them, and comes back as one error that names it; nothing else is touched by it.
    #[must_use]
    pub fn read<P, E>(mut self, property: P, environment: E) -> (Self, Vec<ConfigError>)
    where
        P: Fn(&str) -> Option<String>,
        E: Fn(&str) -> Option<String>,
    {
        let mut bad = Vec::new();
        for knob in KNOBS {
            let properties = knob.properties().filter_map(|name| Some((name, property(name)?)));
            let variable = knob.variable.and_then(|name| Some((name, environment(name)?)));
            for (name, value) in properties.chain(variable) {
                match (knob.set)(&mut self, name, &value) {
                    Ok(()) => break,
                    Err(error) => bad.push(error),
                }
            }
        }
        (self, bad)
    }

    /// What of it cannot be, knob by knob.
    ///
    /// # Errors
    /// The first value that is out of its range, where the fields were set by hand.
    pub fn validate(&self) -> Result<(), ConfigError> {
        KNOBS.iter().try_for_each(|knob| (knob.check)(self, knob.name))
    }
}

impl Default for Settings {
    /// [`node`](Self::node).
    fn default() -> Self {
        Self::node()
    }
}
