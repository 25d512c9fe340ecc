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
    runtime: Handle,
    what: &'static str,
    flush_timeout: Duration,
    state: Mutex<Stage>,
}

struct Stage {
    /// `None` after a shutdown.
    running: Option<SendingThread>,
    /// The counts of which the caller knows.
    told: Totals,
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
            // After a shutdown there is nothing left; without one it is sent now.
            Ok((exporter, async move { drop(last.shutdown(flush_timeout).await) }))
        })?;
        let runtime = thread.runtime().clone();
        let state = Mutex::new(Stage { told: exporter.totals(), running: Some(thread) });
        Ok(Self { exporter, runtime, what, flush_timeout, state })
    }

    #[inline]
    pub(super) fn exporter(&self) -> &Exporter<T> {
        &self.exporter
    }

    /// Where to spawn what is to run on the thread.
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

    /// Waits until all that was handed over before has a fate.
    pub(super) fn flush(&self) -> OTelSdkResult {
        if self.stage().running.is_none() {
            return Err(OTelSdkError::AlreadyShutdown);
        }
        let exporter = self.exporter.clone();
        self.wait(self.flush_timeout, async move { exporter.flush().await })
            .ok_or(OTelSdkError::Timeout(self.flush_timeout))?;
        self.tell()
    }

    /// Ends within `timeout`, give or take what it takes a thread to wake up.
    pub(super) fn shutdown(&self, timeout: Duration) -> OTelSdkResult {
        /// What the exporter may need beyond its deadline, to let go of what is in flight.
        const GRACE: Duration = Duration::from_millis(100);
        // Held by the first only; others do not wait for it.
        let Some(running) = self.stage().running.take() else {
            return Err(OTelSdkError::AlreadyShutdown);
        };
        let exporter = self.exporter.clone();
        let report = self.wait(timeout.saturating_add(GRACE), async move { exporter.shutdown(timeout).await });
        drop(running);
        match report {
            Some(report) if report.unsent.is_empty() => self.tell(),
            // What was not sent in time is among what was dropped.
            Some(_) => self.tell().and(Err(OTelSdkError::Timeout(timeout))),
            None => Err(OTelSdkError::Timeout(timeout)),
        }
    }

    /// An error names what was dropped since the caller was told last.
    fn tell(&self) -> OTelSdkResult {
        let mut stage = self.stage();
        let now = self.exporter.totals();
        let before = std::mem::replace(&mut stage.told, now);
        drop(stage);
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

    fn stage(&self) -> MutexGuard<'_, Stage> {
        // No code of a user runs under the lock, so what it guards is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
