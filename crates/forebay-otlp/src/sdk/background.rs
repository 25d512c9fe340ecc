use forebay_core::{ConfigError, Totals};
use forebay_export::Exporter;
use opentelemetry::Context;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use std::{
    future::Future,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};
use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};

/// An exporter on a thread of its own, for callers that wait by blocking.
///
/// The SDK flushes and shuts down by blocking calls, often from a task of the only thread of a runtime. An exporter on that
/// same runtime would never get to run while it is waited for.
pub(super) struct Background<T> {
    exporter: Exporter<T>,
    runtime: Handle,
    what: &'static str,
    flush_timeout: Duration,
    state: Mutex<Stage>,
}

struct Stage {
    /// Ends the thread when it is dropped.
    running: Option<oneshot::Sender<()>>,
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
        let failed =
            |error| ConfigError::new("thread", "none", format!("a thread of its own, but there is none: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let handle = runtime.handle().clone();
        let (built, exporter) = mpsc::sync_channel(1);
        let (running, stop) = oneshot::channel::<()>();
        let work = async move {
            let exporter = match build() {
                Ok(exporter) => exporter,
                Err(error) => return drop(built.send(Err(error))),
            };
            // Whoever waits for it here is there.
            drop(built.send(Ok(exporter.clone())));
            drop(stop.await);
            // After a shutdown there is nothing left; without one it is sent now.
            drop(exporter.shutdown(flush_timeout).await);
        };
        let run = move || {
            // All that happens on this thread is the export of telemetry: what is logged or traced here, by the tasks of
            // the client too, must not be exported in its turn.
            let _suppressed = Context::enter_telemetry_suppressed_scope();
            runtime.block_on(work);
        };
        thread::Builder::new().name("forebay-otlp".to_owned()).spawn(run).map_err(failed)?;
        let gone = |_| ConfigError::new("thread", "none", "a thread that lives until it is told to end");
        let exporter = exporter.recv().map_err(gone)??;
        let state = Mutex::new(Stage { told: exporter.totals(), running: Some(running) });
        Ok(Self { exporter, runtime: handle, what, flush_timeout, state })
    }

    #[inline]
    pub(super) fn exporter(&self) -> &Exporter<T> {
        &self.exporter
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

    /// Runs `work` on the thread, and blocks until it is done or time is up.
    fn wait<R: Send + 'static>(&self, limit: Duration, work: impl Future<Output = R> + Send + 'static) -> Option<R> {
        let (done, result) = mpsc::sync_channel(1);
        // A task of a runtime that has ended is dropped, and `done` with it.
        drop(self.runtime.spawn(async move { drop(done.send(work.await)) }));
        result.recv_timeout(limit).ok()
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
