use super::{IntoReportEnd, ReportEnd, handle::Shared};
use crate::{
    cap::CardinalityCap,
    schedule::Schedule,
    series::{Precedence, Series},
    source::{Gathering, Source},
};
use forebay_core::{panic, time::saturating_add};
use futures_util::future::{Either, select};
use std::{fmt, future::poll_fn, pin::pin, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};
use tower_service::Service;

/// Gathers and reports until its [`Reporter`](super::Reporter) is shut down.
#[must_use = "a worker does nothing until `run` is polled"]
pub struct ReporterWorker<S> {
    pub(super) service: S,
    pub(super) schedule: Schedule,
    pub(super) timeout: Duration,
    pub(super) pipeline: Pipeline,
    pub(super) inbox: mpsc::Receiver<Command>,
    pub(super) stopped: watch::Receiver<bool>,
}

pub(super) enum Command {
    Flush(oneshot::Sender<ReportEnd>),
    Interval(Duration),
    Shutdown(oneshot::Sender<()>),
}

pub(super) type Clock = fn() -> u64;

/// Makes a report of the series of the sources.
pub(super) struct Pipeline {
    pub(super) sources: Vec<Box<dyn Source>>,
    pub(super) shared: Arc<Shared>,
    pub(super) precedence: Precedence,
    pub(super) cap: CardinalityCap,
    pub(super) clock: Clock,
}

// === impl ReporterWorker ===

impl<S> ReporterWorker<S>
where
    S: Service<Vec<Series>>,
    S::Response: IntoReportEnd,
{
    /// Reports on the timer and on request. It needs a tokio runtime with a timer.
    ///
    /// # Cancellation
    /// A dropped future ends the report that is under way, and makes no last one.
    pub async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        let abandoned = async move {
            // An error means that all handles were dropped. The inbox ends then too, and the worker makes a last report.
            if stopped.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        // CANCEL: a shutdown past its deadline drops the report that is under way.
        let _either = select(pin!(abandoned), pin!(self.work())).await;
    }

    async fn work(&mut self) {
        let start = Instant::now();
        let mut due = self.schedule.start(Duration::ZERO);
        loop {
            // A time that the clock cannot represent is never reached.
            let at = Instant::from_std(saturating_add(start.into_std(), due));
            let command = match select(pin!(self.inbox.recv()), pin!(sleep_until(at))).await {
                Either::Left((command, _)) => Some(command),
                Either::Right(((), _)) => None,
            };
            match command {
                None => {
                    self.report().await;
                    due = self.schedule.after(start.elapsed());
                }
                Some(Some(Command::Flush(reply))) => {
                    // CANCEL: the caller may have dropped its future, and needs no reply then.
                    let _cancelled = reply.send(self.report().await);
                }
                Some(Some(Command::Interval(interval))) => {
                    // The handle has checked the interval.
                    due = self.schedule.restart(interval, start.elapsed()).unwrap_or(due);
                }
                Some(Some(Command::Shutdown(reply))) => {
                    self.report().await;
                    // CANCEL: as above.
                    let _cancelled = reply.send(());
                    return;
                }
                Some(None) => {
                    self.report().await;
                    return;
                }
            }
        }
    }

    async fn report(&mut self) -> ReportEnd {
        let report = self.pipeline.gather();
        let series = report.len();
        let end = if series == 0 { ReportEnd::Empty } else { self.send(report).await };
        self.pipeline.shared.ended(end, series);
        end
    }

    async fn send(&mut self, report: Vec<Series>) -> ReportEnd {
        let service = &mut self.service;
        let mut sending = pin!(Some(async {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(report).await
        }));
        let sent = timeout(self.timeout, poll_fn(|cx| panic::catch_poll(sending.as_mut(), cx))).await;
        // CANCEL: a report that took too long is dropped here, where a panic of its `Drop` is caught.
        panic::discard_pinned(sending.as_mut());
        match sent {
            Ok(Ok(Ok(response))) => response.into_report_end(),
            // The service reports the reason to its own observer, and the panic hook reports a panic.
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => ReportEnd::Failed,
        }
    }
}

impl<S> fmt::Debug for ReporterWorker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReporterWorker").field("schedule", &self.schedule).finish_non_exhaustive()
    }
}

// === impl Pipeline ===

impl Pipeline {
    /// Gathers, filters, labels, and bounds the number of series.
    fn gather(&mut self) -> Vec<Series> {
        let Self { sources, shared, precedence, cap, clock } = self;
        // One filter applies to the whole report, even if another one is set meanwhile.
        let filter = shared.filter.now();
        let wants = |name: &str| filter.wants(name);
        let mut gathering = Gathering::new(clock(), &wants);
        let mut panicked = 0;
        for source in sources {
            let (run, of_source) = gathering.apart(|into| panic::catch(|| source.gather(into)));
            match run {
                Ok(()) => gathering.extend(of_source),
                Err(_) => panicked += 1,
            }
        }
        let (mut series, filtered) = gathering.finish();
        let labels = shared.labels.load_full();
        if !labels.is_empty() {
            series.iter_mut().for_each(|one| one.labels.merge(&labels, *precedence));
        }
        let (series, capped) = cap.apply(series);
        shared.gathered(filtered, capped, panicked);
        series
    }
}
