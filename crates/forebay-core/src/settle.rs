use crate::{Advice, BoxError, DropReason, Fate, Verdict};
use std::time::Duration;

/// Turns the result of one inner call into the fates of the items it carried.
///
/// The intake (queue or batch) asks it once per call, and is the only one that writes fates. Layers below say why
/// they failed through the error chain, as a [`Verdict`], and know no ledger.
///
/// Any `Fn(&Result<Res, BoxError>, usize) -> Settlement` is a `Settle`; the default is [`SettleByVerdict`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot settle the results of this service",
    note = "implement `Settle<{Res}>`, or pass a closure `Fn(&Result<{Res}, BoxError>, usize) -> Settlement`"
)]
pub trait Settle<Res> {
    /// What `result` means for the `items` items of the call.
    fn settle(&self, result: &Result<Res, BoxError>, items: usize) -> Settlement;
}

/// What one inner call did to its items.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settlement {
    /// All items met the same fate.
    All(Fate),
    /// The server took the call, but not all of its items, and did not say which.
    Partial {
        /// How many it did not take; more than there are counts as all.
        dropped: usize,
        /// Why.
        reason: DropReason,
    },
    /// One fate per item, in the order of the items. Missing ones count as [`DropReason::Failed`].
    Each(Vec<ItemFate>),
    /// Nothing was taken, and the same items may be sent again.
    Retry {
        /// Not before this much time has passed.
        after: Option<Duration>,
        /// The reason under which they are counted if no layer does.
        otherwise: DropReason,
    },
    /// Nothing was taken because of what the call contained; a part of it may pass.
    Split {
        /// What was wrong with it.
        cause: SplitCause,
        /// The reason under which the items are counted if no layer splits the call.
        otherwise: DropReason,
    },
}

/// The fate of one item among those of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemFate {
    /// It has met its fate.
    Final(Fate),
    /// It was not taken and may be sent again; if no layer does, it is dropped for this reason.
    Retry(DropReason),
}

/// Why a call might pass in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SplitCause {
    /// The call was too large (HTTP 413).
    TooLarge,
    /// The call was too large for the one of several servers that it went to: the next call may go to one that takes more.
    TooLargeForOne,
    /// Some item of the call was not acceptable (HTTP 400).
    BadItem,
}

/// `Ok` is delivered; an `Err` is what the outermost [`Verdict`] in its chain says.
///
/// An error without a verdict is that of a service outside this family: the items may be sent again, and count as
/// [`DropReason::Failed`] if no layer does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SettleByVerdict;

// === impl Settle ===

impl<Res, F: Fn(&Result<Res, BoxError>, usize) -> Settlement> Settle<Res> for F {
    fn settle(&self, result: &Result<Res, BoxError>, items: usize) -> Settlement {
        self(result, items)
    }
}

impl<Res> Settle<Res> for SettleByVerdict {
    fn settle(&self, result: &Result<Res, BoxError>, _: usize) -> Settlement {
        match result {
            Ok(_) => Settlement::All(Fate::Delivered),
            Err(error) => Settlement::of_error(error),
        }
    }
}

// === impl Settlement ===

impl Settlement {
    /// The fate of the item of a call that carried just one, where no layer sends it again or splits the call.
    #[must_use]
    pub fn fate_of_one(&self) -> Fate {
        match *self {
            Self::All(fate) => fate,
            Self::Partial { dropped: 0, .. } => Fate::Delivered,
            Self::Partial { reason, .. } => Fate::Dropped(reason),
            Self::Each(ref fates) => fates.first().map_or(Fate::Dropped(DropReason::Failed), |fate| fate.fate()),
            Self::Retry { otherwise, .. } | Self::Split { otherwise, .. } => Fate::Dropped(otherwise),
        }
    }

    /// What the outermost [`Verdict`] in the chain of `error` says.
    #[must_use]
    pub fn of_error(error: &BoxError) -> Self {
        let Some(verdict) = Verdict::of(&**error) else {
            return Self::Retry { after: None, otherwise: DropReason::Failed };
        };
        match verdict.advice() {
            Advice::Never => Self::All(Fate::Dropped(verdict.reason())),
            Advice::Retry => Self::Retry { after: None, otherwise: verdict.reason() },
            Advice::RetryAfter(wait) => Self::Retry { after: Some(wait), otherwise: verdict.reason() },
        }
    }
}

// === impl ItemFate ===

impl ItemFate {
    /// The fate of the item if no layer sends it again.
    #[must_use]
    pub const fn fate(self) -> Fate {
        match self {
            Self::Final(fate) => fate,
            Self::Retry(otherwise) => Fate::Dropped(otherwise),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Seen;
    use std::io;

    fn settle(error: impl Into<BoxError>) -> Settlement {
        SettleByVerdict.settle(&Err::<(), _>(error.into()), 3)
    }

    #[test]
    fn a_verdict_names_the_reason_wherever_it_stands() {
        let verdict = Verdict::new(DropReason::Budget, Seen::Yes, Advice::Never);
        assert_eq!(settle(verdict.clone()), Settlement::All(Fate::Dropped(DropReason::Budget)));
        assert_eq!(settle(io::Error::other(verdict)), Settlement::All(Fate::Dropped(DropReason::Budget)));
    }

    #[test]
    fn advice_to_retry_keeps_the_hint() {
        let after = Duration::from_secs(7);
        let verdict = Verdict::new(DropReason::CircuitOpen, Seen::No, Advice::RetryAfter(after));
        let expected = Settlement::Retry { after: Some(after), otherwise: DropReason::CircuitOpen };
        assert_eq!(settle(verdict), expected);
    }

    #[test]
    fn a_foreign_error_may_be_retried_and_counts_as_failed() {
        let expected = Settlement::Retry { after: None, otherwise: DropReason::Failed };
        assert_eq!(settle(io::Error::from(io::ErrorKind::BrokenPipe)), expected);
    }
}
