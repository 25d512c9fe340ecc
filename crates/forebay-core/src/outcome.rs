use crate::{Advice, AsError, Verdict};
use std::{error::Error, fmt, marker::PhantomData, time::Duration};

/// What one result means to a retry or a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The server did its work.
    Success,
    /// It failed in a way that may pass.
    Retryable {
        /// The server asked not to be called before this much time has passed.
        after: Option<Duration>,
    },
    /// It failed, and will fail again for the same request.
    Terminal,
    /// The result says nothing about the server: it counts as neither a success nor a failure, and never closes a breaker.
    Ignored,
}

/// Says what a result of an inner service means.
///
/// Any `Fn(&Result<Res, Err>) -> Outcome` is a classifier. It sees responses as well as errors, so that a 429 that
/// arrives as a response is not taken for a success.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot classify the results of this service",
    note = "the classifiers of the presets take errors that implement `std::error::Error`, and `BoxError`: implement it, or convert \
            the error, such as a `String`, with `.map_err(BoxError::from)` below the layer",
    note = "or implement `Classify<{Res}, {Err}>`, or pass a closure `Fn(&Result<{Res}, {Err}>) -> Outcome`"
)]
pub trait Classify<Res, Err> {
    /// What `result` means. It must not block and should not panic.
    fn classify(&self, result: &Result<Res, Err>) -> Outcome;
}

/// The classifier that looks at errors alone: every `Ok` is a success, every `Err` is retryable.
///
/// Where the error carries a [`Verdict`] its advice is followed: [`Advice::Never`] is terminal, and
/// [`Advice::RetryAfter`] is the hint.
pub struct ByError<Kind = crate::Boxed>(PhantomData<fn() -> Kind>);

// === impl Outcome ===

impl Outcome {
    /// Retryable, without a hint from the server.
    pub const RETRYABLE: Self = Self::Retryable { after: None };

    /// Whether a breaker counts it as a failure.
    #[must_use]
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Retryable { .. } | Self::Terminal)
    }

    /// What an error with this advice means.
    #[must_use]
    pub const fn of_advice(advice: Advice) -> Self {
        match advice {
            Advice::Never => Self::Terminal,
            Advice::Retry => Self::RETRYABLE,
            Advice::RetryAfter(wait) => Self::Retryable { after: Some(wait) },
        }
    }
}

// === impl Classify ===

impl<Res, Err, F: Fn(&Result<Res, Err>) -> Outcome> Classify<Res, Err> for F {
    #[inline]
    fn classify(&self, result: &Result<Res, Err>) -> Outcome {
        self(result)
    }
}

// === impl ByError ===

impl<Kind> ByError<Kind> {
    /// The classifier; `Kind` is inferred from the service it is used with.
    #[must_use]
    pub const fn new() -> Self {
        Self(PhantomData)
    }
}

impl<Res, Err: AsError<Kind>, Kind> Classify<Res, Err> for ByError<Kind> {
    fn classify(&self, result: &Result<Res, Err>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => of_error(error.as_error()),
        }
    }
}

/// What an error means: what its verdict advises, else retryable.
pub(crate) fn of_error(error: &(dyn Error + 'static)) -> Outcome {
    Verdict::of(error).map_or(Outcome::RETRYABLE, |verdict| Outcome::of_advice(verdict.advice()))
}

impl<Kind> Default for ByError<Kind> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Kind> Clone for ByError<Kind> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Kind> Copy for ByError<Kind> {}

impl<Kind> fmt::Debug for ByError<Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByError")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BoxError, DropReason, Seen};
    use std::io;

    #[test]
    fn by_error_follows_the_advice_in_the_chain() {
        let classify = |advice| {
            let error = io::Error::other(Verdict::new(DropReason::Full, Seen::No, advice));
            ByError::new().classify(&Err::<(), BoxError>(error.into()))
        };
        let wait = Duration::from_secs(3);
        assert_eq!(classify(Advice::Never), Outcome::Terminal);
        assert_eq!(classify(Advice::Retry), Outcome::RETRYABLE);
        assert_eq!(classify(Advice::RetryAfter(wait)), Outcome::Retryable { after: Some(wait) });
    }

    #[test]
    fn by_error_takes_concrete_errors_too() {
        let plain: Result<(), io::Error> = Err(io::ErrorKind::BrokenPipe.into());
        assert_eq!(ByError::new().classify(&plain), Outcome::RETRYABLE);
        assert_eq!(ByError::new().classify(&Ok::<(), io::Error>(())), Outcome::Success);
    }

    #[test]
    fn a_closure_is_a_classifier() {
        let odd = |result: &Result<u8, ()>| match result {
            Ok(n) if n % 2 == 1 => Outcome::Success,
            Ok(_) => Outcome::Ignored,
            Err(()) => Outcome::Terminal,
        };
        assert_eq!(odd.classify(&Ok(2)), Outcome::Ignored);
        assert!(!Outcome::Ignored.is_failure());
        assert!(Outcome::Terminal.is_failure());
    }
}
