//! What `tracing` records; without the feature nothing is.

#[cfg(not(feature = "tracing"))]
pub(crate) use self::off::{Cause, gave_up, retrying};
#[cfg(feature = "tracing")]
pub(crate) use self::on::{Cause, gave_up, retrying};

#[cfg(feature = "tracing")]
mod on {
    use crate::GaveUp;
    use forebay_core::{BoxError, Verdict};
    use std::time::Duration;
    use tracing::debug;

    const TARGET: &str = "forebay_retry";

    /// Why an attempt failed, in one word.
    #[derive(Clone, Copy)]
    pub(crate) struct Cause(&'static str);

    impl Cause {
        /// The text of an error is not shown: a client may have put the whole URL into it.
        pub(crate) fn of<Res>(result: &Result<Res, BoxError>) -> Self {
            match result {
                Ok(_) => Self("response"),
                Err(error) => Self(Verdict::of(&**error).map_or("error", |verdict| verdict.reason().as_str())),
            }
        }

        /// A result whose error is of a type that this crate does not know.
        pub(crate) fn unnamed(is_response: bool) -> Self {
            Self(if is_response { "response" } else { "error" })
        }
    }

    /// An attempt failed, and there will be another.
    pub(crate) fn retrying(attempt: u32, wait: Duration, hint: Option<Duration>, cause: Cause) {
        debug!(
            target: TARGET,
            attempt,
            delay_s = wait.as_secs_f64(),
            hint_s = hint.map(|hint| hint.as_secs_f64()),
            cause = cause.0,
            "attempt failed, will be repeated",
        );
    }

    /// An attempt failed, and there will be no other.
    pub(crate) fn gave_up(gave_up: GaveUp) {
        debug!(target: TARGET, attempts = gave_up.attempts(), reason = %gave_up.stop_reason(), "gave up");
    }
}

#[cfg(not(feature = "tracing"))]
mod off {
    use crate::GaveUp;
    use forebay_core::BoxError;
    use std::time::Duration;

    #[derive(Clone, Copy)]
    pub(crate) struct Cause;

    impl Cause {
        #[inline(always)]
        pub(crate) fn of<Res>(_: &Result<Res, BoxError>) -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn unnamed(_: bool) -> Self {
            Self
        }
    }

    #[inline(always)]
    pub(crate) fn retrying(_: u32, _: Duration, _: Option<Duration>, _: Cause) {}

    #[inline(always)]
    pub(crate) fn gave_up(_: GaveUp) {}
}
