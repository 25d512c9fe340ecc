use crate::{Protocol, Signal};
use forebay_core::ConfigError;
use forebay_export::Compression;
use http::{HeaderName, HeaderValue, header};
use std::{path::PathBuf, time::Duration};

/// What the `OTEL_EXPORTER_OTLP_*` variables say for one signal, with the meanings of the [specification].
///
/// A variable for the signal (`OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`) goes before the one for all; an empty one counts as not
/// set. What no variable says is `None`, and the exporter's default stands.
///
/// | variable | meaning |
/// | --- | --- |
/// | `_ENDPOINT` | `http`: for all signals the base, to which `/v1/logs` or the like is added, for one the URL as it is; `grpc`: the URL of the server, or its host and port |
/// | `_INSECURE` | `true`, `false` (as if not set): whether a `grpc` endpoint without a scheme is reached without TLS |
/// | `_PROTOCOL` | `http/protobuf`, `http/json`, `grpc` |
/// | `_HEADERS` | `name=value,name=value`, values percent-encoded |
/// | `_COMPRESSION` | `gzip`, `none`; `zstd` beyond the specification; each with its feature |
/// | `_TIMEOUT` | milliseconds for one attempt; 0 is no limit |
/// | `_CERTIFICATE`, `_CLIENT_KEY`, `_CLIENT_CERTIFICATE` | files in PEM, for the TLS of the client |
///
/// ```
/// use forebay_otlp::{Environment, Signal};
///
/// let vars = |name: &str| match name {
///     "OTEL_EXPORTER_OTLP_ENDPOINT" => Some("http://collector:4318".to_owned()),
///     "OTEL_EXPORTER_OTLP_TIMEOUT" => Some("2500".to_owned()),
///     _ => None,
/// };
/// let environment = Environment::of(Signal::Logs, vars).unwrap();
/// assert_eq!(environment.endpoint.as_deref(), Some("http://collector:4318/v1/logs"));
/// ```
///
/// [specification]: https://opentelemetry.io/docs/specs/otel/protocol/exporter/
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Environment {
    /// The URL to send to; not checked here.
    pub endpoint: Option<String>,
    /// The encoding.
    pub protocol: Option<Protocol>,
    /// Headers of every request, of which the values are secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How bodies are compressed.
    pub compression: Option<Compression>,
    /// How long one attempt may take; [`Duration::MAX`] is no limit.
    pub timeout: Option<Duration>,
    /// The certificates that the server's is checked against.
    pub certificate: Option<PathBuf>,
    /// The client's private key.
    pub client_key: Option<PathBuf>,
    /// The client's certificate chain.
    pub client_certificate: Option<PathBuf>,
}

/// A variable of all signals, and those of each.
struct Variable {
    all: &'static str,
    logs: &'static str,
    traces: &'static str,
    metrics: &'static str,
}

macro_rules! variable {
    ($name:literal) => {
        Variable {
            all: concat!("OTEL_EXPORTER_OTLP_", $name),
            logs: concat!("OTEL_EXPORTER_OTLP_LOGS_", $name),
            traces: concat!("OTEL_EXPORTER_OTLP_TRACES_", $name),
            metrics: concat!("OTEL_EXPORTER_OTLP_METRICS_", $name),
        }
    };
}

const ENDPOINT: Variable = variable!("ENDPOINT");
const PROTOCOL: Variable = variable!("PROTOCOL");
const HEADERS: Variable = variable!("HEADERS");
const COMPRESSION: Variable = variable!("COMPRESSION");
const TIMEOUT: Variable = variable!("TIMEOUT");
const INSECURE: Variable = variable!("INSECURE");
const CERTIFICATE: Variable = variable!("CERTIFICATE");
const CLIENT_KEY: Variable = variable!("CLIENT_KEY");
const CLIENT_CERTIFICATE: Variable = variable!("CLIENT_CERTIFICATE");

// === impl Environment ===

impl Environment {
    /// What the process's own environment says for `signal`.
    ///
    /// # Errors
    ///
    /// The first variable with a value that cannot be used, by name. The value of a header is not shown.
    pub fn read(signal: Signal) -> Result<Self, ConfigError> {
        // What is not UTF-8 is not passed over: it is refused by whoever cannot use it.
        Self::of(signal, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// As [`read`](Self::read), of variables from elsewhere.
    ///
    /// # Errors
    ///
    /// The first variable with a value that cannot be used, by name.
    pub fn of(signal: Signal, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let find = |variable: &Variable| {
            let set =
                |name: &'static str| lookup(name).filter(|value| !value.trim().is_empty()).map(|value| (name, value));
            set(variable.of(signal)).or_else(|| set(variable.all))
        };
        let file = |variable| find(variable).map(|(_, value)| PathBuf::from(value));
        let protocol = find(&PROTOCOL).map(|(name, value)| protocol(name, value.trim())).transpose()?;
        let insecure = find(&INSECURE).map(|(name, value)| truth(name, value.trim())).transpose()?;
        let (asked, insecure) = (protocol.unwrap_or_default(), insecure.unwrap_or(false));
        Ok(Self {
            endpoint: find(&ENDPOINT).map(|(name, value)| endpoint(name, value.trim(), signal, asked, insecure)),
            protocol,
            headers: find(&HEADERS).map(|(name, value)| headers(name, &value)).transpose()?.unwrap_or_default(),
            compression: find(&COMPRESSION).map(|(name, value)| compression(name, value.trim())).transpose()?,
            timeout: find(&TIMEOUT).map(|(name, value)| timeout(name, value.trim())).transpose()?,
            certificate: file(&CERTIFICATE),
            client_key: file(&CLIENT_KEY),
            client_certificate: file(&CLIENT_CERTIFICATE),
        })
    }
}

fn endpoint(name: &str, value: &str, signal: Signal, protocol: Protocol, insecure: bool) -> String {
    match protocol {
        // What clients for gRPC take: with a scheme that says whether TLS is meant, or without.
        Protocol::Grpc if value.contains("://") => value.to_owned(),
        Protocol::Grpc => format!("{}://{value}", if insecure { "http" } else { "https" }),
        _ if name == ENDPOINT.all => format!("{}{}", value.trim_end_matches('/'), signal.path()),
        Protocol::HttpProtobuf | Protocol::HttpJson => value.to_owned(),
    }
}

/// A boolean of the specification: only `true`, in any case, is true. What is neither is refused rather than ignored.
fn truth(name: &'static str, value: &str) -> Result<bool, ConfigError> {
    match value {
        _ if value.eq_ignore_ascii_case("true") => Ok(true),
        _ if value.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(ConfigError::new(name, format!("{value:?}"), "true, false")),
    }
}

fn protocol(name: &'static str, value: &str) -> Result<Protocol, ConfigError> {
    value.parse().map_err(|_unknown| ConfigError::new(name, format!("{value:?}"), "http/protobuf, http/json, grpc"))
}

fn compression(name: &'static str, value: &str) -> Result<Compression, ConfigError> {
    value.parse().map_err(|unknown: ConfigError| ConfigError::new(name, unknown.value(), unknown.allowed()))
}

fn timeout(name: &'static str, value: &str) -> Result<Duration, ConfigError> {
    match value.parse() {
        Ok(0) => Ok(Duration::MAX),
        Ok(millis) => Ok(Duration::from_millis(millis)),
        Err(_no_number) => Err(ConfigError::new(name, format!("{value:?}"), "whole milliseconds, 0 for no limit")),
    }
}

fn headers(name: &'static str, value: &str) -> Result<Vec<(HeaderName, HeaderValue)>, ConfigError> {
    let refuse = |place: usize| {
        // Which one, and not what: it may be a secret.
        let allowed = "name=value pairs separated by commas, values percent-encoded";
        ConfigError::new(name, format!("not readable in pair {place}"), allowed)
    };
    let pairs = value.split(',').map(str::trim).enumerate().filter(|(_, pair)| !pair.is_empty());
    pairs
        .map(|(index, pair)| {
            let (key, value) = pair.split_once('=').ok_or_else(|| refuse(index + 1))?;
            let decoded = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<u8>>();
            let key: HeaderName = key.trim().parse().map_err(|_bad| refuse(index + 1))?;
            let mut value = HeaderValue::from_bytes(&decoded).map_err(|_bad| refuse(index + 1))?;
            if key == header::CONTENT_LENGTH || key == header::HOST || key == header::CONTENT_TYPE {
                let allowed = "headers that the exporter does not write itself";
                return Err(ConfigError::new(name, format!("`{key}` in pair {}", index + 1), allowed));
            }
            value.set_sensitive(true);
            Ok((key, value))
        })
        .collect()
}

// === impl Variable ===

impl Variable {
    fn of(&self, signal: Signal) -> &'static str {
        match signal {
            Signal::Logs => self.logs,
            Signal::Traces => self.traces,
            Signal::Metrics => self.metrics,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(vars: &[(&str, &str)]) -> Result<Environment, ConfigError> {
        let vars: std::collections::HashMap<_, _> =
            vars.iter().map(|(name, value)| (format!("OTEL_EXPORTER_OTLP_{name}"), (*value).to_owned())).collect();
        Environment::of(Signal::Logs, |name| vars.get(name).cloned())
    }

    #[test]
    fn the_base_gets_a_path_and_the_signal_s_own_url_is_used_as_it_is() {
        let endpoint = |vars: &[_]| logs(vars).unwrap().endpoint.unwrap();
        assert_eq!(endpoint(&[("ENDPOINT", "http://a:4318")]), "http://a:4318/v1/logs");
        assert_eq!(endpoint(&[("ENDPOINT", "http://a:4318/")]), "http://a:4318/v1/logs");
        assert_eq!(endpoint(&[("ENDPOINT", "http://a/base/")]), "http://a/base/v1/logs");
        let both = [("ENDPOINT", "http://a"), ("LOGS_ENDPOINT", "http://b")];
        assert_eq!(endpoint(&both), "http://b");
        assert_eq!(endpoint(&[("ENDPOINT", "http://a"), ("LOGS_ENDPOINT", " ")]), "http://a/v1/logs");
        assert_eq!(logs(&[("TRACES_ENDPOINT", "http://c")]).unwrap(), Environment::default());
    }

    #[test]
    fn over_grpc_the_endpoint_is_the_server_with_a_scheme_or_without() {
        let endpoint = |vars: &[_]| logs(&[&[("PROTOCOL", "grpc")], vars].concat()).unwrap().endpoint.unwrap();
        assert_eq!(endpoint(&[("ENDPOINT", "http://a:4317")]), "http://a:4317");
        assert_eq!(endpoint(&[("ENDPOINT", "a:4317")]), "https://a:4317");
        assert_eq!(endpoint(&[("LOGS_ENDPOINT", "a:4317"), ("INSECURE", "TRUE")]), "http://a:4317");
        assert_eq!(endpoint(&[("ENDPOINT", "https://a"), ("INSECURE", "true")]), "https://a");
        assert_eq!(logs(&[("INSECURE", "yes")]).unwrap_err().knob(), "OTEL_EXPORTER_OTLP_INSECURE");
        let files = [("CERTIFICATE", "/ca.pem"), ("LOGS_CLIENT_KEY", "/key.pem"), ("CLIENT_CERTIFICATE", "/me.pem")];
        let read = logs(&files).unwrap();
        let read = (read.certificate.unwrap(), read.client_key.unwrap(), read.client_certificate.unwrap());
        assert_eq!(read, ("/ca.pem".into(), "/key.pem".into(), "/me.pem".into()));
    }

    #[test]
    fn headers_are_decoded_and_never_shown() {
        let environment = logs(&[("HEADERS", "authorization=Bearer%20hunter2, x-tenant=a=b,,")]).unwrap();
        let pairs: Vec<_> = environment.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(pairs, [("authorization", &b"Bearer hunter2"[..]), ("x-tenant", b"a=b")]);
        assert!(!format!("{environment:?}").contains("hunter2"), "x04");
        for bad in ["hunter2", "a=hunter2%0d%0ab:c", "b ad=hunter2", "host=hunter2"] {
            let error = logs(&[("HEADERS", bad)]).unwrap_err();
            assert_eq!(error.knob(), "OTEL_EXPORTER_OTLP_HEADERS");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "x04: {error}");
        }
    }

    #[test]
    fn bad_values_are_named_and_zero_is_no_limit() {
        let read = logs(&[("TIMEOUT", "0"), ("COMPRESSION", "none"), ("PROTOCOL", "http/json")]).unwrap();
        let expected = (Some(Duration::MAX), Some(Compression::None), Some(Protocol::HttpJson));
        assert_eq!((read.timeout, read.compression, read.protocol), expected);
        for (name, value) in [("TIMEOUT", "10s"), ("TIMEOUT", "-1"), ("COMPRESSION", "lz4"), ("PROTOCOL", "udp")] {
            let error = logs(&[(name, value)]).unwrap_err();
            assert!(error.knob().ends_with(name) && error.value().contains(value), "{error}");
        }
        let error = logs(&[("LOGS_TIMEOUT", "x"), ("TIMEOUT", "1")]).unwrap_err();
        assert_eq!(error.knob(), "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT");
    }
}
