use forebay::{core::ConfigError, export::EndpointGuard, otlp::Signal};
use serde_json::{Map, Value};
use std::{fmt, time::Duration};

/// What the server says: where to, what, and under which labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The metrics endpoint; `None` if there is none for this process, and then nothing is sent.
    pub endpoint: Option<String>,
    /// Regular expressions of the names that are wanted; none means all.
    pub include: Vec<String>,
    /// Labels of every series.
    pub labels: Vec<(String, String)>,
    /// How often the server wants to be asked.
    pub refresh: Option<Duration>,
}

/// Why a response is no configuration.
#[derive(Debug)]
pub struct SettingsError(String);

// === impl Settings ===

impl Settings {
    /// Reads `{"endpoint": "http://…", "include": ["regex"], "labels": {"name": "value"}, "refresh": "60s"}`.
    ///
    /// The endpoint is the server's word, so it has to pass `guard`. It is the base of the signals, as `collector.example:4318` or with
    /// a scheme; the path of the metrics is put behind it, unless it is there. A field that is there has to be right, and an
    /// unknown one is an error, for it may be a misspelt one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub fn read(json: &[u8], guard: &EndpointGuard) -> Result<Self, SettingsError> {
        let mut object: Map<String, Value> = serde_json::from_slice(json).map_err(|error| wrong(error.to_string()))?;
        let mut settings = Self::default();
        match object.remove("endpoint") {
            None | Some(Value::Null) => {}
            Some(Value::String(url)) => {
                settings.endpoint = Some(metrics_endpoint(&url, guard).map_err(|error| wrong(error.to_string()))?);
            }
            Some(other) => return Err(wrong(format!("endpoint is {other}, which is no text"))),
        }
        if let Some(include) = object.remove("include") {
            let Value::Array(patterns) = include else { return Err(wrong("include is no list")) };
            for pattern in patterns {
                let Value::String(pattern) = pattern else { return Err(wrong("include has something but text in it")) };
                settings.include.push(pattern);
            }
        }
        if let Some(labels) = object.remove("labels") {
            let Value::Object(labels) = labels else { return Err(wrong("labels is no object")) };
            for (name, value) in labels {
                let Value::String(value) = value else { return Err(wrong(format!("the label {name} is no text"))) };
                settings.labels.push((name, value));
            }
        }
        if let Some(refresh) = object.remove("refresh") {
            let text = refresh.as_str().unwrap_or_default();
            let refresh = humantime::parse_duration(text);
            settings.refresh = Some(refresh.map_err(|error| wrong(format!("refresh is {text:?}: {error}")))?);
        }
        match object.keys().next() {
            Some(unknown) => Err(wrong(format!("{unknown} is unknown"))),
            None => Ok(settings),
        }
    }
}

/// Where metrics are sent below the base `given`; without a scheme it is `https`.
fn metrics_endpoint(given: &str, guard: &EndpointGuard) -> Result<String, ConfigError> {
    let base = if given.contains("://") { guard.check(given)? } else { guard.check(&format!("https://{given}"))? };
    let path = Signal::Metrics.path();
    let is_whole = base.uri().path().trim_end_matches('/').ends_with(path);
    Ok(if is_whole { base.uri().to_string() } else { base.extended(path)?.uri().to_string() })
}

fn wrong(why: impl Into<String>) -> SettingsError {
    SettingsError(why.into())
}

// === impl SettingsError ===

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SettingsError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(json: &str) -> String {
        Settings::read(json.as_bytes(), &EndpointGuard::new()).unwrap_err().to_string()
    }

    #[test]
    fn all_of_it_or_nothing() {
        let all = br#"{"endpoint": "http://otel.example.com/v1/metrics", "include": ["^a", "b"], "labels": {"node": "7"}, "refresh": "2s"}"#;
        let settings = Settings::read(all, &EndpointGuard::new().allow_plaintext()).unwrap();
        assert_eq!((settings.include.len(), settings.refresh), (2, Some(Duration::from_secs(2))));
        assert_eq!(settings.labels, [("node".to_owned(), "7".to_owned())]);
        assert_eq!(settings.endpoint.as_deref(), Some("http://otel.example.com/v1/metrics"));

        assert_eq!(Settings::read(b"{}", &EndpointGuard::new()).unwrap(), Settings::default());
    }

    #[test]
    fn an_endpoint_is_a_base_with_or_without_a_scheme() {
        let guard = EndpointGuard::new().allow_plaintext();
        let endpoint = |given: &str| {
            let json = serde_json::json!({ "endpoint": given }).to_string();
            Settings::read(json.as_bytes(), &guard).unwrap().endpoint.unwrap()
        };
        for (given, whole) in [
            ("otel.example.com:4318", "https://otel.example.com:4318/v1/metrics"),
            ("otel.example.com", "https://otel.example.com/v1/metrics"),
            ("otel.example.com:4318/otlp/", "https://otel.example.com:4318/otlp/v1/metrics"),
            ("https://otel.example.com", "https://otel.example.com/v1/metrics"),
            ("http://otel.example.com:4318/", "http://otel.example.com:4318/v1/metrics"),
            ("https://otel.example.com/v1/metrics", "https://otel.example.com/v1/metrics"),
        ] {
            assert_eq!(endpoint(given), whole, "{given}");
        }
        assert!(complaint(r#"{"endpoint": "127.0.0.1:4318"}"#).contains("public"), "the guard looks at it too");
        assert!(complaint(r#"{"endpoint": "http://otel.example.com"}"#).contains("https"));
    }

    #[test]
    fn every_field_is_checked() {
        assert!(complaint("<html>").contains("expected"));
        assert!(complaint(r#"{"endpoint": ""}"#).contains("endpoint"));
        assert!(complaint(r#"{"endpoint": "ftp://h"}"#).contains("endpoint"));
        assert!(complaint(r#"{"endpoint": "https://169.254.169.254/latest"}"#).contains("public"));
        assert!(complaint(r#"{"endpoint": 7}"#).contains("no text"));
        assert!(complaint(r#"{"include": "a"}"#).contains("no list"));
        assert!(complaint(r#"{"labels": {"a": 1}}"#).contains("label a"));
        assert!(complaint(r#"{"refresh": "soon"}"#).contains("soon"));
        assert!(complaint(r#"{"refresh": 5}"#).starts_with("refresh"));
        assert!(complaint(r#"{"endpont": "http://h"}"#).contains("endpont is unknown"));
    }
}
