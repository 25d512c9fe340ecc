use std::hash::Hash;

/// What a breaker, a throttle or a share of a queue is per: authority, tenant, host.
///
/// The key is borrowed from the request, so that looking it up allocates nothing; it is copied once, when it is seen
/// for the first time.
///
/// Any `Fn(&Req) -> &Key` is a `KeyOf<Req>`. A builder that takes one must bound it by that `Fn`, so that a closure's
/// lifetimes are inferred:
///
/// ```
/// use forebay_core::KeyOf;
///
/// fn per<Req, Key: ?Sized, F>(key: F) -> F
/// where
///     F: for<'r> Fn(&'r Req) -> &'r Key,
/// {
///     key
/// }
///
/// let per_tenant = per(|request: &(String, u32)| request.0.as_str());
/// assert_eq!(per_tenant.key_of(&("acme".to_owned(), 7)), "acme");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not give the key of a `{Req}`",
    note = "pass a function `Fn(&{Req}) -> &Key`, or `Unkeyed` for one state for all"
)]
pub trait KeyOf<Req: ?Sized> {
    /// The type of the key, as it is borrowed.
    type Key: Hash + Eq + ToOwned + ?Sized;

    /// The key of `request`. It must not block and should not panic.
    fn key_of<'r>(&self, request: &'r Req) -> &'r Self::Key;
}

/// One key for all requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unkeyed;

// === impl KeyOf ===

impl<Req, Key, F> KeyOf<Req> for F
where
    Req: ?Sized,
    Key: Hash + Eq + ToOwned + ?Sized,
    F: for<'r> Fn(&'r Req) -> &'r Key,
{
    type Key = Key;

    #[inline]
    fn key_of<'r>(&self, request: &'r Req) -> &'r Key {
        self(request)
    }
}

impl<Req: ?Sized> KeyOf<Req> for Unkeyed {
    type Key = ();

    #[inline]
    fn key_of<'r>(&self, _: &'r Req) -> &'r () {
        &()
    }
}
