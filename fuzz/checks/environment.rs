//! The environment: one `NAME=value` a line, `OTEL_EXPORTER_OTLP_` left out.

use forebay::otlp::{Environment, Signal};
use std::collections::HashMap;

pub(crate) fn check(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables: HashMap<_, _> = text.split('\n').filter_map(|line| line.split_once('=')).collect();
    let lookup = |name: &str| variables.get(name.strip_prefix("OTEL_EXPORTER_OTLP_")?).map(|value| (*value).to_owned());
    for signal in [Signal::Logs, Signal::Traces, Signal::Metrics] {
        match Environment::of(signal, lookup) {
            Ok(environment) => {
                assert!(environment.headers.iter().all(|(_, value)| value.is_sensitive()));
                // It may be no URL; then that is said when the exporter is built.
                let _checked = environment.endpoint.map(|url| url.parse::<forebay::export::Endpoint>());
            }
            Err(error) => {
                assert!(error.knob().starts_with("OTEL_EXPORTER_OTLP_"), "{error}");
                assert!(!error.to_string().contains(char::is_control), "{error:?}");
            }
        }
    }
}
