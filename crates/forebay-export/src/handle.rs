use crate::{
    Compression, Counters, Endpoint, ExportError, control::Control, counters::Counting, credential::request_header_of,
    journal::Journal, trace,
};
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
    journal: Arc<Journal>,
}

// === impl ExporterHandle ===

impl<T> ExporterHandle<T> {
    pub(crate) fn new(
        batch: BatchHandle<T>,
        breaker: BreakerHandle<()>,
        control: Arc<Control>,
        counting: Arc<Counting>,
        journal: Arc<Journal>,
    ) -> Self {
        Self { batch, breaker, control, counting, journal }
    }

    pub(crate) fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Brings the metrics up to date, where there are any.
    pub(crate) fn refresh_metrics(&self) {
        self.journal.meters.record(self);
    }

    /// Brings the metrics up to date: for a scrape between two exports, after each of which the exporter does so itself.
    ///
    /// They go to the recorder that was there when the exporter was built.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn record_metrics(&self) {
        self.refresh_metrics();
    }

    /// What tells the exporter from others in metrics and events; see [`ExporterBuilder::name`](crate::ExporterBuilder::name).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.journal.name
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
        let endpoint: Endpoint = url.parse()?;
        let given = endpoint.clone();
        self.control.change(|settings| {
            settings.endpoint = given;
            Ok(())
        })?;
        trace::endpoint_changed(&self.journal.name, &endpoint);
        Ok(())
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
        // Before the lock is taken: the conversions may be code of the user.
        let (name, value) = request_header_of(name, value)?;
        self.control.change(|settings| {
            settings.headers.insert(name, value);
            Ok(())
        })
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
        Counters { closure_panics: self.closure_panics(), ..self.counting.read() }
    }

    /// The last export that failed, if any has.
    #[must_use]
    pub fn last_error(&self) -> Option<ExportError> {
        self.journal.last()
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
        trace::switched(&self.journal.name, false);
    }

    /// Takes items again.
    pub fn switch_on(&self) {
        self.control.switch(true);
        trace::switched(&self.journal.name, true);
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
            journal: Arc::clone(&self.journal),
        }
    }
}

impl<T> fmt::Debug for ExporterHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExporterHandle")
            .field("name", &self.name())
            .field("batch", &self.batch)
            .field("is_on", &self.is_on())
            .finish_non_exhaustive()
    }
}
