//! Events for `tracing`; without the feature there are none.

use crate::GaveUp;
use forebay_core::{BoxError, Verdict, event};
use std::time::Duration;

/// The target of the events.
const TARGET: &str = "forebay_retry";

/// Why an attempt failed, in one word. The text of an error is not recorded: a client may have put the whole URL into it.
pub(crate) fn cause<Res>(result: &Result<Res, BoxError>) -> &'static str {
    match result {
        Ok(_) => "response",
        Err(error) => Verdict::of(&**error).map_or("error", |verdict| verdict.reason().as_str()),
    }
}

/// An attempt failed, and there will be another.
pub(crate) fn retrying(attempt: u32, wait: Duration, hint: Option<Duration>, cause: &'static str) {
    let hint = hint.map(|hint| hint.as_secs_f64());
    let delay = wait.as_secs_f64();
    event!(
        TARGET,
        "attempt failed, will be repeated",
        attempt = attempt,
        delay_s = delay,
        hint_s = hint,
        cause = cause
    );
}

/// An attempt failed, and there will be no other.
pub(crate) fn gave_up(gave_up: GaveUp) {
    event!(TARGET, "gave up", attempts = gave_up.attempts(), reason = gave_up.stop_reason().to_string());
}
