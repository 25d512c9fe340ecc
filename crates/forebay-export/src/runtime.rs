use forebay_core::{ConfigError, panic::catch};
use std::{future::Future, thread, time::Duration};
use tokio::runtime::{Builder, Handle};

/// Runs the exporter's worker on `runtime`, else on the current runtime, else on a thread of its own.
///
/// The thread ends with the worker: when the last exporter is dropped, and everything is sent.
pub(crate) fn run(
    runtime: Option<Handle>,
    worker: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ConfigError> {
    if let Some(runtime) = runtime.or_else(|| Handle::try_current().ok()) {
        if !keeps_time(&runtime) {
            let cure = "a runtime with timers: build it with `enable_time` or `enable_all`";
            return Err(ConfigError::new("runtime", "a tokio runtime without timers", cure));
        }
        // CANCEL: the task ends by itself. When the runtime aborts it, its drop counts what it holds.
        drop(runtime.spawn(worker));
        return Ok(());
    }
    let failed = |error: std::io::Error| {
        ConfigError::new("runtime", "none", format!("a tokio runtime, since no thread can be started: {error}"))
    };
    // The worker needs timers and I/O, so a thread without a runtime gets one of its own.
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let spawned = thread::Builder::new().name("forebay-export".to_owned()).spawn(move || runtime.block_on(worker));
    spawned.map(drop).map_err(failed)
}

/// Whether `runtime` has timers. Tokio reports their absence by a panic only, which the panic hook sees.
fn keeps_time(runtime: &Handle) -> bool {
    catch(|| {
        let _inside = runtime.enter();
        drop(tokio::time::sleep(Duration::ZERO));
    })
    .is_ok()
}
