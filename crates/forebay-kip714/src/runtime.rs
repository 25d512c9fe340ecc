use forebay_core::{ConfigError, panic::catch};
use std::time::Duration;
use tokio::runtime::Handle;

/// The runtime of the caller, which has to have timers.
pub(crate) fn current() -> Result<Handle, ConfigError> {
    let runtime = Handle::try_current()
        .map_err(|error| ConfigError::new("build", error, "a call on a tokio runtime with timers"))?;
    // Tokio reports that by a panic only, which the panic hook sees.
    catch(|| drop(tokio::time::sleep(Duration::ZERO))).map_err(|_untimed| {
        let cure = "a call on a runtime with timers: build it with `enable_time` or `enable_all`";
        ConfigError::new("build", "a call on a tokio runtime without timers", cure)
    })?;
    Ok(runtime)
}
