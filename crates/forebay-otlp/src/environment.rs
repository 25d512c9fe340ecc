use crate::{Protocol, Signal};
use forebay_core::ConfigError;
use forebay_export::{Compression, Endpoint};
use http::{HeaderName, HeaderValue, header};
use std::{path::PathBuf, time::Duration};

/// The `OTEL_EXPORTER_OTLP_*` variables of one signal, with the meanings of the [specification].
///
/// A variable of the signal (`OTEL_EXPORTER_OTLP_LOGS_ENDPOINT`) takes precedence over the one of all signals; an empty one
/// counts as not set. A setting without a variable is `None`, and the exporter's default applies. A value that cannot be used is
/// ignored, and is one of the [`warnings`](Self::warnings); only an endpoint that cannot be used is an error, because nothing
/// could be sent.
///
/// | variable | meaning |
/// | --- | --- |
/// | `_ENDPOINT` | `http`: for all signals the base, to which `/v1/logs` or the like is appended, for one signal the URL as it is; `grpc`: the URL of the server, or its host and port |
/// | `_INSECURE` | whether a `grpc` endpoint without a scheme is used without TLS: `true` in any letter case; every other value is false |
/// | `_PROTOCOL` | `http/protobuf`, `http/json`, `grpc`, in any letter case |
/// | `_HEADERS` | `name=value,name=value`, values percent-encoded |
/// | `_COMPRESSION` | `gzip`, `none`; `zstd` beyond the specification; in any letter case, each with its feature |
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
    /// The URL to send to.
    pub endpoint: Option<String>,
    /// The encoding.
    pub protocol: Option<Protocol>,
    /// Headers of every request. Their values are secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// How bodies are compressed.
    pub compression: Option<Compression>,
    /// How long one attempt may take; [`Duration::MAX`] is no limit.
    pub timeout: Option<Duration>,
    /// The certificates that verify the server's certificate.
    pub certificate: Option<PathBuf>,
    /// The client's private key.
    pub client_key: Option<PathBuf>,
    /// The client's certificate chain.
    pub client_certificate: Option<PathBuf>,
    /// The variables whose value was ignored, each with its name, its value (not that of a header) and what is allowed.
    pub warnings: Vec<ConfigError>,
}

/// The names of one variable: for all signals, and for each.
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
    /// Reads the variables of the process for `signal`.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is no valid URL; the error names its variable.
    pub fn read(signal: Signal) -> Result<Self, ConfigError> {
        // A value that is not UTF-8 is not skipped: it cannot be used either, and becomes a warning.
        Self::of(signal, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Reads the variables that `lookup` returns, like [`read`](Self::read).
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is no valid URL; the error names its variable.
    pub fn of(signal: Signal, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let find = |variable: &Variable| {
            let set =
                |name: &'static str| lookup(name).filter(|value| !value.trim().is_empty()).map(|value| (name, value));
            set(variable.of(signal)).or_else(|| set(variable.all))
        };
        let file = |variable| find(variable).map(|(_, value)| PathBuf::from(value));
        let mut warnings = Vec::new();
        let protocol = find(&PROTOCOL).and_then(|(name, value)| used(&mut warnings, protocol(name, value.trim())));
        let insecure = find(&INSECURE).is_some_and(|(name, value)| truth(&mut warnings, name, value.trim()));
        let endpoint = find(&ENDPOINT).map(|(name, value)| {
            let read = endpoint(name, value.trim(), signal, protocol.unwrap_or_default(), insecure);
            read.map_err(|error| ConfigError::new(name, error.value(), error.allowed()))
        });
        Ok(Self {
            endpoint: endpoint.transpose()?,
            protocol,
            headers: find(&HEADERS).map_or_else(Vec::new, |(name, value)| headers(&mut warnings, name, &value)),
            compression: find(&COMPRESSION)
                .and_then(|(name, value)| used(&mut warnings, compression(name, value.trim()))),
            timeout: find(&TIMEOUT).and_then(|(name, value)| used(&mut warnings, timeout(name, value.trim()))),
            certificate: file(&CERTIFICATE),
            client_key: file(&CLIENT_KEY),
            client_certificate: file(&CLIENT_CERTIFICATE),
            warnings,
        })
    }
}

/// The value, or a warning in place of it.
fn used<V>(warnings: &mut Vec<ConfigError>, read: Result<V, ConfigError>) -> Option<V> {
    match read {
        Ok(value) => Some(value),
        Err(warning) => {
            warnings.push(warning);
            None
        }
    }
}

fn endpoint(
    name: &str,
    value: &str,
    signal: Signal,
    protocol: Protocol,
    insecure: bool,
) -> Result<String, ConfigError> {
    let endpoint: Endpoint = match protocol {
        // Clients for gRPC accept both: a URL, whose scheme decides over TLS, and a host with a port.
        Protocol::Grpc if value.contains("://") => value.parse()?,
        Protocol::Grpc => format!("{}://{value}", if insecure { "http" } else { "https" }).parse()?,
        _ if name == ENDPOINT.all => value.parse::<Endpoint>()?.extended(signal.path())?,
        Protocol::HttpProtobuf | Protocol::HttpJson => value.parse()?,
    };
    if protocol == Protocol::Grpc && endpoint.uri().query().is_some() {
        return Err(ConfigError::new(
            "endpoint",
            endpoint,
            "a URL without a query: gRPC names a method by its path alone",
        ));
    }
    Ok(match (protocol, endpoint.uri().path()) {
        // A URL without a path keeps none.
        (Protocol::Grpc, "/") => endpoint.uri().to_string().trim_end_matches('/').to_owned(),
        (_, "/") if endpoint.uri().query().is_none() => value.to_owned(),
        _ => endpoint.uri().to_string(),
    })
}

/// A boolean of the specification: `true`, in any letter case, is true, and every other value is false.
fn truth(warnings: &mut Vec<ConfigError>, name: &'static str, value: &str) -> bool {
    let (yes, no) = (value.eq_ignore_ascii_case("true"), value.eq_ignore_ascii_case("false"));
    if !yes && !no {
        warnings.push(ConfigError::new(name, format!("{value:?}, taken for false"), "true, false"));
    }
    yes
}

fn protocol(name: &'static str, value: &str) -> Result<Protocol, ConfigError> {
    let wrong = |_unknown| ConfigError::new(name, format!("{value:?}"), "http/protobuf, http/json, grpc");
    value.to_ascii_lowercase().parse().map_err(wrong)
}

fn compression(name: &'static str, value: &str) -> Result<Compression, ConfigError> {
    let wrong = |unknown: ConfigError| ConfigError::new(name, unknown.value(), unknown.allowed());
    value.to_ascii_lowercase().parse().map_err(wrong)
}

fn timeout(name: &'static str, value: &str) -> Result<Duration, ConfigError> {
    match value.parse() {
        Ok(0) => Ok(Duration::MAX),
        Ok(millis) => Ok(Duration::from_millis(millis)),
        Err(_no_number) => Err(ConfigError::new(name, format!("{value:?}"), "whole milliseconds, 0 for no limit")),
    }
}

/// The pairs that can be read. The warning for another pair gives its position and not its content, which may be a secret.
fn headers(warnings: &mut Vec<ConfigError>, name: &'static str, value: &str) -> Vec<(HeaderName, HeaderValue)> {
    let pairs = value.split(',').map(str::trim).enumerate().filter(|(_, pair)| !pair.is_empty());
    pairs.filter_map(|(index, pair)| used(warnings, header(name, index + 1, pair))).collect()
}

fn header(name: &'static str, place: usize, pair: &str) -> Result<(HeaderName, HeaderValue), ConfigError> {
    let refuse = || {
        let allowed = "name=value pairs separated by commas, values percent-encoded";
        ConfigError::new(name, format!("not readable in pair {place}"), allowed)
    };
    let (key, value) = pair.split_once('=').ok_or_else(refuse)?;
    let decoded = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<u8>>();
    let key: HeaderName = key.trim().parse().map_err(|_bad| refuse())?;
    let mut value = HeaderValue::from_bytes(&decoded).map_err(|_bad| refuse())?;
    if key == header::CONTENT_LENGTH || key == header::HOST || key == header::CONTENT_TYPE {
        let allowed = "headers that the exporter does not write itself";
        return Err(ConfigError::new(name, format!("`{key}` in pair {place}"), allowed));
    }
    value.set_sensitive(true);
    Ok((key, value))
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
        assert_eq!(logs(&[("INSECURE", "yes")]).unwrap().warnings[0].knob(), "OTEL_EXPORTER_OTLP_INSECURE");
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
            let environment = logs(&[("HEADERS", &format!("{bad},x=1"))]).unwrap();
            let names: Vec<_> = environment.headers.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["x"], "the others are kept");
            let warning = &environment.warnings[0];
            assert_eq!(warning.knob(), "OTEL_EXPORTER_OTLP_HEADERS");
            assert!(!format!("{warning} {warning:?}").contains("hunter2"), "x04: {warning}");
        }
    }

    #[test]
    fn bad_values_are_named_and_zero_is_no_limit() {
        let read = logs(&[("TIMEOUT", "0"), ("COMPRESSION", "none"), ("PROTOCOL", "http/json")]).unwrap();
        let expected = (Some(Duration::MAX), Some(Compression::None), Some(Protocol::HttpJson));
        assert_eq!((read.timeout, read.compression, read.protocol), expected);
        for (name, value) in [("TIMEOUT", "10s"), ("TIMEOUT", "-1"), ("COMPRESSION", "lz4"), ("PROTOCOL", "udp")] {
            let read = logs(&[(name, value)]).unwrap();
            let warning = &read.warnings[0];
            assert!(warning.knob().ends_with(name) && warning.value().contains(value), "{warning}");
            assert_eq!(Environment { warnings: Vec::new(), ..read }, Environment::default(), "as if it were not set");
        }
        let read = logs(&[("LOGS_TIMEOUT", "x"), ("TIMEOUT", "1")]).unwrap();
        assert_eq!(read.warnings[0].knob(), "OTEL_EXPORTER_OTLP_LOGS_TIMEOUT");
    }

    /// The text of the specification, a row a sentence: <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>
    /// and <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>.
    #[test]
    fn f11_each_variable_is_read_as_the_specification_says() {
        type Expected = fn(&Environment) -> bool;
        let table: &[(&str, &str, bool, Expected)] = &[
            // "The SDK MUST interpret an empty value of an environment variable the same way as when the variable is unset."
            ("ENDPOINT", "", false, |read| read.endpoint.is_none()),
            ("INSECURE", "", false, |read| read.endpoint.is_none()),
            ("PROTOCOL", " ", false, |read| read.protocol.is_none()),
            ("HEADERS", "", false, |read| read.headers.is_empty()),
            ("COMPRESSION", "", false, |read| read.compression.is_none()),
            ("TIMEOUT", "", false, |read| read.timeout.is_none()),
            ("CERTIFICATE", "", false, |read| read.certificate.is_none()),
            ("CLIENT_KEY", "", false, |read| read.client_key.is_none()),
            ("CLIENT_CERTIFICATE", "", false, |read| read.client_certificate.is_none()),
            // "Any value that represents a Boolean MUST be set to true only by the case-insensitive string "true" ... An
            // implementation MUST NOT extend this definition ... Any value not explicitly defined here as a true value,
            // including unset and empty values, MUST be interpreted as false. If any value other than a true value, false or
            // empty is used, a warning SHOULD be logged."
            ("INSECURE", "TRUE", false, |read| read.endpoint.as_deref() == Some("http://a:1")),
            ("INSECURE", "tRuE", false, |read| read.endpoint.as_deref() == Some("http://a:1")),
            ("INSECURE", "False", false, |read| read.endpoint.as_deref() == Some("https://a:1")),
            ("INSECURE", "1", true, |read| read.endpoint.as_deref() == Some("https://a:1")),
            ("INSECURE", "yes", true, |read| read.endpoint.as_deref() == Some("https://a:1")),
            ("INSECURE", "on", true, |read| read.endpoint.as_deref() == Some("https://a:1")),
            // "Enum values SHOULD be interpreted in a case-insensitive manner."
            ("COMPRESSION", "GZIP", false, |read| read.compression == Some(Compression::gzip())),
            ("COMPRESSION", "None", false, |read| read.compression == Some(Compression::None)),
            ("PROTOCOL", "HTTP/JSON", false, |read| read.protocol == Some(Protocol::HttpJson)),
            ("PROTOCOL", "gRPC", false, |read| read.protocol == Some(Protocol::Grpc)),
            // "If the user provides an enum value the implementation does not recognize, the implementation MUST generate a
            // warning and gracefully ignore the setting."
            ("COMPRESSION", "brotli", true, |read| read.compression.is_none()),
            ("PROTOCOL", "http", true, |read| read.protocol.is_none()),
            // "If the user provides a value the implementation cannot parse ... should generate a warning and gracefully ignore
            // the setting, i.e., treat them as not set."
            ("TIMEOUT", "ten", true, |read| read.timeout.is_none()),
            ("TIMEOUT", "99999999999999999999999", true, |read| read.timeout.is_none()),
            ("TIMEOUT", "18446744073709551615", false, |read| read.timeout == Some(Duration::from_millis(u64::MAX))),
            ("TIMEOUT", "1", false, |read| read.timeout == Some(Duration::from_millis(1))),
            // "The key-value pairs are represented in a format matching the W3C Baggage, except that additional properties are
            // not supported."
            ("HEADERS", "api-key=key,other=%76alue", false, |read| read.headers[1].1 == "value"),
            ("HEADERS", "=,a", true, |read| read.headers.is_empty()),
            ("CERTIFICATE", "/a.pem", false, |read| read.certificate.as_deref() == Some("/a.pem".as_ref())),
            ("CLIENT_KEY", "/a.pem", false, |read| read.client_key.as_deref() == Some("/a.pem".as_ref())),
            ("CLIENT_CERTIFICATE", "/a.pem", false, |read| read.client_certificate == Some("/a.pem".into())),
            // "Insecure ... only applies to OTLP/gRPC when an endpoint is provided without the http or https scheme."
            ("ENDPOINT", "http://a:1/base?k=v", false, |read| {
                read.endpoint.as_deref() == Some("http://a:1/base/v1/logs?k=v")
            }),
        ];
        for (name, value, warns, expected) in table {
            // For all signals, and for the one.
            for name in [(*name).to_owned(), format!("LOGS_{name}")] {
                let mut vars = vec![(name.as_str(), *value)];
                if name.ends_with("INSECURE") && !value.is_empty() {
                    vars.extend([("PROTOCOL", "grpc"), ("ENDPOINT", "a:1")]);
                }
                if name == "LOGS_ENDPOINT" && !value.is_empty() {
                    let own = logs(&vars).unwrap();
                    assert_eq!(own.endpoint.as_deref(), Some(*value), "as it is");
                    continue;
                }
                let read = logs(&vars).unwrap();
                assert!(expected(&read), "{name}={value}: {read:?}");
                assert_eq!(!read.warnings.is_empty(), *warns, "{name}={value}: {:?}", read.warnings);
                assert!(read.warnings.iter().all(|warning| warning.knob().ends_with(&name)), "{:?}", read.warnings);
            }
        }
    }

    #[test]
    fn f10_a_base_is_extended_by_the_rules_of_urls_and_a_wrong_one_is_an_error() {
        for (base, expected) in [
            ("http://h:4318/otlp?token=abc", "http://h:4318/otlp/v1/logs?token=abc"),
            ("http://h:4318/otlp/?token=abc", "http://h:4318/otlp/v1/logs?token=abc"),
            ("http://h:4318?token=abc", "http://h:4318/v1/logs?token=abc"),
            ("http://h:4318/?a=/b/&c=d%20e", "http://h:4318/v1/logs?a=/b/&c=d%20e"),
            ("http://h:4318", "http://h:4318/v1/logs"),
            ("http://[::1]:4318//", "http://[::1]:4318/v1/logs"),
        ] {
            assert_eq!(logs(&[("ENDPOINT", base)]).unwrap().endpoint.as_deref(), Some(expected), "{base}");
        }
        let own = [("LOGS_ENDPOINT", "http://h/own?token=abc")];
        assert_eq!(logs(&own).unwrap().endpoint.as_deref(), Some("http://h/own?token=abc"));
        for (protocol, wrong, why) in [
            ("http/json", "http://h/#part", "fragment"),
            ("http/json", "h:4318", "http"),
            ("http/json", "http://u:hunter2@h/", "user name"),
            ("grpc", "http://h:4317?token=hunter2", "query"),
            ("grpc", "h:4317#x", "fragment"),
        ] {
            for name in ["ENDPOINT", "LOGS_ENDPOINT"] {
                let error = logs(&[("PROTOCOL", protocol), (name, wrong)]).unwrap_err();
                assert!(error.knob().ends_with(name) && error.allowed().contains(why), "{wrong}: {error}");
                assert!(!format!("{error:?}").contains("hunter2"), "x04: {error}");
            }
        }
    }
}
