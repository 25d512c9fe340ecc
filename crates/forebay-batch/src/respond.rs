use crate::{BatchFailed, Misaligned, lookup::Lookup};
use forebay_core::{BoxError, Fate};
use std::{error::Error, fmt};

/// What the caller of an item gets from the batch that the item was in.
///
/// One result of the inner service becomes one reply per item: the same for all ([`SharedResponse`]), an element of the response
/// for each ([`PerItem`], [`PerKey`]), or the fate of the item ([`ItemFates`]).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot make the replies of a batch from a `{Res}`",
    note = "`SharedResponse`, the default, gives each caller a clone of the response: make it `Clone`, or put it into an `Arc`",
    note = "`.respond_per_item()` gives each caller its own element of a `Vec`, `.respond_per_key(..)` the one with its key, and \
            `.respond_fates()` the fate of its item"
)]
pub trait Respond<Res> {
    /// The reply to one item.
    type Reply;

    /// The result of the inner service, in a form from which replies are taken.
    type Prepared;

    /// Called once per result, with the number of the items that were in the call.
    fn prepare(&self, result: Result<Res, BatchFailed>, items: usize) -> Self::Prepared;

    /// The reply to the item at `index` of those that were in the call, which has met `fate`. Called at most once per item.
    ///
    /// # Errors
    ///
    /// What the caller gets instead.
    fn reply(&self, prepared: &mut Self::Prepared, index: usize, fate: Fate) -> Result<Self::Reply, BoxError>;
}

/// Every caller gets a clone of the response, or of the error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SharedResponse;

/// Every caller gets its own element of the response, which must have one per item, in the order of the items.
///
/// A response with another number of elements fails every caller of the batch with [`Misaligned`], since nothing says which
/// element belongs to which item. What the ledger counts is what [`Settle`](forebay_core::Settle) makes of the response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PerItem;

/// Every caller gets the element of the response that has the key of its item, or `None` if there is none.
///
/// See [`BatchBuilder::respond_per_key`](crate::BatchBuilder::respond_per_key).
#[derive(Clone, Copy, Debug)]
pub struct PerKey<KI, KE> {
    item_key: KI,
    element_key: KE,
}

/// Every caller gets the fate of its item, and never an error of the inner service.
///
/// Where the server says how many items it refused and not which ([`Settlement::Partial`]), the callers of the last ones get
/// that fate.
///
/// [`Settlement::Partial`]: forebay_core::Settlement::Partial
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ItemFates;

/// What a [`Respond`] puts between the batcher and its inner service.
///
/// One that needs nothing there returns the inner service itself.
pub trait WrapInner<S> {
    /// The service that gets the batches.
    type Service;

    /// Called once for each service that the layer makes.
    fn wrap_inner(&self, inner: S) -> Self::Service;
}

/// The elements of one response, or that their number is not that of the items.
#[derive(Debug)]
pub struct Elements<E> {
    elements: Result<Vec<Option<E>>, Misaligned>,
}

// === impl Respond ===

// That a response is not `Clone` would hide that there are other replies.
#[diagnostic::do_not_recommend]
impl<Res: Clone> Respond<Res> for SharedResponse {
    type Reply = Res;
    type Prepared = Result<Res, BatchFailed>;

    fn prepare(&self, result: Result<Res, BatchFailed>, _: usize) -> Self::Prepared {
        result
    }

    fn reply(&self, prepared: &mut Self::Prepared, _: usize, _: Fate) -> Result<Res, BoxError> {
        prepared.clone().map_err(Into::into)
    }
}

impl<Res: IntoIterator> Respond<Res> for PerItem {
    type Reply = Res::Item;
    type Prepared = Result<Elements<Res::Item>, BatchFailed>;

    fn prepare(&self, result: Result<Res, BatchFailed>, items: usize) -> Self::Prepared {
        result.map(|response| Elements::of(response, items))
    }

    fn reply(&self, prepared: &mut Self::Prepared, index: usize, _: Fate) -> Result<Res::Item, BoxError> {
        match prepared {
            Ok(elements) => elements.take(index),
            Err(failed) => Err(failed.clone().into()),
        }
    }
}

/// The response is that of the [`Lookup`] in front of the inner service, which puts the elements into the order of the items.
impl<E, KI, KE> Respond<Vec<Option<E>>> for PerKey<KI, KE> {
    type Reply = Option<E>;
    type Prepared = Result<Elements<Option<E>>, BatchFailed>;

    fn prepare(&self, result: Result<Vec<Option<E>>, BatchFailed>, items: usize) -> Self::Prepared {
        PerItem.prepare(result, items)
    }

    fn reply(&self, prepared: &mut Self::Prepared, index: usize, fate: Fate) -> Result<Option<E>, BoxError> {
        Respond::<Vec<Option<E>>>::reply(&PerItem, prepared, index, fate)
    }
}

impl<Res> Respond<Res> for ItemFates {
    type Reply = Fate;
    type Prepared = ();

    fn prepare(&self, _: Result<Res, BatchFailed>, _: usize) {}

    fn reply(&self, (): &mut (), _: usize, fate: Fate) -> Result<Fate, BoxError> {
        Ok(fate)
    }
}

// === impl WrapInner ===

impl<S> WrapInner<S> for SharedResponse {
    type Service = S;

    fn wrap_inner(&self, inner: S) -> S {
        inner
    }
}

impl<S> WrapInner<S> for PerItem {
    type Service = S;

    fn wrap_inner(&self, inner: S) -> S {
        inner
    }
}

impl<S> WrapInner<S> for ItemFates {
    type Service = S;

    fn wrap_inner(&self, inner: S) -> S {
        inner
    }
}

impl<S, KI: Clone, KE: Clone> WrapInner<S> for PerKey<KI, KE> {
    type Service = Lookup<S, KI, KE>;

    fn wrap_inner(&self, inner: S) -> Self::Service {
        Lookup::new(inner, self.item_key.clone(), self.element_key.clone())
    }
}

// === impl PerKey ===

impl<KI, KE> PerKey<KI, KE> {
    pub(crate) const fn new(item_key: KI, element_key: KE) -> Self {
        Self { item_key, element_key }
    }
}

// === impl Elements ===

impl<E> Elements<E> {
    /// Up to where surplus elements are counted, so that a response without an end is read to an end.
    const MOST_SURPLUS: usize = 65_536;

    fn of(response: impl IntoIterator<Item = E>, items: usize) -> Self {
        let mut response = response.into_iter();
        let elements: Vec<_> = response.by_ref().take(items).map(Some).collect();
        let surplus = response.take(Self::MOST_SURPLUS).count();
        let counted = elements.len() + surplus;
        Self { elements: if counted == items { Ok(elements) } else { Err(Misaligned::new(items, counted)) } }
    }

    fn take(&mut self, index: usize) -> Result<E, BoxError> {
        match &mut self.elements {
            Ok(elements) => elements.get_mut(index).and_then(Option::take).ok_or_else(|| BoxError::from(AlreadyTaken)),
            Err(misaligned) => Err((*misaligned).into()),
        }
    }
}

/// An element was taken twice, which the batcher never does.
#[derive(Debug)]
struct AlreadyTaken;

impl fmt::Display for AlreadyTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the element of this item was taken before")
    }
}

impl Error for AlreadyTaken {}
