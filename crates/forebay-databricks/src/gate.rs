//! Whether the service wants telemetry at all.

use crate::{
    Credentials, EndpointKey, Notice,
    credentials::{CredentialStore, NoCredentials},
    telemetry::Observer,
};
use bytes::Bytes;
use forebay_cached::{Cached, Fetched};
use forebay_core::{BoxError, ConfigError};
use forebay_registry::{Lease, Registry};
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::Full;
use serde::Deserialize;
use std::{fmt, sync::Arc, time::Duration};

/// The switch in the environment: `1`, `true`, `yes` or `on` ends all telemetry of the process.
pub const KILL_SWITCH: &str = "DATABRICKS_TELEMETRY_DISABLED";

/// Which flag of the service says whether telemetry is wanted.
///
/// It is asked for each host and identity, once for all their connections, and under the credentials of a connection that is open.
/// What it says, yes or no, is kept for 15 minutes or for as long as the service says, from 60 to 3,600 seconds, whether or not a
/// connection is open; while the service has trouble its last response holds. Without any response there is no telemetry, and the
/// service is asked again after 60 seconds.
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

pub(crate) type Gates = Registry<EndpointKey, Gate>;

/// The flag of one host and identity.
pub(crate) struct Gate {
    wanted: Cached<bool>,
    /// The credentials of the connections that use it; only they can cause a fetch.
    askers: Arc<CredentialStore>,
}

/// The use of a gate by one connection.
pub(crate) struct GateUse {
    gate: Lease<Gate>,
    asker: Option<u64>,
}

/// Sends one request, and reads its response up to a cap.
pub(crate) type Ask =
    dyn Fn(Request<Full<Bytes>>) -> BoxFuture<'static, Result<(StatusCode, Bytes), BoxError>> + Send + Sync;

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

/// The service responded, and not with a flag.
#[derive(Debug)]
struct NoFlag(StatusCode);

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

    /// What a response says: whether telemetry is wanted, and for how long that holds.
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

/// The longest time for which a service may say that its flag is good.
const LONGEST: Duration = Duration::from_secs(3_600);

/// A gate for each host and identity, shared by their connections, and kept for as long as its flag can be good after the last of
/// them has ended: a host that wants no telemetry is not asked at every connect. It holds no credentials then.
pub(crate) fn gates(flag: FeatureFlag, ask: Arc<Ask>, observer: Arc<Observer>) -> Result<Gates, ConfigError> {
    let flag = Arc::new(flag);
    Registry::builder(move |key: EndpointKey| {
        std::future::ready(gate(key, Arc::clone(&flag), Arc::clone(&ask), Arc::clone(&observer)))
    })
    .linger(LONGEST)
    .build()
}

fn gate(key: EndpointKey, flag: Arc<FeatureFlag>, ask: Arc<Ask>, observer: Arc<Observer>) -> Result<Gate, ConfigError> {
    let key = Arc::new(key);
    let askers = Arc::<CredentialStore>::default();
    let under = Arc::clone(&askers);
    let fetch = move || {
        let (flag, ask, observer) = (Arc::clone(&flag), Arc::clone(&ask), Arc::clone(&observer));
        let (key, under) = (Arc::clone(&key), Arc::clone(&under));
        async move {
            let fetched = fetch(key.origin(), &under, &flag, &*ask).await;
            if let Err(error) = &fetched {
                observer.observe(&Notice::GateFailed { host: key.origin(), why: &error.to_string() });
            }
            fetched
        }
    };
    // The defaults are the drivers': 15 minutes, clamped to 60 to 3,600 seconds, 60 seconds after a failure, 10 for a fetch.
    let wanted = Cached::builder(fetch)
        .ttl_range(Duration::from_secs(60), LONGEST)
        .stale_for(Duration::from_secs(15 * 60))
        .jitter(0.0)
        .build()?;
    Ok(Gate { wanted, askers })
}

async fn fetch(
    origin: &str,
    under: &CredentialStore,
    flag: &FeatureFlag,
    ask: &Ask,
) -> Result<Fetched<bool>, BoxError> {
    let mut request = Request::get(format!("{origin}{}", flag.path())).body(Full::new(Bytes::new()))?;
    if !under.is_empty() {
        *request.headers_mut() = under.headers().await.ok_or_else(NoCredentials::new)?;
    }
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    match ask(request).await? {
        (status, body) if status.is_success() => Ok(flag.read(&body)?),
        (status, _) => Err(NoFlag(status).into()),
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

// === impl GateUse ===

impl GateUse {
    /// A connection uses `gate`, which may ask under its credentials until it ends.
    pub(crate) fn new(gate: Lease<Gate>, credentials: Option<&Arc<dyn Credentials>>) -> Self {
        let asker = credentials.map(|credentials| gate.askers.enter(Arc::clone(credentials)));
        Self { gate, asker }
    }

    /// Whether the service wants telemetry. Without a response, now and before, it has not said so.
    pub(crate) async fn is_open(&self) -> bool {
        self.gate.wanted.get().await.unwrap_or(false)
    }
}

impl Drop for GateUse {
    fn drop(&mut self) {
        if let Some(asker) = self.asker {
            self.gate.askers.remove(asker);
        }
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

// === impl NoFlag ===

impl fmt::Display for NoFlag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service responded with {}", self.0)
    }
}

impl std::error::Error for NoFlag {}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many connections use each entry.
    fn uses(gates: &Gates) -> Vec<usize> {
        gates.snapshot().entries.iter().map(|entry| entry.leases).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_gate_is_counted_kept_for_its_time_and_then_removed() {
        let ask: Arc<Ask> = Arc::new(|_| {
            Box::pin(async { Ok((StatusCode::OK, Bytes::from_static(br#"{"flags":[],"ttl_seconds":3600}"#))) })
        });
        let gates = gates(FeatureFlag::node("1"), ask, Arc::new(())).unwrap();
        let key = crate::host::host_key("a.example", crate::Identity::named("t"), false).unwrap();
        let token: Arc<dyn Credentials> = Arc::new(crate::BearerToken::new("t").unwrap());
        let one = GateUse::new(gates.acquire(&key).await.unwrap(), Some(&token));
        let other = GateUse::new(gates.acquire(&key).await.unwrap(), Some(&token));
        assert!(!one.is_open().await && !other.is_open().await);
        assert_eq!((uses(&gates), Arc::strong_count(&token)), (vec![2], 3));
        drop(one);
        assert_eq!((uses(&gates), Arc::strong_count(&token)), (vec![1], 2));
        drop(other);
        assert_eq!(
            (uses(&gates), Arc::strong_count(&token)),
            (vec![0], 1),
            "kept without a user, and without credentials"
        );
        tokio::time::sleep(LONGEST * 9 / 10).await;
        assert_eq!(uses(&gates), [0]);
        tokio::time::sleep(LONGEST * 4 / 10).await;
        assert!(uses(&gates).is_empty(), "removed");
    }

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
