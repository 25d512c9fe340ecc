//! What `tracing` records; without the feature nothing is.

use crate::GaveUp;
use forebay_core::{BoxError, Verdict};
use std::time::Duration;

#[cfg(feature = "tracing")]
const TARGET: &str = "forebay_retry";

/// Why an attempt failed, in one word. The text of an error is not recorded: a client may have put the whole URL into it.
pub(crate) fn cause<Res>(result: &Result<Res, BoxError>) -> &'static str {
    match result {
        Ok(_) => "response",
        Err(error) => Verdict::of(&**error).map_or("error", |verdict| verdict.reason().as_str()),
    }
}

/// An attempt failed, and there will be another.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "there is nothing to record them"))]
pub(crate) fn retrying(attempt: u32, wait: Duration, hint: Option<Duration>, cause: &'static str) {
    #[cfg(feature = "tracing")]
    tracing::debug!(
        target: TARGET,
        attempt,
        delay_s = wait.as_secs_f64(),
        hint_s = hint.map(|hint| hint.as_secs_f64()),
        cause,
        "attempt failed, will be repeated",
    );
}

/// An attempt failed, and there will be no other.
#[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "there is nothing to record it"))]
pub(crate) fn gave_up(gave_up: GaveUp) {
    #[cfg(feature = "tracing")]
    tracing::debug!(target: TARGET, attempts = gave_up.attempts(), reason = %gave_up.stop_reason(), "gave up");
}
