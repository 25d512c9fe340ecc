use super::{
    background::Background,
    builder::ProcessorBuilder,
    encode::LogsEncoder,
    origin::{LateResource, ScopeId, Scopes},
    record_writer::{RecordWriter, fields, severity},
    values::heap_of_logged,
};
use crate::{Severity, logs::LogRecordMessage, settle::OtlpEvent, wire::Message};
use bytes::{Bytes, BytesMut};
use forebay_core::{BoxError, ByFootprint, ConfigError, Footprint, Observe, Totals, heap_block};
use forebay_export::{Exporter, ExporterBuilder, Offer};
use forebay_intake::PriorityOf;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use opentelemetry::{
    InstrumentationScope, Key,
    logs::{AnyValue, Logger as _, LoggerProvider as _},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    logs::{LogProcessor, SdkLogRecord, SdkLogger, SdkLoggerProvider},
};
use std::{
    fmt, mem,
    sync::{Arc, LazyLock},
    time::Duration,
};
use tower_service::Service;

/// Sends the log records of the SDK, in place of `BatchLogProcessor`.
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
/// SDK lends a record, so the alternatives are a deep clone, and taking its content away from the processors after this one.
/// Encoding a small record costs about as much as the clone of `BatchLogProcessor`, needs no allocation of its own once a
/// thread has written some records, holds half the memory, is not repeated by the thread that sends, and the limits of the queue
/// count exactly the bytes that are sent.
///
/// Where it is the only processor, or the last one, [`taking`](Self::taking) takes the record itself instead, at a cost that
/// does not grow with the content of the record; for small records the two cost about the same.
///
/// It runs on a thread of its own, in which telemetry is suppressed: the logs of its HTTP client are never exported.
pub struct ForebayLogProcessor<T = SdkLog> {
    background: Background<T>,
    scopes: Arc<Scopes>,
    resource: LateResource,
}

/// A log record of the SDK, encoded.
#[derive(Clone, Debug)]
pub struct SdkLog {
    scope: ScopeId,
    severity: Severity,
    /// Whether every value in it is encoded: none is nested too deep.
    whole: bool,
    fields: BytesMut,
}

/// A log record of the SDK, taken from it.
#[derive(Clone, Debug)]
pub struct TakenSdkLog {
    scope: ScopeId,
    record: SdkLogRecord,
}

/// The item that a processor makes of a record.
pub(super) trait LogItem: Footprint + Send + Sync + Sized + 'static {
    /// Makes an item of `record`, and hands it over.
    fn emit(exporter: &Exporter<Self>, scopes: &Scopes, record: &mut SdkLogRecord, scope: &InstrumentationScope);
    fn scope(&self) -> &ScopeId;
    /// About how many bytes it takes in a request.
    fn len(&self) -> usize;
    fn write<M: Message<Kind = LogRecordMessage>>(&self, m: &mut M);
}

// === impl TakenSdkLog ===

impl TakenSdkLog {
    /// The record. It can decide over the lane, or close a batch at once.
    #[must_use]
    pub fn record(&self) -> &SdkLogRecord {
        &self.record
    }

    /// The weight of the item in the queue, in bytes, its heap memory included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.footprint()
    }
}

impl Footprint for TakenSdkLog {
    fn heap(&self) -> usize {
        /// This many attributes are part of the record itself, and the others are in a list that doubles.
        const WITHIN: usize = 5;
        let (mut count, mut attributes) = (0_usize, 0);
        for (key, value) in self.record.attributes_iter() {
            count += 1;
            attributes += heap_block(key.as_str().len()) + heap_of_logged(value);
        }
        let list = match count.saturating_sub(WITHIN) {
            0 => 0,
            beyond => heap_block(beyond.next_power_of_two().max(WITHIN) * size_of::<Option<(Key, AnyValue)>>()),
        };
        let target = self.record.target().map_or(0, |target| target.heap());
        attributes + list + target + self.record.body().map_or(0, heap_of_logged)
    }
}

impl LogItem for TakenSdkLog {
    #[inline(always)]
    fn emit(exporter: &Exporter<Self>, scopes: &Scopes, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        /// Only a logger can make the empty record that replaces the taken one.
        static EMPTY: LazyLock<SdkLogger> = LazyLock::new(|| SdkLoggerProvider::builder().build().logger(""));
        let scope = RecordWriter::scope_of(scopes, record, scope);
        let item = Self { scope, record: mem::replace(record, EMPTY.create_log_record()) };
        let bytes = item.bytes();
        exporter.emit(Offer::new(item).weight(bytes));
    }

    fn scope(&self) -> &ScopeId {
        &self.scope
    }

    fn len(&self) -> usize {
        self.bytes() / 2
    }

    #[inline]
    fn write<M: Message<Kind = LogRecordMessage>>(&self, m: &mut M) {
        if let ScopeId::None = self.scope {
            return m.give_up();
        }
        let severity = self.record.severity_number().map_or(Severity::Unspecified, severity);
        fields(&self.record, severity, m);
    }
}

// === impl SdkLog ===

impl LogItem for SdkLog {
    #[inline(always)]
    fn emit(exporter: &Exporter<Self>, scopes: &Scopes, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        RecordWriter::write(scopes, record, scope, |item| {
            let bytes = item.bytes();
            exporter.emit(Offer::new(item).weight(bytes));
        });
    }

    fn scope(&self) -> &ScopeId {
        &self.scope
    }

    fn len(&self) -> usize {
        self.fields.len()
    }

    #[inline]
    fn write<M: Message<Kind = LogRecordMessage>>(&self, m: &mut M) {
        if self.whole { m.raw(&self.fields) } else { m.give_up() }
    }
}

impl SdkLog {
    #[inline(always)]
    pub(super) fn new(scope: ScopeId, severity: Severity, whole: bool, fields: BytesMut) -> Self {
        Self { scope, severity, whole, fields }
    }

    /// The severity. It can decide over the lane, or close a batch at once.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The weight of the item in the queue, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.footprint()
    }
}

/// A record that shares a block of memory with others takes no more than a block of its own would.
impl Footprint for SdkLog {
    #[inline(always)]
    fn heap(&self) -> usize {
        heap_block(self.fields.len())
    }
}

// === impl ForebayLogProcessor ===

impl ForebayLogProcessor {
    /// A builder over an exporter builder without an encoder.
    pub fn builder<C, P>(
        exporter: ExporterBuilder<SdkLog, (), C, ByFootprint, P>,
    ) -> ProcessorBuilder<ExporterBuilder<SdkLog, (), C, ByFootprint, P>> {
        ProcessorBuilder::new(exporter)
    }
}

impl ForebayLogProcessor<TakenSdkLog> {
    /// A builder of a processor that **takes** the records, like [`builder`](ForebayLogProcessor::builder) otherwise: the thread
    /// that emits them copies and writes nothing, and **processors after this one see empty records**. Put it last.
    pub fn taking<C, P>(
        exporter: ExporterBuilder<TakenSdkLog, (), C, ByFootprint, P>,
    ) -> ProcessorBuilder<ExporterBuilder<TakenSdkLog, (), C, ByFootprint, P>> {
        ProcessorBuilder::new(exporter)
    }
}

#[expect(private_bounds, reason = "sealed")]
impl<T: LogItem> ForebayLogProcessor<T> {
    /// The fate of every record so far. The counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.background.exporter().totals()
    }
}

/// The builds of both processors differ only in the type of the item.
macro_rules! build {
    ($item:ty) => {
        impl<C, P, O> ProcessorBuilder<ExporterBuilder<$item, (), C, ByFootprint, P>, O> {
            /// Starts the processor.
            ///
            /// # Errors
            ///
            /// Returns a [`ConfigError`] when a knob of the exporter is out of its range, or no thread can be started. Nothing
            /// runs then.
            pub fn build<B>(self) -> Result<ForebayLogProcessor<$item>, ConfigError>
            where
                C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
                C::Error: Into<BoxError>,
                C::Future: Send,
                B: Body + Send + 'static,
                B::Data: Send,
                B::Error: Into<BoxError>,
                P: PriorityOf<$item> + Send + Sync + 'static,
                O: Observe<OtlpEvent> + Send + Sync + 'static,
            {
                let Self { exporter, protocol, flush_timeout, observer, temporality: _ } = self;
                let resource = LateResource::new(protocol.encoding());
                let scopes = Arc::new(Scopes::new(protocol.encoding()));
                let encoder = LogsEncoder::new(protocol, resource.clone(), Arc::clone(&scopes), observer);
                let exporter = exporter.encoder(encoder);
                let background = Background::start("log records", flush_timeout, move || exporter.build())?;
                Ok(ForebayLogProcessor { background, scopes, resource })
            }
        }
    };
}
build!(SdkLog);
build!(TakenSdkLog);

impl<T: LogItem> LogProcessor for ForebayLogProcessor<T> {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        T::emit(self.background.exporter(), &self.scopes, record, scope);
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

impl<T: LogItem> fmt::Debug for ForebayLogProcessor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForebayLogProcessor").field("totals", &self.totals()).finish_non_exhaustive()
    }
}
