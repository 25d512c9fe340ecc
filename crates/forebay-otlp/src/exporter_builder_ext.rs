use crate::{Environment, Protocol, Signal};
use forebay_core::ConfigError;
use forebay_export::ExporterBuilder;

/// Configures an [`ExporterBuilder`] by the `OTEL_EXPORTER_OTLP_*` variables; see [`Environment`] for what they mean.
///
/// The endpoint, the headers, the compression and the timeout of one attempt become those of the variables; a variable that is not
/// set changes nothing, but without one for the endpoint it is that of the specification, a collector on this machine. What the
/// builder is given later takes precedence. The protocol is the encoder's: [`EncoderBuilder::environment`] reads it. Certificates
/// are the client's: [`Environment::read`] gives their files.
///
/// A value that cannot be used is ignored, and is an event of `tracing` when the exporter is built
/// ([`ExporterBuilder::ignored`]).
///
/// ```no_run
/// use forebay_otlp::{Exporter, ExporterBuilderExt, LogRecord, LogsEncoder, Signal};
///
/// # fn main() -> Result<(), forebay_otlp::BoxError> {
/// # let client = tower::service_fn(|_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
/// #     Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::new(bytes::Bytes::new())))
/// # });
/// let exporter: Exporter<LogRecord> = Exporter::builder()
///     .environment(Signal::Logs)?
///     .encoder(LogsEncoder::builder().environment()?.build()?)
///     .client(client)
///     .build()?;
/// # Ok(())
/// # }
/// ```
///
/// [`EncoderBuilder::environment`]: crate::EncoderBuilder::environment
pub trait ExporterBuilderExt: sealed::Sealed + Sized {
    /// Reads the variables of the process for `signal`.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is no valid URL; the error names its variable.
    fn environment(self, signal: Signal) -> Result<Self, ConfigError>;

    /// Reads the variables that `lookup` returns, like [`environment`](Self::environment).
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the endpoint is no valid URL; the error names its variable.
    fn environment_of(self, signal: Signal, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError>;
}

mod sealed {
    /// Only the exporter's builder is extended, so that methods can be added.
    pub trait Sealed {}

    impl<T, E, C, W, P> Sealed for forebay_export::ExporterBuilder<T, E, C, W, P> {}
}

// === impl ExporterBuilderExt ===

impl<T, E, C, W, P> ExporterBuilderExt for ExporterBuilder<T, E, C, W, P> {
    fn environment(self, signal: Signal) -> Result<Self, ConfigError> {
        Ok(configured(self, signal, Environment::read(signal)?))
    }

    fn environment_of(self, signal: Signal, lookup: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        Ok(configured(self, signal, Environment::of(signal, lookup)?))
    }
}

/// Applies what was read for `signal`.
pub(crate) fn configured<T, E, C, W, P>(
    builder: ExporterBuilder<T, E, C, W, P>,
    signal: Signal,
    environment: Environment,
) -> ExporterBuilder<T, E, C, W, P> {
    let Environment { endpoint, protocol, headers, compression, timeout, warnings, .. } = environment;
    let endpoint = endpoint.unwrap_or_else(|| default_endpoint(signal, protocol.unwrap_or_default()));
    let mut builder = builder.endpoint(&endpoint).ignored(warnings);
    for (name, value) in headers {
        builder = builder.header(name, value);
    }
    if let Some(compression) = compression {
        builder = builder.compression(compression);
    }
    if let Some(timeout) = timeout {
        builder = builder.attempt_timeout(timeout);
    }
    builder
}

/// Where a collector listens on this machine, as the specification has it.
fn default_endpoint(signal: Signal, protocol: Protocol) -> String {
    match protocol {
        Protocol::Grpc => "http://localhost:4317".to_owned(),
        Protocol::HttpProtobuf | Protocol::HttpJson => format!("http://localhost:4318{}", signal.path()),
    }
}
