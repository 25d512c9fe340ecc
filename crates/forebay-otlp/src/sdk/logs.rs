use super::{
    background::Background,
    builder::ProcessorBuilder,
    encode::LogsEncoder,
    origin::{Resourced, ScopeId, Scopes},
    pen::{Pen, fields, severity},
    values::heap_of_logged,
};
use crate::{Severity, logs::LogRecordMessage, settle::Notice, wire::Message};
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
/// from the processors behind this one. Encoding a small record costs about as much as the clone of `BatchLogProcessor`, needs
/// no allocation of its own once a thread has written some, holds half the memory, is not done a second time by the thread that
/// sends, and the limits of the queue count the very bytes that will be sent.
///
/// Where it is the only processor, or the last one, [`taking`](Self::taking) takes the record itself instead, at a cost that
/// does not grow with what is in the record; for small records the two cost about the same.
///
/// It runs on a thread of its own, in which telemetry is suppressed: what its HTTP client logs is never exported.
pub struct ForebayLogProcessor<T = SdkLog> {
    background: Background<T>,
    scopes: Arc<Scopes>,
    resource: Resourced,
}

/// A log record of the SDK, encoded.
#[derive(Clone, Debug)]
pub struct SdkLog {
    scope: ScopeId,
    severity: Severity,
    /// No value in it is nested too deep.
    whole: bool,
    fields: BytesMut,
}

/// A log record of the SDK, taken from it.
#[derive(Clone, Debug)]
pub struct TakenSdkLog {
    scope: ScopeId,
    record: SdkLogRecord,
}

/// What a processor makes of a record.
pub(super) trait LogItem: Footprint + Send + Sync + Sized + 'static {
    /// Makes one of `record`, and hands it over.
    fn emit(exporter: &Exporter<Self>, scopes: &Scopes, record: &mut SdkLogRecord, scope: &InstrumentationScope);
    fn scope(&self) -> &ScopeId;
    /// About how many bytes it takes in a request.
    fn len(&self) -> usize;
    fn write<M: Message<Kind = LogRecordMessage>>(&self, m: &mut M);
}

// === impl TakenSdkLog ===

impl TakenSdkLog {
    /// The record: for a lane of its own, or to close a batch at once.
    #[must_use]
    pub fn record(&self) -> &SdkLogRecord {
        &self.record
    }

    /// What it weighs in the queue, in bytes, what it holds on the heap included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.footprint()
    }
}

impl Footprint for TakenSdkLog {
    fn heap(&self) -> usize {
        /// So many attributes of a record stand in the record itself, and the others in a list that doubles.
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
        /// Nobody but a logger can make a record to leave behind.
        static EMPTY: LazyLock<SdkLogger> = LazyLock::new(|| SdkLoggerProvider::builder().build().logger(""));
        let scope = Pen::scope_of(scopes, record, scope);
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
        Pen::write(scopes, record, scope, |item| {
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

    /// How severe it is: for a lane of its own, or to close a batch at once.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// What it weighs in the queue, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.footprint()
    }
}

/// What is written into a piece of memory with others takes no more than a piece of its own would.
impl Footprint for SdkLog {
    #[inline(always)]
    fn heap(&self) -> usize {
        heap_block(self.fields.len())
    }
}

// === impl ForebayLogProcessor ===

impl ForebayLogProcessor {
    /// Takes an exporter that has all but its encoder.
    pub fn builder<C, P>(
        exporter: ExporterBuilder<SdkLog, (), C, ByFootprint, P>,
    ) -> ProcessorBuilder<ExporterBuilder<SdkLog, (), C, ByFootprint, P>> {
        ProcessorBuilder::new(exporter)
    }
}

impl ForebayLogProcessor<TakenSdkLog> {
    /// As [`builder`](ForebayLogProcessor::builder), for a processor that **takes** the records: nothing of them is copied or
    /// written on the thread that emits them, and **processors behind this one see empty records**. Put it last.
    pub fn taking<C, P>(
        exporter: ExporterBuilder<TakenSdkLog, (), C, ByFootprint, P>,
    ) -> ProcessorBuilder<ExporterBuilder<TakenSdkLog, (), C, ByFootprint, P>> {
        ProcessorBuilder::new(exporter)
    }
}

#[expect(private_bounds, reason = "sealed")]
impl<T: LogItem> ForebayLogProcessor<T> {
    /// What became of every record so far; the counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.background.exporter().totals()
    }
}

/// The same but for the item, whose type is what tells a builder of one from that of the other.
macro_rules! build {
    ($item:ty) => {
        impl<C, P, O> ProcessorBuilder<ExporterBuilder<$item, (), C, ByFootprint, P>, O> {
            /// The processor, which runs from now on.
            ///
            /// # Errors
            ///
            /// When a knob of the exporter is out of its range, or no thread can be had. Nothing runs then.
            pub fn build<B>(self) -> Result<ForebayLogProcessor<$item>, ConfigError>
            where
                C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
                C::Error: Into<BoxError>,
                C::Future: Send,
                B: Body + Send + 'static,
                B::Data: Send,
                B::Error: Into<BoxError>,
                P: PriorityOf<$item> + Send + Sync + 'static,
                O: Observe<Notice> + Send + Sync + 'static,
            {
                let Self { exporter, protocol, flush_timeout, observer, temporality: _ } = self;
                let resource = Resourced::new(protocol.encoding());
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
