use crate::{AsError, Boxed, Classify, Outcome, cause_ref, outcome::of_error};
use std::{error::Error, fmt, marker::PhantomData};

/// The classifier that asks a function about one type of error, wherever it stands in the chain; made by [`by_cause`].
///
/// `Kind` is inferred from the service it is used with.
pub struct ByCause<E, F, Kind = Boxed> {
    outcome: F,
    types: PhantomData<fn(&E) -> Kind>,
}

/// A classifier for errors of type `E`: `outcome` says what one means.
///
/// The chain of the error is searched for an `E`, so that the same function serves two layers, the inner of which sees an `E`
/// itself, and the outer one an `E` within the error of the inner layer. Every `Ok` is a success. An error without an `E` in
/// its chain means what [`ByError`](crate::ByError) makes of it: what its [`Verdict`](crate::Verdict) advises, else retryable.
///
/// ```
/// use forebay_core::{Advice, BoxError, Classify, DropReason, Outcome, Seen, Verdict, by_cause};
/// # #[derive(Debug)]
/// # enum DbError { Deadlock, Duplicate }
/// # impl std::fmt::Display for DbError {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str("database") }
/// # }
/// # impl std::error::Error for DbError {}
///
/// let transient = |error: &DbError| match error {
///     DbError::Deadlock => Outcome::RETRYABLE,
///     DbError::Duplicate => Outcome::Ignored,
/// };
/// // For a layer right above the database ...
/// assert_eq!(by_cause(transient).classify(&Err::<(), _>(DbError::Deadlock)), Outcome::RETRYABLE);
/// // ... and for one further out, which sees the error of the layer between.
/// let verdict = Verdict::new(DropReason::RetriesExhausted, Seen::Maybe, Advice::Never);
/// let error: BoxError = verdict.caused_by(DbError::Duplicate).into();
/// assert_eq!(by_cause(transient).classify(&Err::<(), _>(error)), Outcome::Ignored);
/// ```
#[must_use]
pub const fn by_cause<E, F, Kind>(outcome: F) -> ByCause<E, F, Kind>
where
    E: Error + 'static,
    F: Fn(&E) -> Outcome,
{
    ByCause { outcome, types: PhantomData }
}

// === impl ByCause ===

impl<Res, Err, E, F, Kind> Classify<Res, Err> for ByCause<E, F, Kind>
where
    Err: AsError<Kind>,
    E: Error + 'static,
    F: Fn(&E) -> Outcome,
{
    fn classify(&self, result: &Result<Res, Err>) -> Outcome {
        match result {
            Ok(_) => Outcome::Success,
            Err(error) => {
                let error = error.as_error();
                cause_ref::<E>(error).map_or_else(|| of_error(error), &self.outcome)
            }
        }
    }
}

impl<E, F: Clone, Kind> Clone for ByCause<E, F, Kind> {
    fn clone(&self) -> Self {
        Self { outcome: self.outcome.clone(), types: PhantomData }
    }
}

impl<E, F: Copy, Kind> Copy for ByCause<E, F, Kind> {}

impl<E, F, Kind> fmt::Debug for ByCause<E, F, Kind> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByCause").field("error", &std::any::type_name::<E>()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Advice, BoxError, DropReason, Seen, Verdict};
    use std::{io, num::ParseIntError, time::Duration};

    #[test]
    fn an_error_without_the_cause_means_what_its_verdict_says() {
        let final_for_io = |_: &io::Error| Outcome::Terminal;
        let parse = "x".parse::<u8>().unwrap_err();
        assert_eq!(by_cause(final_for_io).classify(&Err::<(), ParseIntError>(parse.clone())), Outcome::RETRYABLE);
        let wait = Advice::RetryAfter(Duration::from_secs(3));
        let verdict = Verdict::new(DropReason::CircuitOpen, Seen::No, wait);
        let open: BoxError = verdict.clone().caused_by(parse).into();
        let expected = Outcome::Retryable { after: Some(Duration::from_secs(3)) };
        assert_eq!(by_cause(final_for_io).classify(&Err::<(), _>(open)), expected);
        let broken: BoxError = verdict.caused_by(io::Error::from(io::ErrorKind::BrokenPipe)).into();
        assert_eq!(by_cause(final_for_io).classify(&Err::<(), _>(broken)), Outcome::Terminal, "the function counts");
        assert_eq!(by_cause(final_for_io).classify(&Ok::<_, BoxError>(())), Outcome::Success);
    }
}
