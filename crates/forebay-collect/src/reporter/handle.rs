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

/// Gathers series every so often, and hands them to a service as one report.
///
/// Clones share it. When the last one goes, the worker makes a last report and ends.
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
    commands: mpsc::Sender<Command>,
    stop: Arc<watch::Sender<bool>>,
}

/// What a reporter has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReporterCounts {
    /// Reports that the service took.
    pub exported: u64,
    /// Reports that the service had nowhere to send.
    pub skipped: u64,
    /// Reports without any series, for which the service was not called.
    pub empty: u64,
    /// Reports that the service failed to send.
    pub failed: u64,
    /// Series in the reports that the service took.
    pub series: u64,
    /// Series whose names were not wanted, where their sources had not asked before.
    pub filtered: u64,
    /// Series that were added up in an overflow series.
    pub overflowed: u64,
    /// Series that were too many, and could not be added up.
    pub lost: u64,
    /// Sources that panicked.
    pub panicked: u64,
}

pub(super) struct Shared {
    pub(super) filter: LiveFilter,
    pub(super) labels: ArcSwap<Labels>,
    counts: [AtomicU64; 9],
}

// === impl Reporter ===

impl Reporter {
    /// What can be configured, with its defaults.
    pub fn builder() -> ReporterBuilder {
        ReporterBuilder::new()
    }

    pub(super) fn new(shared: Arc<Shared>, commands: mpsc::Sender<Command>, stop: watch::Sender<bool>) -> Self {
        Self { shared, commands, stop: Arc::new(stop) }
    }

    /// Gathers and reports now, and says what became of it; `None` if the worker is gone. The timer goes on as before.
    ///
    /// # Cancellation
    /// The report is made in any case.
    pub async fn flush(&self) -> Option<ReportEnd> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Flush(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Sets another interval: the next report comes after 0.5 to 1.5 of it, or whatever the spread is.
    ///
    /// # Errors
    /// If it is 0 or longer than a year; nothing is changed then.
    pub async fn set_interval(&self, interval: Duration) -> Result<(), ConfigError> {
        Schedule::new(interval)?;
        // A worker that is gone reports at no interval at all.
        drop(self.commands.send(Command::Interval(interval)).await);
        Ok(())
    }

    /// Sets other labels, from the next report on. Series with the old ones are reported no more.
    pub fn set_labels(&self, labels: impl Into<Labels>) {
        self.shared.labels.store(Arc::new(labels.into()));
    }

    /// The filter, to be swapped.
    #[must_use]
    pub fn filter(&self) -> &LiveFilter {
        &self.shared.filter
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> ReporterCounts {
        self.shared.counts()
    }

    /// Makes a last report and ends the worker, or abandons what is under way when `deadline` has passed.
    ///
    /// # Cancellation
    /// The worker ends all the same, after its last report.
    pub async fn shutdown(self, deadline: Duration) -> ReporterCounts {
        let (reply, answer) = oneshot::channel();
        let last = async {
            if self.commands.send(Command::Shutdown(reply)).await.is_ok() {
                // An error says that the worker is gone, which is what was wanted.
                drop(answer.await);
            }
        };
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
