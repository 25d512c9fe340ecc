use super::{
    background::Background,
    builder::ProcessorBuilder,
    encode::LateEncoder,
    origin::{LateResource, ScopeOf},
    values::{attributes, heap_of, heap_of_list},
};
use crate::{
    origin::AsScope,
    settle::OtlpEvent,
    signal::Traces,
    time::unix_nanos,
    traces::{AsSpan, SpanEventWriter, SpanKind, SpanLinkWriter, SpanWriter, StatusCode, span_flags},
};
use bytes::Bytes;
use forebay_core::{BoxError, ByFootprint, ConfigError, Footprint, Observe, Totals, heap_block};
use forebay_export::ExporterBuilder;
use forebay_intake::PriorityOf;
use http::{Request, Response};
use http_body::Body;
use http_body_util::Full;
use opentelemetry::{
    Context, InstrumentationScope, KeyValue,
    trace::{self, Status},
};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Span, SpanData, SpanProcessor},
};
use std::{fmt, time::Duration};
use tower_service::Service;

/// Sends the spans of the SDK, in place of `BatchSpanProcessor`.
///
/// ```no_run
/// # use forebay_otlp::sdk::ForebaySpanProcessor;
/// # use forebay_export::Exporter;
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// # let client = tower::service_fn(|_: http::Request<http_body_util::Full<bytes::Bytes>>| async {
/// #     Ok::<_, std::io::Error>(http::Response::new(http_body_util::Full::new(bytes::Bytes::new())))
/// # });
/// let exporter = Exporter::builder().endpoint("http://localhost:4318/v1/traces").client(client);
/// let provider = SdkTracerProvider::builder()
///     // before: .with_batch_exporter(SpanExporter::builder().with_http().build()?)
///     .with_span_processor(ForebaySpanProcessor::builder(exporter).build()?)
///     .build();
/// # Ok(())
/// # }
/// ```
///
/// The SDK passes an ended span by value, so the span is **moved** into the queue, and the thread that sends it encodes it.
///
/// It runs on a thread of its own, in which telemetry is suppressed: the spans of its HTTP client are never exported.
pub struct ForebaySpanProcessor {
    background: Background<SdkSpan>,
    resource: LateResource,
}

/// A span of the SDK that has ended.
#[derive(Clone, Debug)]
pub struct SdkSpan(SpanData);

// === impl SdkSpan ===

impl SdkSpan {
    /// The data of the SDK. It can decide over the lane, or close a batch at once.
    #[must_use]
    pub fn data(&self) -> &SpanData {
        &self.0
    }

    /// The weight of the span in the queue, in bytes, its heap memory included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.footprint()
    }
}

impl Footprint for SdkSpan {
    fn heap(&self) -> usize {
        let span = &self.0;
        let (events, links) = (&span.events.events, &span.links.links);
        let of_events = events.iter().map(|event| event.name.heap() + heap_of_list(&event.attributes)).sum::<usize>();
        let of_links = links.iter().map(|link| heap_of_state(&link.span_context) + heap_of_list(&link.attributes));
        let status = match &span.status {
            Status::Error { description } => description.heap(),
            Status::Unset | Status::Ok => 0,
        };
        span.name.heap()
            + heap_of_state(&span.span_context)
            + heap_of_list(&span.attributes)
            + heap_block(events.capacity() * size_of::<trace::Event>())
            + of_events
            + heap_block(links.capacity() * size_of::<trace::Link>())
            + of_links.sum::<usize>()
            + status
            + heap_of_scope(&span.instrumentation_scope)
    }
}

/// The list of a `tracestate`, which most spans do not have.
fn heap_of_state(context: &trace::SpanContext) -> usize {
    let pairs = context.trace_state().into_iter();
    pairs.map(|(key, value)| size_of::<(String, String)>() + heap_block(key.len()) + heap_block(value.len())).sum()
}

/// Each span has a scope of its own. Its texts are usually static, which is not visible here, so they count as if they were not.
fn heap_of_scope(scope: &InstrumentationScope) -> usize {
    let texts = [Some(scope.name()), scope.version(), scope.schema_url()].into_iter().flatten();
    let attributes = scope.attributes().count() * size_of::<KeyValue>();
    texts.map(|text| heap_block(text.len())).sum::<usize>() + heap_block(attributes) + heap_of(scope.attributes())
}

impl AsSpan for SdkSpan {
    fn span<W: SpanWriter>(&self, w: &mut W) {
        let span = &self.0;
        let context = &span.span_context;
        w.trace_id(context.trace_id().to_bytes());
        w.span_id(context.span_id().to_bytes());
        w.trace_state(&context.trace_state().header());
        w.parent_span_id(span.parent_span_id.to_bytes());
        w.name(&span.name);
        w.kind(match span.span_kind {
            trace::SpanKind::Client => SpanKind::Client,
            trace::SpanKind::Server => SpanKind::Server,
            trace::SpanKind::Producer => SpanKind::Producer,
            trace::SpanKind::Consumer => SpanKind::Consumer,
            trace::SpanKind::Internal => SpanKind::Internal,
        });
        w.start_time_unix_nano(unix_nanos(span.start_time));
        w.end_time_unix_nano(unix_nanos(span.end_time));
        attributes(&span.attributes, w);
        w.dropped_attributes_count(span.dropped_attributes_count);
        for event in span.events.iter() {
            w.event(|w| {
                w.time_unix_nano(unix_nanos(event.timestamp));
                w.name(&event.name);
                attributes(&event.attributes, w);
                w.dropped_attributes_count(event.dropped_attributes_count);
            });
        }
        w.dropped_events_count(span.events.dropped_count);
        for link in span.links.iter() {
            w.link(|w| {
                let context = &link.span_context;
                w.trace_id(context.trace_id().to_bytes());
                w.span_id(context.span_id().to_bytes());
                w.trace_state(&context.trace_state().header());
                attributes(&link.attributes, w);
                w.dropped_attributes_count(link.dropped_attributes_count);
                w.flags(span_flags(context.trace_flags().to_u8(), Some(context.is_remote())));
            });
        }
        w.dropped_links_count(span.links.dropped_count);
        match &span.status {
            Status::Unset => {}
            Status::Ok => w.status(StatusCode::Ok, ""),
            Status::Error { description } => w.status(StatusCode::Error, description),
        }
        w.flags(span_flags(context.trace_flags().to_u8(), Some(span.parent_span_is_remote)));
    }

    fn scope(&self) -> Option<impl AsScope> {
        Some(ScopeOf { scope: &self.0.instrumentation_scope, target: None })
    }
}

// === impl ForebaySpanProcessor ===

impl ForebaySpanProcessor {
    /// A builder over an exporter builder without an encoder.
    pub fn builder<C, P>(
        exporter: ExporterBuilder<SdkSpan, (), C, ByFootprint, P>,
    ) -> ProcessorBuilder<ExporterBuilder<SdkSpan, (), C, ByFootprint, P>> {
        ProcessorBuilder::new(exporter)
    }

    /// The fate of every span so far. The counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.background.exporter().totals()
    }
}

impl<C, P, O> ProcessorBuilder<ExporterBuilder<SdkSpan, (), C, ByFootprint, P>, O> {
    /// Starts the processor.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when a knob of the exporter is out of its range, or no thread can be started. Nothing runs then.
    pub fn build<B>(self) -> Result<ForebaySpanProcessor, ConfigError>
    where
        C: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
        C::Error: Into<BoxError>,
        C::Future: Send,
        B: Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<BoxError>,
        P: PriorityOf<SdkSpan> + Send + Sync + 'static,
        O: Observe<OtlpEvent> + Send + Sync + 'static,
    {
        let Self { exporter, protocol, flush_timeout, observer, temporality: _ } = self;
        let resource = LateResource::new(protocol.encoding());
        let encoder = LateEncoder::<Traces, O>::new(protocol, resource.clone(), observer);
        let exporter = exporter.encoder(encoder);
        let background = Background::start("spans", flush_timeout, move || exporter.build())?;
        Ok(ForebaySpanProcessor { background, resource })
    }
}

impl SpanProcessor for ForebaySpanProcessor {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        // A span that is not sampled may still be recorded, for other processors; it must not be exported.
        if span.span_context.is_sampled() {
            self.background.exporter().emit(SdkSpan(span));
        }
    }

    /// Waits until every span that ended before has a fate; see [`ProcessorBuilder::flush_timeout`].
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

impl fmt::Debug for ForebaySpanProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForebaySpanProcessor").field("totals", &self.totals()).finish_non_exhaustive()
    }
}
