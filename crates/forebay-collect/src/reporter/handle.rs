use super::{ReportEnd, ReporterBuilder, worker::Command};
use crate::{cap::Capped, filter::LiveFilter, schedule::Schedule, series::Labels};
use arc_swap::ArcSwap;
use forebay_core::ConfigError;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

/// Gathers series on a timer, and passes them to a service as one report.
///
/// Clones share it. After the drop of the last one, the worker makes a last report and ends.
///
/// ```
/// use forebay_collect::{Filter, Gathering, ReportEnd, Reporter, Series};
/// use std::{convert::Infallible, time::Duration};
/// use tower::service_fn;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), forebay_core::BoxError> {
/// // Yours: an exporter's `emit` for each series, or a request.
/// let sink = service_fn(|report: Vec<Series>| async move {
///     println!("{} series", report.len());
///     Ok::<(), Infallible>(())
/// });
/// let (reporter, worker) = Reporter::builder()
///     .source(|into: &mut Gathering<'_>| into.gauge("queue.depth", 3.0))
///     .labels([("node", "a")])
///     .interval(Duration::from_secs(60))
///     .build(sink)?;
/// let worker = tokio::spawn(worker.run());
///
/// assert_eq!(reporter.flush().await, Some(ReportEnd::Exported));
/// let counts = reporter.shutdown(Duration::from_secs(5)).await;
/// worker.await?;
/// assert_eq!((counts.exported, counts.series), (2, 2)); // with the last one
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Reporter {
    shared: Arc<Shared>,
    /// The worker makes a last report and ends when the last sender is dropped.
    commands: mpsc::Sender<Command>,
    /// Set when a shutdown has passed its deadline.
    stop: Arc<watch::Sender<bool>>,
}

/// The counts of a reporter so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReporterCounts {
    /// Reports that the service accepted.
    pub exported: u64,
    /// Reports for which the service had no destination.
    pub skipped: u64,
    /// Reports without any series, for which the service was not called.
    pub empty: u64,
    /// Reports that the service failed to send.
    pub failed: u64,
    /// Series in the reports that the service accepted.
    pub series: u64,
    /// Series with unwanted names, without those that their sources left out themselves.
    pub filtered: u64,
    /// Series that were added to an overflow series.
    pub overflowed: u64,
    /// Series beyond the limit that could not be added to an overflow series.
    pub lost: u64,
    /// Sources that panicked.
    pub panicked: u64,
}

pub(super) struct Shared {
    pub(super) filter: LiveFilter,
    pub(super) labels: ArcSwap<Labels>,
    /// In the order of the fields of [`ReporterCounts`].
    counts: [AtomicU64; 9],
}

// === impl Reporter ===

impl Reporter {
    /// A builder with the defaults of [`ReporterBuilder`].
    pub fn builder() -> ReporterBuilder {
        ReporterBuilder::new()
    }

    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Sender<Command>, stop: watch::Sender<bool>) -> Self {
        Self { shared, commands, stop: Arc::new(stop) }
    }

    /// Gathers and reports now, and returns the result; `None` if the worker has ended. The timer continues as before.
    ///
    /// # Cancellation
    /// The report is made all the same.
    pub async fn flush(&self) -> Option<ReportEnd> {
        let (sender, reply) = oneshot::channel();
        // Both fail only when the worker has ended.
        self.commands.send(Command::Flush(sender)).await.ok()?;
        reply.await.ok()
    }

    /// Sets another interval: the next report is due after 0.5 to 1.5 of it, or the share that the spread sets.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] if it is 0 or longer than 365 days; nothing is changed then.
    pub async fn set_interval(&self, interval: Duration) -> Result<(), ConfigError> {
        Schedule::new(interval)?;
        // A worker that has ended needs no interval.
        drop(self.commands.send(Command::Interval(interval)).await);
        Ok(())
    }

    /// Sets other labels, from the next report on. Series with the old labels are no longer reported.
    pub fn set_labels(&self, labels: impl Into<Labels>) {
        self.shared.labels.store(Arc::new(labels.into()));
    }

    /// The filter, which can be swapped.
    #[must_use]
    pub fn filter(&self) -> &LiveFilter {
        &self.shared.filter
    }

    /// The counts so far.
    #[must_use]
    pub fn counts(&self) -> ReporterCounts {
        self.shared.counts()
    }

    /// Makes a last report and ends the worker, or abandons the report under way when `deadline` has passed.
    ///
    /// # Cancellation
    /// The worker ends all the same, after its last report.
    pub async fn shutdown(self, deadline: Duration) -> ReporterCounts {
        let (sender, reply) = oneshot::channel();
        let last = async {
            if self.commands.send(Command::Shutdown(sender)).await.is_ok() {
                // An error means that the worker has ended, as it should.
                drop(reply.await);
            }
        };
        // CANCEL: a dropped shutdown leaves the command in the channel, and the worker obeys it.
        if timeout(deadline, last).await.is_err() {
            self.stop.send_replace(true);
        }
        self.counts()
    }
}

impl fmt::Debug for Reporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reporter").field("counts", &self.counts()).finish_non_exhaustive()
    }
}

// === impl Shared ===

impl Shared {
    pub(super) fn new(filter: LiveFilter, labels: ArcSwap<Labels>) -> Self {
        Self { filter, labels, counts: Default::default() }
    }

    fn counts(&self) -> ReporterCounts {
        let [exported, skipped, empty, failed, series, filtered, overflowed, lost, panicked] =
            self.counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        ReporterCounts { exported, skipped, empty, failed, series, filtered, overflowed, lost, panicked }
    }

    pub(super) fn ended(&self, end: ReportEnd, series: usize) {
        let at = match end {
            ReportEnd::Exported => 0,
            ReportEnd::Skipped => 1,
            ReportEnd::Empty => 2,
            ReportEnd::Failed => 3,
        };
        if end == ReportEnd::Exported {
            self.add(4, u64::try_from(series).unwrap_or(u64::MAX));
        }
        self.add(at, 1);
    }

    pub(super) fn gathered(&self, filtered: u64, capped: Capped, panicked: u64) {
        self.add(5, filtered);
        self.add(6, capped.overflowed);
        self.add(7, capped.lost);
        self.add(8, panicked);
    }

    fn add(&self, at: usize, more: u64) {
        self.counts[at].fetch_add(more, Ordering::Relaxed);
    }
}
