use crate::{
    Compression, Counters, Endpoint, EndpointStatus, Endpoints, ExportError, control::Control, counters::Counting,
    credential::request_header_of, endpoints::LiveEndpoints, telemetry::Telemetry, trace,
};
use forebay_batch::{BatchHandle, Batching};
use forebay_breaker::BreakerHandle;
use forebay_core::{ConfigError, Deadline, DropReason, Totals};
use forebay_intake::{DrainReport, Flush, Limits, Timer, now};
use http::{HeaderName, HeaderValue};
use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};
use tokio::sync::{Notify, watch};

/// Reads and changes an exporter while it runs, and does not keep it open.
///
/// A change loses nothing that is queued or parked, and the circuit keeps its state.
pub struct ExporterHandle<T> {
    batch: BatchHandle<T>,
    breaker: BreakerHandle<()>,
    /// The settings that the handle changes.
    control: Arc<Control>,
    /// The endpoints, where there are several.
    live: Option<Arc<dyn LiveEndpoints>>,
    /// The counts of the layers, without those of the batcher.
    counting: Arc<Counting>,
    telemetry: Arc<Telemetry>,
    ending: Ending,
}

/// What a drain does with what is not delivered in time.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// It is reported as not sent.
    Drain,
    /// It is spooled.
    Spool,
    /// It is spooled already, and sent out of the spool for as long as there is time.
    Replay {
        /// Closed once all is sent.
        running: watch::Receiver<()>,
        /// Ends the replay where the time is over.
        stop: Arc<Notify>,
    },
}

/// The longest time of a drain that is kept for the spool.
const TO_SPOOL: Duration = Duration::from_secs(1);

// === impl ExporterHandle ===

impl<T> ExporterHandle<T> {
    pub(crate) fn new(
        batch: BatchHandle<T>,
        breaker: BreakerHandle<()>,
        control: Arc<Control>,
        live: Option<Arc<dyn LiveEndpoints>>,
        counting: Arc<Counting>,
        telemetry: Arc<Telemetry>,
        ending: Ending,
    ) -> Self {
        Self { batch, breaker, control, live, counting, telemetry, ending }
    }

    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    pub(crate) fn counting(&self) -> &Counting {
        &self.counting
    }

    /// Updates the metrics, where there are any.
    pub(crate) fn refresh_metrics(&self) {
        self.telemetry.meters.record(self);
    }

    /// Updates the metrics: for a scrape between two exports, after each of which the exporter does so itself.
    ///
    /// They go to the recorder that was installed when the exporter was built.
    #[cfg(feature = "metrics")]
    #[cfg_attr(docsrs, doc(cfg(feature = "metrics")))]
    pub fn record_metrics(&self) {
        self.refresh_metrics();
    }

    /// The name of the exporter in metrics and events; see [`ExporterBuilder::name`](crate::ExporterBuilder::name).
    #[must_use]
    pub fn name(&self) -> &str {
        &self.telemetry.name
    }

    /// The fate of every item so far. The counts are of one instant.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.batch.totals()
    }

    /// Items that wait, without those in flight.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.batch.queued()
    }

    /// Bytes that are held, queued, parked and in flight.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batch.bytes()
    }

    /// How full the exporter is: the larger of the shares of items and of bytes, from 0.0 to 1.0.
    #[must_use]
    pub fn fullness(&self) -> f64 {
        self.batch.fullness()
    }

    /// The greatest number of items that may be held.
    #[must_use]
    pub fn max_items(&self) -> u64 {
        self.batch.max_items()
    }

    /// The greatest number of bytes that may be held.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.batch.max_bytes()
    }

    /// Requests, retries, and how often the circuit opened so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counting.read(self.batch.closure_panics())
    }

    /// The last export that failed, if any has.
    #[must_use]
    pub fn last_error(&self) -> Option<ExportError> {
        self.telemetry.last_error()
    }

    /// Sends to another endpoint from the next request on: an absolute `http` or `https` URL.
    ///
    /// The URL must come from the application. One that a server has named must pass an
    /// [`EndpointGuard`](crate::EndpointGuard) first.
    ///
    /// # Errors
    ///
    /// Returns the errors of [`ExporterBuilder::build`](crate::ExporterBuilder::build); nothing is changed then.
    pub fn set_endpoint(&self, url: &str) -> Result<(), ConfigError> {
        self.has_one("set_endpoint", "`set_endpoints`")?;
        let endpoint: Endpoint = url.parse()?;
        let given = endpoint.clone();
        self.control.change(|settings| settings.endpoint = Ok(given))?;
        trace::endpoint_changed(&self.telemetry.name, &endpoint);
        Ok(())
    }

    fn has_one(&self, knob: &'static str, instead: &str) -> Result<(), ConfigError> {
        match self.live {
            None => Ok(()),
            Some(_) => Err(ConfigError::new(knob, "called where there are several endpoints", instead)),
        }
    }

    /// Replaces the endpoints of an exporter that was built with [`endpoints`](crate::ExporterBuilder::endpoints).
    ///
    /// An endpoint is known by its [name](crate::Destination::name): one that stays keeps its circuit, the pause that it has asked
    /// for, its limit in flight and the sizes that it takes; its headers and its credential are the new ones. What is in flight at
    /// one that is removed ends as it would; what it does not take goes to those that are there. The URLs must come from the
    /// application: see [`set_endpoint`](Self::set_endpoint).
    ///
    /// # Errors
    ///
    /// Returns the errors of [`ExporterBuilder::build`](crate::ExporterBuilder::build), also where the exporter was built with a
    /// single [`endpoint`](crate::ExporterBuilder::endpoint); nothing is changed then.
    pub fn set_endpoints(&self, endpoints: impl Into<Endpoints>) -> Result<(), ConfigError> {
        let Some(live) = &self.live else {
            let value = "set where there is one endpoint";
            return Err(ConfigError::new("set_endpoints", value, "an exporter that is built with `endpoints`"));
        };
        let endpoints = endpoints.into();
        let count = endpoints.destinations().len();
        live.set(endpoints)?;
        trace::endpoints_changed(&self.telemetry.name, count);
        Ok(())
    }

    /// What is known of each endpoint now, in their order; empty for an exporter that was built with a single
    /// [`endpoint`](crate::ExporterBuilder::endpoint).
    #[must_use]
    pub fn endpoints(&self) -> Vec<EndpointStatus> {
        self.live.as_ref().map(|live| live.status()).unwrap_or_default()
    }

    /// Sets a header of every request from the next one on, such as a new key. The value is treated as a secret.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when it cannot be a header, or would be the first credential that goes over plain `http` to
    /// another machine.
    pub fn set_header<N, V>(&self, name: N, value: V) -> Result<(), ConfigError>
    where
        N: TryInto<HeaderName>,
        V: TryInto<HeaderValue>,
    {
        self.has_one("set_header", "`set_endpoints`, with the headers of each endpoint")?;
        // The conversions may be user code, so they run before the lock is taken.
        let (name, value) = request_header_of(name, value)?;
        self.control.change(|settings| {
            if let Ok(headers) = &mut settings.headers {
                headers.insert(name, value);
            }
        })
    }

    /// Compresses bodies this way from the next request on.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when the level is out of its range.
    pub fn set_compression(&self, compression: Compression) -> Result<(), ConfigError> {
        self.control.change(|settings| settings.compression = compression)
    }

    /// Changes how much may be held. Nothing that is held is lost; above lower limits nothing is admitted until enough has
    /// left.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when a knob is out of its range; nothing is changed then.
    pub fn set_limits(&self, limits: Limits) -> Result<(), ConfigError> {
        self.batch.set_limits(limits)
    }

    /// The handle of the exporter's batches, with all that a batcher can read and change.
    #[must_use]
    pub fn batch(&self) -> &BatchHandle<T> {
        &self.batch
    }

    /// State and control of the circuit: `breaker().set_mode(&(), Mode::ForcedOpen)`.
    ///
    /// Where there are several endpoints, it stands above all of them: it counts exports that none of them has taken, and forced open
    /// it stops them all. The circuit of each endpoint is in [`endpoints`](Self::endpoints).
    #[must_use]
    pub fn breaker(&self) -> &BreakerHandle<()> {
        &self.breaker
    }

    /// Whether the exporter is switched on, which it is after its build.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.control.is_on()
    }

    /// Admits no more items. Those that were admitted are sent.
    pub fn close(&self) {
        self.batch.close();
    }

    /// Sends what is held now, and waits until every item that was handed over before this call has a fate.
    ///
    /// # Cancellation
    ///
    /// A dropped flush changes nothing; the items are sent all the same.
    pub fn flush(&self) -> Flush<T> {
        self.batch.flush()
    }

    /// Closes the exporter, sends what is held, and ends no later than 20 ms after `deadline`. The report has the items that
    /// were not sent, as far as they could be recovered; those that a spool has kept are not among them. See [`Exporter::shutdown`](crate::Exporter::shutdown).
    ///
    /// # Cancellation
    ///
    /// A dropped drain leaves the exporter closed; its items are sent all the same.
    pub async fn drain(&self, deadline: Duration) -> DrainReport<T> {
        let _ending = self.control.end_by(Deadline::after(deadline));
        let began = now();
        let left = || deadline.saturating_sub(now().saturating_duration_since(began));
        match &self.ending {
            Ending::Drain => {}
            Ending::Spool => {
                self.batch.close();
                let to_spool = deadline.checked_div(4).unwrap_or_default().min(TO_SPOOL);
                if !self.batch.is_flushed_within(deadline.saturating_sub(to_spool)).await {
                    self.batch.spool_rest();
                }
            }
            Ending::Replay { running, stop } => {
                self.batch.close();
                if self.batch.is_flushed_within(deadline).await {
                    let mut running = running.clone();
                    let (mut timer, due) = (Timer::default(), now().checked_add(left()));
                    let mut ended = pin!(running.changed());
                    // Whether all was sent or the time is over: the totals say which.
                    poll_fn(|cx| match ended.as_mut().poll(cx) {
                        Poll::Ready(_closed) => Poll::Ready(()),
                        Poll::Pending => timer.poll(due, cx),
                    })
                    .await;
                }
                stop.notify_one();
            }
        }
        self.batch.drain(left()).await
    }
}

impl<T: Send + Sync + 'static> ExporterHandle<T> {
    /// When batches close, and how many are in flight.
    #[must_use]
    pub fn batching(&self) -> Batching {
        self.batch.batching()
    }

    /// Changes when batches close, and how many are in flight. An open batch obeys at its next item, or when its time ends.
    ///
    /// A number in flight that is not set is that of the [builder](crate::ExporterBuilder::batching).
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] when a knob is out of its range; nothing is changed then.
    pub fn set_batching(&self, batching: Batching) -> Result<(), ConfigError> {
        self.batch.set_batching(batching)
    }

    /// The kill switch: from now on nothing is sent.
    ///
    /// Items that are queued, parked or in flight are dropped as [`Disabled`](DropReason::Disabled). A later item is dropped
    /// at once, for the price of one relaxed load; it is not offered, and not counted.
    pub fn switch_off(&self) {
        // CORRECTNESS: the switch turns first, so that no item is admitted after the discard and then sent.
        self.control.switch(false);
        self.batch.discard(DropReason::Disabled);
        trace::switched(&self.telemetry.name, false);
    }

    /// Admits items again.
    pub fn switch_on(&self) {
        self.control.switch(true);
        trace::switched(&self.telemetry.name, true);
    }
}

impl<T> Clone for ExporterHandle<T> {
    fn clone(&self) -> Self {
        Self {
            batch: self.batch.clone(),
            breaker: self.breaker.clone(),
            control: Arc::clone(&self.control),
            live: self.live.clone(),
            counting: Arc::clone(&self.counting),
            telemetry: Arc::clone(&self.telemetry),
            ending: self.ending.clone(),
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
