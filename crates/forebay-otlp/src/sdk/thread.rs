use forebay_core::ConfigError;
use opentelemetry::Context;
use std::{future::Future, sync::mpsc, thread, time::Duration};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::oneshot,
};

/// A thread with a runtime of its own, in which telemetry is suppressed. It ends when this value is dropped.
///
/// The SDK flushes and shuts down by blocking calls, often from a task of the only thread of a runtime. A worker on that same
/// runtime would never run while the call waits for it.
#[derive(Debug)]
pub(super) struct SendingThread {
    runtime: Handle,
    /// Ends the thread when it is dropped.
    _running: oneshot::Sender<()>,
}

// === impl SendingThread ===

impl SendingThread {
    /// Starts the thread, and runs `begin` in its runtime. Before the thread ends, it runs the future that `begin` returned.
    pub(super) fn start<R, L>(
        begin: impl FnOnce() -> Result<(R, L), ConfigError> + Send + 'static,
    ) -> Result<(Self, R), ConfigError>
    where
        R: Send + 'static,
        L: Future<Output = ()> + Send + 'static,
    {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(no_thread)?;
        let handle = runtime.handle().clone();
        let (begun, result) = mpsc::sync_channel(1);
        let (running, stop) = oneshot::channel::<()>();
        let work = async move {
            match begin() {
                Ok((ready, last)) => {
                    // The receiver waits below, so this send succeeds.
                    drop(begun.send(Ok(ready)));
                    // CORRECTNESS: the sender is never used, and its drop ends this wait.
                    drop(stop.await);
                    last.await;
                }
                Err(error) => drop(begun.send(Err(error))),
            }
        };
        let run = move || suppressed(&runtime, work);
        thread::Builder::new().name("forebay-otlp".to_owned()).spawn(run).map_err(no_thread)?;
        // Blocks until `begin` has run. A panic in it drops the sender, which is an error here.
        let ready = result.recv().map_err(no_thread)??;
        Ok((Self { runtime: handle, _running: running }, ready))
    }

    /// The runtime of the thread.
    pub(super) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Runs `work` on the thread, and blocks until it is done or time is up.
    pub(super) fn wait<R: Send + 'static>(
        runtime: &Handle,
        limit: Duration,
        work: impl Future<Output = R> + Send + 'static,
    ) -> Option<R> {
        let (done, result) = mpsc::sync_channel(1);
        // CANCEL: a runtime that has ended drops the task, and `done` with it, which ends the wait. The task outlives a wait that
        // timed out.
        drop(runtime.spawn(async move { drop(done.send(work.await)) }));
        result.recv_timeout(limit).ok()
    }
}

/// This thread only exports telemetry: the logs and spans of its tasks, those of the client included, must not be exported in
/// turn.
fn suppressed(runtime: &Runtime, work: impl Future<Output = ()>) {
    let _suppressed = Context::enter_telemetry_suppressed_scope();
    runtime.block_on(work);
}

fn no_thread(error: impl std::fmt::Display) -> ConfigError {
    ConfigError::new("thread", "none", format!("a thread of its own, which cannot be started: {error}"))
}
