use crate::Protocol;
use opentelemetry_sdk::metrics::Temporality;
use std::time::Duration;

/// Builds a processor, or an exporter of metrics, from an exporter builder without an encoder.
///
/// | knob | default |
/// | --- | --- |
/// | [`protocol`](Self::protocol) | `http/protobuf` |
/// | [`flush_timeout`](Self::flush_timeout) | 30 s |
/// | [`observe`](Self::observe) | `()`: responses are only settled |
///
/// [`environment`](Self::environment) takes the protocol and the exporter's endpoint, headers, compression and timeout from the
/// `OTEL_EXPORTER_OTLP_*` variables. All other knobs are those of the exporter: its limits, its batching, its retries.
///
/// Several requests may be under way at a time, as OTLP recommends for [throughput]; how many, the exporter
/// [finds](forebay_export::Adaptive). The rule that `Export` is never called concurrently protects an exporter of the SDK, and does
/// not mean that the [exporting] is not concurrent; a processor of this crate calls no such exporter. `max_in_flight(1)` in the
/// batching of the exporter sends one request at a time, in the order in which the records were emitted. Metrics do so by default.
///
/// [throughput]: https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-concurrent-requests
/// [exporting]: https://opentelemetry.io/docs/specs/otel/logs/sdk/#export
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ProcessorBuilder<E, O = ()> {
    pub(super) exporter: E,
    pub(super) protocol: Protocol,
    pub(super) flush_timeout: Duration,
    pub(super) observer: O,
    /// Used for metrics only.
    pub(super) temporality: Temporality,
}

// === impl ProcessorBuilder ===

impl<E> ProcessorBuilder<E> {
    pub(super) fn new(exporter: E) -> Self {
        Self {
            exporter,
            protocol: Protocol::default(),
            flush_timeout: Duration::from_secs(30),
            observer: (),
            temporality: Temporality::Cumulative,
        }
    }
}

impl<E, O> ProcessorBuilder<E, O> {
    /// Sets how requests are encoded.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// Sets how long `force_flush` waits for the fates of all items before it returns an error, and how long a processor that is
    /// dropped without a shutdown continues to send.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// Sets the observer of what servers report in their responses: a closure `Fn(&OtlpEvent)`, or any
    /// [`Observe<OtlpEvent>`](forebay_core::Observe).
    pub fn observe<P>(self, observer: P) -> ProcessorBuilder<E, P> {
        let Self { exporter, protocol, flush_timeout, observer: _, temporality } = self;
        ProcessorBuilder { exporter, protocol, flush_timeout, observer, temporality }
    }
}
