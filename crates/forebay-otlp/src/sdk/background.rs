use super::thread::SendingThread;
use forebay_core::{ConfigError, Totals};
use forebay_export::Exporter;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::runtime::Handle;

/// An exporter on a thread of its own, for callers that wait by blocking.
pub(super) struct Background<T> {
    exporter: Exporter<T>,
    /// The runtime of the thread. After the end of the thread it drops every new task.
    runtime: Handle,
    /// The name of the items, in errors.
    what: &'static str,
    flush_timeout: Duration,
    state: Mutex<BackgroundState>,
}

struct BackgroundState {
    /// `None` after a shutdown.
    running: Option<SendingThread>,
    /// The counts at the last report to the caller.
    reported: Totals,
}

// === impl Background ===

impl<T: Send + Sync + 'static> Background<T> {
    /// Starts the thread; `what` is what it sends.
    pub(super) fn start(
        what: &'static str,
        flush_timeout: Duration,
        build: impl FnOnce() -> Result<Exporter<T>, ConfigError> + Send + 'static,
    ) -> Result<Self, ConfigError> {
        let (thread, exporter) = SendingThread::start(move || {
            let exporter = build()?;
            let last = exporter.clone();
            // Without a shutdown before, this sends the items that are held.
            Ok((exporter, async move { drop(last.shutdown(flush_timeout).await) }))
        })?;
        let runtime = thread.runtime().clone();
        let state = Mutex::new(BackgroundState { reported: exporter.totals(), running: Some(thread) });
        Ok(Self { exporter, runtime, what, flush_timeout, state })
    }

    #[inline]
    pub(super) fn exporter(&self) -> &Exporter<T> {
        &self.exporter
    }

    /// The runtime of the thread.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    pub(super) fn flush_timeout(&self) -> Duration {
        self.flush_timeout
    }

    /// Runs `work` on the thread, and blocks until it is done or time is up.
    pub(super) fn wait<R: Send + 'static>(
        &self,
        limit: Duration,
        work: impl Future<Output = R> + Send + 'static,
    ) -> Option<R> {
        SendingThread::wait(&self.runtime, limit, work)
    }

    /// Waits until every item that was handed over before has a fate.
    pub(super) fn flush(&self) -> OTelSdkResult {
        if self.state().running.is_none() {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        // CANCEL: a flush that times out continues on the thread.
        let exporter = self.exporter.clone();
        self.wait(self.flush_timeout, async move { exporter.flush().await })
            .ok_or(OTelSdkError::Timeout(self.flush_timeout))?;
        self.report_drops()
    }

    /// Ends within `timeout`, plus the time that a thread takes to wake up.
    pub(super) fn shutdown(&self, timeout: Duration) -> OTelSdkResult {
        /// The time that the exporter may need beyond its deadline, to abandon requests in flight.
        const GRACE: Duration = Duration::from_millis(100);
        // The first shutdown takes the thread; later ones do not wait for it.
        let Some(running) = self.state().running.take() else {
            return Err(OTelSdkError::AlreadyShutdown);
        };
        let exporter = self.exporter.clone();
        let report = self.wait(timeout.saturating_add(GRACE), async move { exporter.shutdown(timeout).await });
        // The thread ends here, and does not send again: the exporter is closed.
        drop(running);
        match report {
            Some(report) if report.unsent.is_empty() => self.report_drops(),
            // Items that were not sent in time count as dropped.
            Some(_) => self.report_drops().and(Err(OTelSdkError::Timeout(timeout))),
            None => Err(OTelSdkError::Timeout(timeout)),
        }
    }

    /// Returns an error that names the drops since the last report.
    fn report_drops(&self) -> OTelSdkResult {
        let mut state = self.state();
        let now = self.exporter.totals();
        let before = std::mem::replace(&mut state.reported, now);
        // The text below is made without the lock.
        drop(state);
        let dropped = now.dropped.total() - before.dropped.total();
        if dropped == 0 {
            return Ok(());
        }
        let reasons: Vec<String> = (now.dropped.iter())
            .map(|(reason, count)| (reason, count - before.dropped.get(reason)))
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{reason} ({count})"))
            .collect();
        Err(OTelSdkError::InternalFailure(format!("{dropped} {} were dropped: {}", self.what, reasons.join(", "))))
    }

    fn state(&self) -> MutexGuard<'_, BackgroundState> {
        // CORRECTNESS: no user code runs under this lock, so a poisoned one guards a whole state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
