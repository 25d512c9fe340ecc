//! The one table of what an HTTP result means, which the presets of the retry and of the breaker share.

use super::status_set::StatusSet;
use crate::Outcome;
use http::StatusCode;

/// What one preset of the retry and of the breaker makes of an HTTP result: a row of the table.
///
/// A 2xx status is a success in every preset.
///
#[doc = include_str!("presets.md")]
///
/// The general preset is [`GENERAL`](Self::GENERAL): a response that the server gives on purpose, such as 301, 304, 404 or 422,
/// is the sign of a healthy server. The presets for telemetry count every response that does not take the data as a failure.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    name: &'static str,
    /// The statuses that are failures and worth another attempt; 2xx among them are successes all the same.
    pub(super) retryable: StatusSet,
    /// What a status means that is neither 2xx nor retryable.
    other_status: Outcome,
    /// What an error means that says that the host name does not exist.
    name_not_found: Outcome,
    /// What an error means that says that the request could not be built, such as an invalid URI.
    not_built: Outcome,
    /// What any other error means: a timeout, a connection that is refused, cut or never made, a protocol error.
    other_error: Outcome,
}

// === impl Preset ===

impl Preset {
    /// For any HTTP API: 429 and 5xx count, without 501 (not implemented) and 505 (version not supported).
    pub const GENERAL: Self = Self {
        name: "general",
        retryable: StatusSet::NONE.with(429).with_all(500, 599).without(501).without(505),
        other_status: Outcome::Success,
        name_not_found: Outcome::RETRYABLE,
        not_built: Outcome::Ignored,
        other_error: Outcome::RETRYABLE,
    };

    /// For a database driver's telemetry: only what is known to pass is repeated.
    pub const DRIVER: Self = Self {
        name: "driver",
        retryable: StatusSet::NONE.with(429).with(500).with(502).with(503).with(504),
        other_status: Outcome::Terminal,
        name_not_found: Outcome::Terminal,
        not_built: Outcome::Terminal,
        other_error: Outcome::RETRYABLE,
    };

    /// For OTLP/HTTP, as [the specification](https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes) demands.
    pub const OTLP: Self = Self {
        name: "otlp",
        retryable: StatusSet::NONE.with(429).with(502).with(503).with(504),
        name_not_found: Outcome::RETRYABLE,
        ..Self::DRIVER
    };

    /// For a client that repeats everything that is not known to be final.
    pub const LENIENT: Self = Self {
        name: "lenient",
        retryable: StatusSet::ALL.without(400).without(401).without(403).without(404),
        ..Self::OTLP
    };

    /// The rows of the table, in its order.
    pub const ALL: [Self; 4] = [Self::GENERAL, Self::DRIVER, Self::OTLP, Self::LENIENT];

    /// The name of the row, which is that of the constructor of [`Classifier`](super::Classifier).
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What a response with this status means, without the hint that its headers may carry.
    #[must_use]
    pub const fn status(&self, status: StatusCode) -> Outcome {
        let code = status.as_u16();
        if code / 100 == 2 {
            Outcome::Success
        } else if self.retryable.has(code) {
            Outcome::RETRYABLE
        } else {
            self.other_status
        }
    }

    /// What an error means that says that the host name does not exist.
    #[must_use]
    pub const fn name_not_found(&self) -> Outcome {
        self.name_not_found
    }

    /// What an error means that says that the request could not be built.
    #[must_use]
    pub const fn not_built(&self) -> Outcome {
        self.not_built
    }

    /// What any other error means, unless a [`Verdict`](crate::Verdict) in its chain says so.
    #[must_use]
    pub const fn other_error(&self) -> Outcome {
        self.other_error
    }
}

impl std::fmt::Debug for Preset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Preset").field("name", &self.name).field("retryable", &self.retryable).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOT_RETRYABLE_OF_LENIENT: [u16; 4] = [400, 401, 403, 404];

    fn word(outcome: Outcome) -> &'static str {
        match outcome {
            Outcome::Success => "success",
            Outcome::Retryable { .. } => "retryable",
            Outcome::Terminal => "terminal",
            Outcome::Ignored => "ignored",
        }
    }

    /// `429, 500, 502 to 504`.
    fn codes(codes: &[u16]) -> String {
        let runs = codes.chunk_by(|a, b| a + 1 == *b).map(|run| match run {
            [one] => one.to_string(),
            [first, second] => format!("{first}, {second}"),
            _ => format!("{} to {}", run[0], run[run.len() - 1]),
        });
        runs.collect::<Vec<_>>().join(", ")
    }

    fn statuses(preset: &Preset, outcome: Outcome) -> Vec<u16> {
        (100..600).filter(|code| preset.status(StatusCode::from_u16(*code).unwrap()) == outcome).collect()
    }

    fn row(preset: &Preset) -> String {
        let retryable = statuses(preset, Outcome::RETRYABLE);
        let retryable = if retryable.len() < 200 {
            codes(&retryable)
        } else {
            assert_eq!(statuses(preset, Outcome::Terminal), NOT_RETRYABLE_OF_LENIENT);
            format!("all but 2xx and {}", codes(&NOT_RETRYABLE_OF_LENIENT))
        };
        let [status, name, built, error] =
            [preset.other_status, preset.name_not_found, preset.not_built, preset.other_error].map(word);
        format!("| `{}` | {retryable} | {status} | {name} | {built} | {error} |", preset.name)
    }

    #[test]
    fn the_printed_table_is_the_data() {
        let rows: Vec<_> = include_str!("presets.md").lines().filter(|line| line.starts_with("| `")).collect();
        assert_eq!(rows, Preset::ALL.map(|preset| row(&preset)));
    }

    #[test]
    fn d01_a_response_that_a_healthy_server_gives_is_a_success_of_the_general_preset() {
        for code in [100, 200, 204, 301, 302, 304, 400, 401, 403, 404, 405, 408, 409, 410, 418, 422, 451, 501, 505] {
            assert_eq!(Preset::GENERAL.status(StatusCode::from_u16(code).unwrap()), Outcome::Success, "{code}");
        }
        for code in [429, 500, 502, 503, 504, 507, 520, 529, 599] {
            assert_eq!(Preset::GENERAL.status(StatusCode::from_u16(code).unwrap()), Outcome::RETRYABLE, "{code}");
        }
    }
}
