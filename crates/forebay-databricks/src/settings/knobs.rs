use super::Settings;
use forebay_core::ConfigError;
use std::{fmt, ops::RangeInclusive, time::Duration};

/// One knob: what it is called, and how it is read.
pub struct Knob {
    /// The field of [`Settings`].
    pub name: &'static str,
    /// The Node driver's name.
    pub node: Option<&'static str>,
    /// The C# driver's name.
    pub csharp: Option<&'static str>,
    /// The variable of the environment.
    pub variable: Option<&'static str>,
    pub(super) set: fn(&mut Settings, &'static str, &str) -> Result<(), ConfigError>,
    pub(super) check: fn(&Settings, &'static str) -> Result<(), ConfigError>,
}

// === impl Knob ===

impl Knob {
    /// Its names as a property of a connection.
    pub(super) fn properties(&self) -> impl Iterator<Item = &'static str> {
        self.node.into_iter().chain(self.csharp)
    }
}

impl fmt::Debug for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Knob").field("name", &self.name).finish_non_exhaustive()
    }
}

macro_rules! names {
    () => {
        None
    };
    ($name:literal) => {
        Some($name)
    };
}

macro_rules! knobs {
    ($($field:ident: $kind:ident($($range:expr)?), node: ($($node:literal)?), csharp: ($($csharp:literal)?), env: ($($env:literal)?);)*) => {
        /// All knobs of both drivers, in the order of [`Settings`]' table.
        pub const KNOBS: &[Knob] = &[$(Knob {
            name: stringify!($field),
            node: names!($($node)?),
            csharp: names!($($csharp)?),
            variable: names!($($env)?),
            set: |settings, name, text| {
                settings.$field = $kind(name, text $(, $range)?)?;
                Ok(())
            },
            check: |settings, name| {
                let _a_switch_is_always_right = (settings.$field, name);
                $(ranged(name, &settings.$field, $range)?;)?
                Ok(())
            },
        }),*];
    };
}

knobs! {
    enabled: switch(), node: ("telemetryEnabled"), csharp: ("adbc.databricks.telemetry.enabled"), env: ("DATABRICKS_TELEMETRY_ENABLED");
    authenticated: switch(), node: ("telemetryAuthenticatedExport"), csharp: (), env: ();
    batch_size: number(1..=10_000), node: ("telemetryBatchSize"), csharp: ("adbc.databricks.telemetry.batch_size"), env: ("DATABRICKS_TELEMETRY_BATCH_SIZE");
    flush_interval: millis(Duration::from_millis(1)..=A_DAY), node: ("telemetryFlushIntervalMs"), csharp: ("adbc.databricks.telemetry.flush_interval_ms"), env: ("DATABRICKS_TELEMETRY_FLUSH_INTERVAL_MS");
    max_retries: number(0..=20), node: ("telemetryMaxRetries"), csharp: ("adbc.databricks.telemetry.max_retries"), env: ();
    backoff_base: millis(Duration::ZERO..=A_MINUTE), node: ("telemetryBackoffBaseMs"), csharp: ("adbc.databricks.telemetry.retry_delay_ms"), env: ();
    backoff_max: millis(Duration::ZERO..=TEN_MINUTES), node: ("telemetryBackoffMaxMs"), csharp: (), env: ();
    backoff_jitter: millis(Duration::ZERO..=A_MINUTE), node: ("telemetryBackoffJitterMs"), csharp: (), env: ();
    breaker_enabled: switch(), node: (), csharp: ("adbc.databricks.telemetry.circuit_breaker_enabled"), env: ();
    breaker_threshold: number(1..=1_000), node: ("telemetryCircuitBreakerThreshold"), csharp: ("adbc.databricks.telemetry.circuit_breaker_threshold"), env: ();
    breaker_timeout: millis(Duration::from_millis(500)..=A_DAY), node: ("telemetryCircuitBreakerTimeout"), csharp: ("adbc.databricks.telemetry.circuit_breaker_timeout_ms"), env: ();
    max_pending: number(1..=100_000), node: ("telemetryMaxPendingMetrics"), csharp: (), env: ();
    max_errors: number(0..=10_000), node: ("telemetryMaxErrorsPerStatement"), csharp: (), env: ();
    statement_ttl: millis(Duration::from_millis(1)..=A_DAY), node: ("telemetryStatementTtlMs"), csharp: (), env: ();
    max_statements: number(1..=1_000_000), node: ("telemetryMaxStatementMetrics"), csharp: (), env: ();
    close_timeout: millis(Duration::from_millis(1)..=TEN_MINUTES), node: ("telemetryCloseTimeoutMs"), csharp: (), env: ();
    attempt_timeout: millis(Duration::from_millis(1)..=TEN_MINUTES), node: (), csharp: (), env: ();
    max_age: millis(Duration::ZERO..=A_DAY), node: (), csharp: (), env: ();
}

const A_MINUTE: Duration = Duration::from_secs(60);
const TEN_MINUTES: Duration = Duration::from_secs(10 * 60);
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn switch(name: &'static str, text: &str) -> Result<bool, ConfigError> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Ok(true)
    } else if text.eq_ignore_ascii_case("false") {
        Ok(false)
    } else {
        Err(ConfigError::new(name, shown(text), "true or false"))
    }
}

fn number<N>(name: &'static str, text: &str, range: RangeInclusive<N>) -> Result<N, ConfigError>
where
    N: std::str::FromStr + PartialOrd + fmt::Display + Copy,
{
    let number = text.trim().parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| ConfigError::new(name, shown(text), format!("{} to {}", range.start(), range.end())))
}

fn millis(name: &'static str, text: &str, range: RangeInclusive<Duration>) -> Result<Duration, ConfigError> {
    let (least, most) = (range.start().as_millis(), range.end().as_millis());
    let time = text.trim().parse().ok().map(Duration::from_millis).filter(|time| range.contains(time));
    time.ok_or_else(|| ConfigError::new(name, shown(text), format!("{least} to {most} ms")))
}

fn ranged<V: PartialOrd + fmt::Debug>(
    name: &'static str,
    value: &V,
    range: RangeInclusive<V>,
) -> Result<(), ConfigError> {
    if range.contains(value) {
        return Ok(());
    }
    Err(ConfigError::new(name, format_args!("{value:?}"), format!("{:?} to {:?}", range.start(), range.end())))
}

/// A value of a user, in quotes, and not more of it than fits a line.
fn shown(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(properties: &[(&str, &str)], variables: &[(&str, &str)]) -> (Settings, Vec<String>) {
        let find =
            |list: &[(&str, &str)], name: &str| list.iter().find(|one| one.0 == name).map(|one| one.1.to_owned());
        let (settings, bad) = Settings::csharp().read(|name| find(properties, name), |name| find(variables, name));
        (settings, bad.iter().map(ToString::to_string).collect())
    }

    /// The names of a knob in the table of [`Settings`], in the order of its columns.
    fn names_in_the_table(knob: &str) -> Vec<String> {
        let row = include_str!("../settings.rs").lines().find(|line| line.starts_with(&format!("/// | `{knob}` |")));
        let columns: Vec<_> = row.unwrap().split(" | ").map(|name| name.trim_matches(['`', ' '])).collect();
        let csharp =
            Some(columns[3]).filter(|name| *name != "–").map(|name| format!("adbc.databricks.telemetry.{name}"));
        let as_it_is = |name: &str| Some(name.to_owned()).filter(|name| name != "–");
        [as_it_is(columns[2]), csharp, as_it_is(columns[4])].into_iter().flatten().collect()
    }

    #[test]
    fn every_knob_is_read_under_every_name_and_reaches_its_field() {
        for knob in KNOBS {
            for name in names_in_the_table(knob.name) {
                let kind =
                    if matches!(knob.name, "enabled" | "authenticated" | "breaker_enabled") { "TRUE" } else { "777" };
                let kind = if knob.name == "max_retries" { "7" } else { kind };
                let property = |wanted: &str| (wanted == name).then(|| kind.to_owned());
                let mut before = Settings::node();
                (before.enabled, before.authenticated, before.breaker_enabled) = (false, false, false);
                let (after, bad) = before.clone().read(property, property);
                assert!(bad.is_empty(), "{bad:?}");
                // One line for each field.
                let (before, after) = (format!("{before:#?}"), format!("{after:#?}"));
                let changed: Vec<_> =
                    after.lines().zip(before.lines()).filter(|(after, before)| after != before).collect();
                assert_eq!(changed.len(), 1, "{name}: {changed:?}");
                assert!(changed[0].0.starts_with(&format!("    {}: ", knob.name)), "{name}: {changed:?}");
            }
            let names = knob.properties().chain(knob.variable).count();
            assert_eq!(
                names,
                names_in_the_table(knob.name).len(),
                "{} has names that the table does not show",
                knob.name
            );
        }
    }

    #[test]
    fn a_wrong_value_falls_back_with_one_warning_that_names_it() {
        let cases = [
            ("telemetryBatchSize", "0"),
            ("telemetryBatchSize", "-5"),
            ("telemetryBatchSize", "NaN"),
            ("telemetryMaxRetries", "1e3"),
            ("telemetryMaxRetries", ""),
            ("telemetryFlushIntervalMs", "0"),
            ("telemetryFlushIntervalMs", "5s"),
            ("telemetryEnabled", "yes"),
            ("adbc.databricks.telemetry.circuit_breaker_timeout_ms", "499"),
            ("adbc.databricks.telemetry.circuit_breaker_enabled", "2"),
            ("telemetryCloseTimeoutMs", "18446744073709551616"),
        ];
        for (name, value) in cases {
            let (settings, bad) = read(&[(name, value)], &[]);
            assert_eq!(settings, Settings::csharp(), "{name}={value}");
            assert_eq!(bad.len(), 1);
            assert!(bad[0].contains(name) && bad[0].contains(value), "{}", bad[0]);
        }
    }

    #[test]
    fn a_property_counts_before_the_environment_and_a_wrong_one_falls_back_to_it() {
        let variable = [("DATABRICKS_TELEMETRY_BATCH_SIZE", "7"), ("DATABRICKS_TELEMETRY_ENABLED", "True")];
        let (settings, bad) = read(&[("adbc.databricks.telemetry.batch_size", "9")], &variable);
        assert_eq!((settings.batch_size, settings.enabled, bad.len()), (9, true, 0));
        let (settings, bad) = read(&[("adbc.databricks.telemetry.batch_size", "nine")], &variable);
        assert_eq!((settings.batch_size, bad.len()), (7, 1));
    }

    #[test]
    fn the_defaults_are_those_of_the_drivers_and_valid() {
        let (node, csharp) = (Settings::node(), Settings::csharp());
        assert!(node.validate().is_ok() && csharp.validate().is_ok());
        assert!(node.enabled && !csharp.enabled);
        for both in [&node, &csharp] {
            assert_eq!((both.batch_size, both.max_retries, both.breaker_threshold), (100, 3, 5));
            assert_eq!((both.flush_interval.as_secs(), both.breaker_timeout.as_secs()), (5, 60));
        }
        let wrong = Settings { batch_size: 0, ..Settings::node() };
        assert_eq!(wrong.validate().unwrap_err().knob(), "batch_size");
        let wrong = Settings { close_timeout: Duration::ZERO, ..Settings::node() };
        assert_eq!(wrong.validate().unwrap_err().knob(), "close_timeout");
    }
}
