use super::{ProcessorBuilder, SdkLog, SdkMetric, SdkSpan, TakenSdkLog};
use crate::{Environment, Signal, exporter_builder_ext::configured};
use forebay_core::ConfigError;
use forebay_export::ExporterBuilder;
use opentelemetry_sdk::metrics::Temporality;

/// Whether instruments count from their start; read for metrics only.
const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";

/// What is handed over to a processor or an exporter of this module: it says of which signal it is.
pub(super) trait SdkItem {
    const SIGNAL: Signal;
}

// === impl ProcessorBuilder ===

#[expect(private_bounds, reason = "sealed")]
impl<T: SdkItem, E, C, W, P, O> ProcessorBuilder<ExporterBuilder<T, E, C, W, P>, O> {
    /// Takes the settings from the `OTEL_EXPORTER_OTLP_*` variables of the process, as the SDK's own exporters do: the protocol,
    /// the endpoint, the headers, the compression and the timeout of the signal, and for metrics
    /// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`. What is not set has its default, also the endpoint: a collector on
    /// this machine.
    ///
    /// ```no_run
    /// use forebay_export::Exporter;
    /// use forebay_otlp::sdk::{ForebayLogProcessor, ForebayMetricExporter, ForebaySpanProcessor};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    /// # let client = tower::service_fn(|_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
    /// #     Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::new(bytes::Bytes::new())))
    /// # });
    /// let logs = ForebayLogProcessor::builder(Exporter::builder().client(client)).environment()?.build()?;
    /// let spans = ForebaySpanProcessor::builder(Exporter::builder().client(client)).environment()?.build()?;
    /// let metrics = ForebayMetricExporter::builder(Exporter::builder().client(client)).environment()?.build()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// A value that cannot be used is ignored, and is an event of `tracing` when the exporter is built
    /// ([`ExporterBuilder::ignored`]). Certificates are the client's: see [`Environment`].
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is no valid URL; the error names its variable.
    pub fn environment(self) -> Result<Self, ConfigError> {
        // A value that is not UTF-8 is not skipped: it cannot be used either, and becomes a warning.
        self.environment_of(|name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// Takes the settings from the variables that `lookup` returns, like [`environment`](Self::environment).
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is no valid URL; the error names its variable.
    pub fn environment_of(mut self, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let mut environment = Environment::of(T::SIGNAL, &lookup)?;
        if let Some(protocol) = environment.protocol {
            self.protocol = protocol;
        }
        let preference = lookup(TEMPORALITY).filter(|value| !value.trim().is_empty());
        if T::SIGNAL == Signal::Metrics
            && let Some(value) = preference
        {
            match temporality(value.trim()) {
                Ok(temporality) => self.temporality = temporality,
                Err(warning) => environment.warnings.push(warning),
            }
        }
        let exporter = configured(self.exporter, T::SIGNAL, environment);
        Ok(Self { exporter, ..self })
    }
}

fn temporality(value: &str) -> Result<Temporality, ConfigError> {
    match value.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(Temporality::Cumulative),
        "delta" => Ok(Temporality::Delta),
        "lowmemory" => Ok(Temporality::LowMemory),
        _ => Err(ConfigError::new(TEMPORALITY, format!("{value:?}"), "cumulative, delta, lowmemory")),
    }
}

// === impl SdkItem ===

impl SdkItem for SdkLog {
    const SIGNAL: Signal = Signal::Logs;
}

impl SdkItem for TakenSdkLog {
    const SIGNAL: Signal = Signal::Logs;
}

impl SdkItem for SdkSpan {
    const SIGNAL: Signal = Signal::Traces;
}

impl SdkItem for SdkMetric {
    const SIGNAL: Signal = Signal::Metrics;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f11_a_temporality_that_is_not_known_is_a_warning_that_names_its_variable() {
        for unknown in ["gauge", "1", "delta,"] {
            let warning = temporality(unknown).unwrap_err();
            assert!(warning.knob() == TEMPORALITY && warning.value().contains(unknown), "{warning}");
        }
    }
}
