//! Whether the service wants telemetry at all.

use crate::{Credentials, EndpointKey, Notice, telemetry::Observer};
use bytes::Bytes;
use forebay_cached::{Cached, Fetched};
use forebay_core::{BoxError, ConfigError};
use forebay_registry::Registry;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;
use std::{fmt, sync::Arc, time::Duration};

/// The switch in the environment: `1`, `true`, `yes` or `on` ends all telemetry of the process.
pub const KILL_SWITCH: &str = "DATABRICKS_TELEMETRY_DISABLED";

/// Which flag of the service says whether telemetry is wanted.
///
/// It is asked for each host, once for all its connections: kept for 15 minutes or for as long as the service says, from
/// 60 to 3,600 seconds; while the service has trouble its last answer holds. Without any answer there is no telemetry, and
/// it is asked again after 60 seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FeatureFlag {
    /// What the service calls the driver: `NODEJS`.
    pub client: String,
    /// The driver's version.
    pub version: String,
    /// How the flag's name ends: `enableTelemetryForNodeJs`.
    pub name: String,
}

pub(crate) type Gates = Registry<EndpointKey, Cached<bool>, AskedBy>;

/// Sends one request, and reads its answer up to a cap.
pub(crate) type Ask =
    dyn Fn(Request<Full<Bytes>>) -> BoxFuture<'static, Result<(StatusCode, Bytes), BoxError>> + Send + Sync;

/// As whom a flag is asked for: the first connection of its host and identity.
#[derive(Clone)]
pub(crate) struct AskedBy(pub(crate) Option<Arc<dyn Credentials>>);

#[derive(Deserialize)]
struct Flags {
    #[serde(default)]
    flags: Vec<Flag>,
    ttl_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct Flag {
    name: String,
    #[serde(default)]
    value: serde_json::Value,
}

/// The service answered, and it is no answer.
#[derive(Debug)]
struct NoAnswer(StatusCode);

// === impl FeatureFlag ===

impl FeatureFlag {
    /// The flag whose name ends with `name`, for this driver.
    #[must_use]
    pub fn new(client: impl Into<String>, version: impl Into<String>, name: impl Into<String>) -> Self {
        Self { client: client.into(), version: version.into(), name: name.into() }
    }

    /// The flag of `databricks-sql-nodejs`.
    #[must_use]
    pub fn node(version: impl Into<String>) -> Self {
        Self::new("NODEJS", version, "enableTelemetryForNodeJs")
    }

    pub(crate) fn path(&self) -> String {
        format!("/api/2.0/connector-service/feature-flags/{}/{}", self.client, self.version)
    }

    /// What an answer says: whether telemetry is wanted, and for how long that holds.
    fn read(&self, body: &[u8]) -> Result<Fetched<bool>, serde_json::Error> {
        let Flags { flags, ttl_seconds } = serde_json::from_slice(body)?;
        let wanted = flags.iter().filter(|flag| flag.name.ends_with(&self.name)).any(Flag::is_true);
        let fetched = Fetched::new(wanted);
        Ok(match ttl_seconds {
            Some(seconds) => fetched.ttl(Duration::from_secs(seconds)),
            None => fetched,
        })
    }
}

/// A gate for each host, shared by its connections and gone with the last of them.
pub(crate) fn gates(flag: FeatureFlag, ask: Arc<Ask>, observer: Arc<Observer>) -> Result<Gates, ConfigError> {
    let flag = Arc::new(flag);
    Registry::builder_with(move |key: EndpointKey, by: AskedBy| {
        std::future::ready(gate(key, by, Arc::clone(&flag), Arc::clone(&ask), Arc::clone(&observer)))
    })
    .build()
}

fn gate(
    key: EndpointKey,
    by: AskedBy,
    flag: Arc<FeatureFlag>,
    ask: Arc<Ask>,
    observer: Arc<Observer>,
) -> Result<Cached<bool>, ConfigError> {
    let key = Arc::new(key);
    let fetch = move || {
        let (flag, ask, observer) = (Arc::clone(&flag), Arc::clone(&ask), Arc::clone(&observer));
        let (key, by) = (Arc::clone(&key), by.clone());
        async move {
            let fetched = fetch(key.origin(), &by, &flag, &*ask).await;
            if let Err(error) = &fetched {
                observer.observe(&Notice::GateFailed { host: key.origin(), why: &error.to_string() });
            }
            fetched
        }
    };
    // The defaults are the drivers': 15 minutes, clamped to 60 to 3,600 seconds, 60 seconds after a failure, 10 for a fetch.
    Cached::builder(fetch)
        .ttl_range(Duration::from_secs(60), Duration::from_secs(3_600))
        .stale_for(Duration::from_secs(15 * 60))
        .jitter(0.0)
        .build()
}

async fn fetch(origin: &str, by: &AskedBy, flag: &FeatureFlag, ask: &Ask) -> Result<Fetched<bool>, BoxError> {
    let mut request = Request::get(format!("{origin}{}", flag.path())).body(Full::new(Bytes::new()))?;
    if let Some(credentials) = &by.0 {
        *request.headers_mut() = credentials.authorize().await?;
    }
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    match ask(request).await? {
        (status, body) if status.is_success() => Ok(flag.read(&body)?),
        (status, _) => Err(NoAnswer(status).into()),
    }
}

/// Whether the kill switch is on; `Err` with the value if it is none.
pub(crate) fn is_killed(value: Option<&str>) -> Result<bool, String> {
    let Some(value) = value.map(str::trim).filter(|value| !value.is_empty()) else { return Ok(false) };
    if ["1", "true", "yes", "on"].iter().any(|on| value.eq_ignore_ascii_case(on)) {
        return Ok(true);
    }
    Err(format!("{:?}", value.chars().take(40).collect::<String>()))
}

// === impl AskedBy ===

/// Whoever asks, the flag is the same: no two connections differ in it.
impl PartialEq for AskedBy {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

// === impl Flag ===

impl Flag {
    fn is_true(&self) -> bool {
        match &self.value {
            serde_json::Value::Bool(value) => *value,
            serde_json::Value::String(text) => text.trim().eq_ignore_ascii_case("true"),
            _ => false,
        }
    }
}

// === impl NoAnswer ===

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service answered {}", self.0)
    }
}

impl std::error::Error for NoAnswer {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kill_switch_knows_four_words() {
        for on in ["1", "true", "YES", " on "] {
            assert_eq!(is_killed(Some(on)), Ok(true), "{on}");
        }
        for off in [None, Some(""), Some("  ")] {
            assert_eq!(is_killed(off), Ok(false));
        }
        assert_eq!(is_killed(Some("0")), Err("\"0\"".to_owned()));
    }

    #[test]
    fn a_flag_is_read_by_the_end_of_its_name() {
        let flag = FeatureFlag::node("1.0.0");
        let read = |body: &str| flag.read(body.as_bytes()).map(|fetched| format!("{fetched:?}")).ok();
        let wanted = |value: &str| {
            let flags =
                format!(r#"{{"flags":[{{"name":"a.b.enableTelemetryForNodeJs","value":{value}}}],"ttl_seconds":1}}"#);
            read(&flags).is_some_and(|text| text.contains("value: true"))
        };
        assert!(wanted(r#""true""#) && wanted(r#""TRUE""#) && wanted("true"));
        assert!(!wanted(r#""false""#) && !wanted("1") && !wanted("null"));
        assert!(read(r#"{"flags":[]}"#).unwrap().contains("value: false"), "a flag that is missing is off");
        assert_eq!(read("<html>"), None);
        assert_eq!(flag.path(), "/api/2.0/connector-service/feature-flags/NODEJS/1.0.0");
    }
}
