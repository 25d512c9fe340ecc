use crate::{Compression, Counters, ExportError, control::Control, counters::Counting, failures::Failures};
use forebay_batch::BatchHandle;
use forebay_breaker::BreakerHandle;
use forebay_core::{ConfigError, DropReason};
use http::{HeaderName, HeaderValue};
use std::{fmt, ops::Deref, sync::Arc};

/// Reads and changes an exporter while it runs, and does not keep it open.
///
/// Nothing that is queued or waits is lost by a change, and the circuit keeps its state. It is also the [`BatchHandle`] of
/// the exporter's batches (totals, limits, batching, flush, drain), by [`Deref`].
pub struct ExporterHandle<T> {
    batch: BatchHandle<T>,
    breaker: BreakerHandle<()>,
    control: Arc<Control>,
    counting: Arc<Counting>,
    failures: Arc<Failures>,
}

// === impl ExporterHandle ===

impl<T> ExporterHandle<T> {
    pub(crate) fn new(
        batch: BatchHandle<T>,
        breaker: BreakerHandle<()>,
        control: Arc<Control>,
        counting: Arc<Counting>,
        failures: Arc<Failures>,
    ) -> Self {
        Self { batch, breaker, control, counting, failures }
    }

    /// Sends to another endpoint from the next request on: an absolute `http` or `https` URL.
    ///
    /// The URL must come from the application. One that a server has named is to pass an
    /// [`EndpointGuard`](crate::EndpointGuard) first.
    ///
    /// # Errors
    ///
    /// As when the exporter is built; everything stays as it was then.
    pub fn set_endpoint(&self, url: &str) -> Result<(), ConfigError> {
        let endpoint = url.parse()?;
        self.control.change(|settings| {
            settings.endpoint = endpoint;
            Ok(())
        })
    }

    /// Sets a header of every request from the next one on: a new key, say. The value is treated as a secret.
    ///
    /// # Errors
    ///
    /// When it cannot be a header, or would be the first credential that goes over plain `http` to another machine.
    pub fn set_header<N, V>(&self, name: N, value: V) -> Result<(), ConfigError>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.control.change(|settings| settings.set_header(name, value))
    }

    /// Compresses bodies this way from the next request on.
    ///
    /// # Errors
    ///
    /// When the level is out of its range.
    pub fn set_compression(&self, compression: Compression) -> Result<(), ConfigError> {
        self.control.change(|settings| {
            settings.compression = compression;
            Ok(())
        })
    }

    /// State and control of the circuit: `breaker().set_mode(&(), Mode::ForcedOpen)`.
    #[must_use]
    pub fn breaker(&self) -> &BreakerHandle<()> {
        &self.breaker
    }

    /// Whether the exporter is switched on, as it is from the beginning.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.control.is_on()
    }

    /// Requests, retries, and how often the circuit opened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counting.read()
    }

    /// The last export that failed, if any has.
    #[must_use]
    pub fn last_error(&self) -> Option<ExportError> {
        self.failures.last()
    }
}

impl<T: Send + Sync + 'static> ExporterHandle<T> {
    /// The kill switch: from now on nothing is sent.
    ///
    /// What is queued, waits or is in flight is dropped as [`Disabled`](DropReason::Disabled). What comes later is dropped
    /// at once, for the price of one relaxed load; it is not offered, and not counted.
    pub fn switch_off(&self) {
        self.control.switch(false);
        self.batch.discard(DropReason::Disabled);
    }

    /// Takes items again.
    pub fn switch_on(&self) {
        self.control.switch(true);
    }
}

impl<T> Deref for ExporterHandle<T> {
    type Target = BatchHandle<T>;

    fn deref(&self) -> &BatchHandle<T> {
        &self.batch
    }
}

impl<T> Clone for ExporterHandle<T> {
    fn clone(&self) -> Self {
        Self {
            batch: self.batch.clone(),
            breaker: self.breaker.clone(),
            control: Arc::clone(&self.control),
            counting: Arc::clone(&self.counting),
            failures: Arc::clone(&self.failures),
        }
    }
}

impl<T> fmt::Debug for ExporterHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterHandle")
            .field("batch", &self.batch)
            .field("is_on", &self.is_on())
            .finish_non_exhaustive()
    }
}
