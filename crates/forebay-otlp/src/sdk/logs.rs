use super::{
    background::Background,
    builder::ProcessorBuilder,
    encode::LogsEncoder,
    origin::{Resourced, ScopeId, Scopes},
    pen::Pen,
};
use crate::{Severity, settle::Notice};
use bytes::{Bytes, BytesMut};
use forebay_core::{BoxError, ConfigError, Observe, SizeOf, Totals};
use forebay_export::ExporterBuilder;
use forebay_queue::parts::PriorityOf;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogProcessor, SdkLogRecord},
};
use std::{fmt, sync::Arc, time::Duration};
use tower_service::Service;

/// Sends the log records of the SDK: put it where `BatchLogProcessor` was.
///
/// ```no_run
/// # use forebay_otlp::sdk::ForebayLogProcessor;
/// # use forebay_export::Exporter;
/// # use opentelemetry_sdk::logs::SdkLoggerProvider;
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let client = tower::service_fn(|_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
/// #     Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::new(bytes::Bytes::new())))
/// # });
/// let exporter = Exporter::builder().endpoint("http://localhost:4318/v1/logs").client(client);
/// let provider = SdkLoggerProvider::builder()
///     // before: .with_batch_exporter(LogExporter::builder().with_http().build()?)
///     .with_log_processor(ForebayLogProcessor::builder(exporter).build()?)
///     .build();
/// # Ok(())
/// # }
/// ```
///
/// A record is **encoded where it is emitted**, into memory of the emitting thread, and only its bytes are handed over. The
/// SDK lends a record and does not give it away, so the choice is between this, a deep clone, and taking its content away
/// from the processors behind this one. Encoding costs about half of what `BatchLogProcessor` does for its clone, needs no
/// allocation of its own, and the limits of the queue count the very bytes that will be sent.
///
/// It runs on a thread of its own, in which telemetry is suppressed: what its HTTP client logs is never exported.
pub struct ForebayLogProcessor {
    background: Background<SdkLog>,
    scopes: Arc<Scopes>,
    resource: Resourced,
}

/// A log record of the SDK, encoded.
#[derive(Clone, Debug)]
pub struct SdkLog {
    pub(super) scope: ScopeId,
    severity: Severity,
    /// No value in it is nested too deep.
    whole: bool,
    fields: BytesMut,
}

// === impl SdkLog ===

impl SdkLog {
    #[inline(always)]
    pub(super) fn new(scope: ScopeId, severity: Severity, whole: bool, fields: BytesMut) -> Self {
        Self { scope, severity, whole, fields }
    }

    /// How severe it is: for a lane of its own, or to close a batch at once.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What it weighs in the queue, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.fields.len()
    }

    /// Its fields; `None` if it cannot be sent.
    pub(super) fn fields(&self) -> Option<&[u8]> {
        self.whole.then_some(&self.fields)
    }
}

// === impl ForebayLogProcessor ===

impl ForebayLogProcessor {
    /// Takes an exporter that has all but its encoder.
    pub fn builder<C, P>(
        exporter: ExporterBuilder<SdkLog, (), C, SizeOf, P>,
    ) -> ProcessorBuilder<ExporterBuilder<SdkLog, (), C, SizeOf, P>> {
        ProcessorBuilder::new(exporter)
    }

    /// What became of every record so far; the counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.background.exporter().totals()
    }
}

impl<C, P, O> ProcessorBuilder<ExporterBuilder<SdkLog, (), C, SizeOf, P>, O> {
    /// The processor, which runs from now on.
    ///
    /// # Errors
    ///
    /// When a knob of the exporter is out of its range, or no thread can be had. Nothing runs then.
    pub fn build<B>(self) -> Result<ForebayLogProcessor, ConfigError>
    where
        C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
        P: PriorityOf<SdkLog> + Send + Sync + 'static,
        O: Observe<Notice> + Send + Sync + 'static,
    {
        let Self { exporter, protocol, flush_timeout, observer, temporality: _ } = self;
        let resource = Resourced::new(protocol.encoding());
        let scopes = Arc::new(Scopes::new(protocol.encoding()));
        let encoder = LogsEncoder::new(protocol, resource.clone(), Arc::clone(&scopes), observer);
        let exporter = exporter.encoder(encoder).weigh(SdkLog::bytes);
        let background = Background::start("log records", flush_timeout, move || exporter.build())?;
        Ok(ForebayLogProcessor { background, scopes, resource })
    }
}

impl LogProcessor for ForebayLogProcessor {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.background.exporter().emit(Pen::write(&self.scopes, record, scope));
    }

    /// Waits until every record that was emitted before has a fate; see [`ProcessorBuilder::flush_timeout`].
    fn force_flush(&self) -> OTelSdkResult {
        self.background.flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.background.shutdown(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.resource.set(resource);
    }
}

impl fmt::Debug for ForebayLogProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForebayLogProcessor").field("totals", &self.totals()).finish_non_exhaustive()
    }
}
