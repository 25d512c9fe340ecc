use crate::{BatchFailed, Unanswered};
use forebay_core::{BoxError, Fate};

/// What a caller hears of the batch that its item was in.
///
/// One result of the inner service becomes one answer per item: the same for all ([`Shared`]), each its own
/// ([`Scattered`]), or what became of the item ([`Fates`]).
pub trait Answer<Res> {
    /// The answer to one item.
    type Answer;

    /// The result of the inner service, in a form from which answers are taken.
    type Prepared;

    /// Called once per result.
    fn prepare(&self, result: Result<Res, BatchFailed>) -> Self::Prepared;

    /// The answer to the item at `index` of those that were in the call, which has met `fate`. At most once per item.
    ///
    /// # Errors
    ///
    /// What the caller gets instead.
    fn take(&self, prepared: &mut Self::Prepared, index: usize, fate: Fate) -> Result<Self::Answer, BoxError>;
}

/// Every caller gets a clone of the response, or of the error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shared;

/// Every caller gets its own element of the response, which must have one per item, in the order of the items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scattered;

/// Every caller gets the fate of its item, and never an error of the inner service.
///
/// Where the far side says how many it refused and not which ([`Settlement::Partial`]), the last ones are told so.
///
/// [`Settlement::Partial`]: forebay_core::Settlement::Partial
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fates;

// === impl Answer ===

impl<Res: Clone> Answer<Res> for Shared {
    type Answer = Res;
    type Prepared = Result<Res, BatchFailed>;

    fn prepare(&self, result: Result<Res, BatchFailed>) -> Self::Prepared {
        result
    }

    fn take(&self, prepared: &mut Self::Prepared, _: usize, _: Fate) -> Result<Res, BoxError> {
        prepared.clone().map_err(Into::into)
    }
}

impl<Res: IntoIterator> Answer<Res> for Scattered {
    type Answer = Res::Item;
    type Prepared = Result<Vec<Option<Res::Item>>, BatchFailed>;

    fn prepare(&self, result: Result<Res, BatchFailed>) -> Self::Prepared {
        result.map(|response| response.into_iter().map(Some).collect())
    }

    fn take(&self, prepared: &mut Self::Prepared, index: usize, _: Fate) -> Result<Res::Item, BoxError> {
        match prepared {
            Ok(elements) => elements.get_mut(index).and_then(Option::take).ok_or_else(|| Unanswered.into()),
            Err(failed) => Err(failed.clone().into()),
        }
    }
}

impl<Res> Answer<Res> for Fates {
    type Answer = Fate;
    type Prepared = ();

    fn prepare(&self, _: Result<Res, BatchFailed>) {}

    fn take(&self, (): &mut (), _: usize, fate: Fate) -> Result<Fate, BoxError> {
        Ok(fate)
    }
}
