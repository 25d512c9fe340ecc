use super::{ReportAnswer, ReportEnd, handle::Shared};
use crate::{
    cap::CardinalityCap,
    guard::guarded,
    schedule::Schedule,
    series::{Precedence, Series},
    source::{Gathering, Source},
};
use forebay_core::time::saturating_add;
use futures_util::{
    FutureExt,
    future::{Either, select},
};
use std::{fmt, future::poll_fn, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};
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

/// From the sources to a report.
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
    S::Response: ReportAnswer,
{
    /// Reports on the timer and when asked to. It needs a tokio runtime with a timer.
    ///
    /// # Cancellation
    /// Dropping the future ends a report that is under way, and there is no last one.
    pub async fn run(mut self) {
        let mut stopped = self.stopped.clone();
        let abandoned = async move {
            // An error says that all handles are gone, which the inbox says too, and then there is a last report.
            if stopped.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let _either = select(pin!(abandoned), pin!(self.work())).await;
    }

    async fn work(&mut self) {
        let start = Instant::now();
        let mut due = self.schedule.start(Duration::ZERO);
        loop {
            // A time that the clock cannot hold is so far away that it never comes.
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
                    // Whoever asked need not wait for the answer.
                    let _told = reply.send(self.report().await);
                }
                Some(Some(Command::Interval(interval))) => {
                    // It was checked by whoever sent it.
                    due = self.schedule.restart(interval, start.elapsed()).unwrap_or(due);
                }
                Some(Some(Command::Shutdown(reply))) => {
                    self.report().await;
                    let _told = reply.send(());
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
        let sending = AssertUnwindSafe(async {
            poll_fn(|cx| service.poll_ready(cx)).await?;
            service.call(report).await
        });
        match timeout(self.timeout, sending.catch_unwind()).await {
            Ok(Ok(Ok(answer))) => answer.end(),
            // The service says why, to its own observer.
            Ok(Ok(Err(_))) | Err(_) => ReportEnd::Failed,
            Ok(Err(panic)) => {
                drop(crate::guard::text_of(panic));
                ReportEnd::Failed
            }
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
        // One filter for the whole report, whatever is swapped meanwhile.
        let filter = shared.filter.now();
        let wants = |name: &str| filter.wants(name);
        let mut gathering = Gathering::new(clock(), &wants);
        let mut panicked = 0;
        for source in sources {
            let (run, of_source) = gathering.apart(|into| guarded(|| source.gather(into)));
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
