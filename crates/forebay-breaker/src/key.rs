//! The key of a request, and the text that names it.

use crate::label::KeyLabel;
use forebay_core::{Deadline, DeadlineOf, KeyOf, Unkeyed};
use std::{borrow::Borrow, fmt, hash::Hash};

/// How a [`Breaker`](crate::Breaker) finds the state of a request: [`Unkeyed`], or [`ByKey`].
///
/// It is sealed: give [`BreakerBuilder::key`](crate::BreakerBuilder::key) a function instead.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not lead from a `{Req}` to the state of its circuit",
    note = "the function given to `key` must take `&{Req}` and return a reference to a key that implements `Display`"
)]
pub trait KeySource<Req: ?Sized>: sealed::Sealed {
    /// The type of the key, as it is borrowed.
    type Key: Hash + Eq + ToOwned + ?Sized;

    #[doc(hidden)]
    const KEYED: bool;

    #[doc(hidden)]
    fn key_of<'r>(&self, request: &'r Req) -> &'r Self::Key;

    #[doc(hidden)]
    fn label(key: &Self::Key) -> KeyLabel;

    /// Asked only for a call that is refused.
    #[doc(hidden)]
    fn deadline_of(&self, _request: &Req) -> Option<Deadline> {
        None
    }
}

/// A [`KeySource`] of breakers with keys; sealed.
#[doc(hidden)]
pub trait Keys: sealed::Sealed {}

/// A [`KeySource`] of breakers without keys; sealed.
#[doc(hidden)]
pub trait NoKeys: sealed::Sealed {}

/// One state per key, which the function `F` borrows from the request.
#[derive(Clone, Copy)]
pub struct ByKey<F>(pub(crate) F);

/// A [`KeySource`] that knows the deadline of a request as well: see
/// [`BreakerBuilder::deadline`](crate::BreakerBuilder::deadline).
#[derive(Clone, Copy)]
pub struct ByDeadline<F, D> {
    pub(crate) keys: F,
    pub(crate) deadline: D,
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for forebay_core::Unkeyed {}
    impl<F> Sealed for super::ByKey<F> {}
    impl<F: Sealed, D> Sealed for super::ByDeadline<F, D> {}
}

/// The text of an owned key.
pub(crate) fn label_of<Key: ToOwned + fmt::Display + ?Sized>(key: &Key::Owned) -> KeyLabel {
    let key: &Key = key.borrow();
    KeyLabel::new(key)
}

// === impl KeySource ===

impl<Req: ?Sized> KeySource<Req> for Unkeyed {
    type Key = ();

    const KEYED: bool = false;

    #[inline]
    fn key_of<'r>(&self, _: &'r Req) -> &'r () {
        &()
    }

    fn label((): &()) -> KeyLabel {
        KeyLabel::EMPTY
    }
}

impl<Req: ?Sized, F> KeySource<Req> for ByKey<F>
where
    F: KeyOf<Req>,
    F::Key: fmt::Display,
{
    type Key = F::Key;

    const KEYED: bool = true;

    #[inline]
    fn key_of<'r>(&self, request: &'r Req) -> &'r F::Key {
        self.0.key_of(request)
    }

    fn label(key: &F::Key) -> KeyLabel {
        KeyLabel::new(key)
    }
}

impl<Req: ?Sized, F: KeySource<Req>, D: DeadlineOf<Req>> KeySource<Req> for ByDeadline<F, D> {
    type Key = F::Key;

    const KEYED: bool = F::KEYED;

    #[inline]
    fn key_of<'r>(&self, request: &'r Req) -> &'r F::Key {
        self.keys.key_of(request)
    }

    fn label(key: &F::Key) -> KeyLabel {
        F::label(key)
    }

    fn deadline_of(&self, request: &Req) -> Option<Deadline> {
        self.deadline.deadline_of(request)
    }
}

impl<F> Keys for ByKey<F> {}

impl<F: Keys, D> Keys for ByDeadline<F, D> {}

impl NoKeys for Unkeyed {}

impl<F: NoKeys, D> NoKeys for ByDeadline<F, D> {}

impl<F: fmt::Debug, D> fmt::Debug for ByDeadline<F, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByDeadline").field("keys", &self.keys).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for ByKey<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByKey")
    }
}
