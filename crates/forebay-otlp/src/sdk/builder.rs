use crate::Protocol;
use opentelemetry_sdk::metrics::Temporality;
use std::time::Duration;

/// Makes a processor, or an exporter of metrics, of an exporter that has all but its encoder.
///
/// | knob | default |
/// | --- | --- |
/// | [`protocol`](Self::protocol) | `http/protobuf` |
/// | [`flush_timeout`](Self::flush_timeout) | 30 s |
/// | [`observe`](Self::observe) | `()`: what servers say is only settled |
///
/// All else is configured on the exporter: its queue, its batches, its retries.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct ProcessorBuilder<E, O = ()> {
    pub(super) exporter: E,
    pub(super) protocol: Protocol,
    pub(super) flush_timeout: Duration,
    pub(super) observer: O,
    /// Of metrics only.
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
    /// How requests are encoded.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }

    /// How long `force_flush` waits for everything to be settled before it says that it has not been, and how long a
    /// processor that is dropped without being shut down goes on sending.
    pub fn flush_timeout(mut self, timeout: Duration) -> Self {
        self.flush_timeout = timeout;
        self
    }

    /// Sees what servers say in their answers: a closure `Fn(&Notice)`, or any
    /// [`Observe<Notice>`](forebay_core::Observe).
    pub fn observe<P>(self, observer: P) -> ProcessorBuilder<E, P> {
        let Self { exporter, protocol, flush_timeout, observer: _, temporality } = self;
        ProcessorBuilder { exporter, protocol, flush_timeout, observer, temporality }
    }
}
