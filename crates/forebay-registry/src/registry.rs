//! The handle.

use crate::{Acquire, ClientMaker, CloseReport, Lease, RegistryBuilder, RegistryMake, Snapshot, inner::Inner};
use forebay_core::BoxError;
use std::{borrow::Borrow, fmt, future::Future, hash::Hash, sync::Arc, time::Duration};

/// One client for each key, shared by all callers, made by the first and closed with the last.
///
/// A clone is another handle of the same registry. `K` is the key, `C` the client, and `G` the configuration that a
/// client is made with, if callers have one each.
///
/// See the [crate documentation](crate) for the picture, the guarantees and examples.
pub struct Registry<K, C, G = ()> {
    inner: Arc<Inner<K, C, G>>,
    /// Beside the inner, which leases share too.
    handles: Arc<Handles<K, C, G>>,
}

/// Shared by all handles: after the last of them, no call can ask for a client that is idle.
struct Handles<K, C, G> {
    inner: Arc<Inner<K, C, G>>,
    /// Set where the bounds of `K` are known.
    at_end: fn(&Inner<K, C, G>),
}

// === impl Registry ===

impl<K, C> Registry<K, C, ()>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static,
    C: Send + Sync + 'static,
{
    /// A registry whose clients are made by `make`.
    ///
    /// `make` runs in the tasks that wait for its client; its panics become errors. What takes longer than callers wait, and
    /// has to go on without them, it can `tokio::spawn` itself. It must not acquire its own key, nor one whose client needs its
    /// own: that is an error
    /// ([`AcquireErrorKind::Circular`](crate::AcquireErrorKind::Circular)).
    pub fn builder<F, Fut, E>(make: F) -> RegistryBuilder<K, C, ()>
    where
        F: Fn(K) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::builder_with(move |key, ()| make(key))
    }

    /// The client of `key`.
    ///
    /// When it is there this takes no lock, allocates nothing and is ready at the first poll. Otherwise the client is
    /// made, once for all callers that ask for it meanwhile.
    ///
    /// # Errors
    ///
    /// [`AcquireError`](crate::AcquireError): the client could not be made, none is wanted, there is no room, or the registry is
    /// closed.
    #[inline]
    pub fn acquire<'a, Q>(&'a self, key: &'a Q) -> Acquire<'a, K, Q, C, ()>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Acquire::new(&self.inner, key, &(), false)
    }

    /// The registry as a `MakeService`: a key in, a [`LeasedService`](crate::LeasedService) out.
    #[must_use]
    pub fn into_make(self) -> RegistryMake<K, C> {
        RegistryMake::new(self)
    }

    /// A new client in the place of the one that `key` has, for credentials or certificates that have changed.
    ///
    /// While it is made, the old client serves. From then on every call gets the new one. The old one is closed when
    /// its leases have ended. Replacements take effect in the order in which they were asked for: a slow one never
    /// takes the place of a later one, and its caller gets the later one's client.
    ///
    /// A key without a client just gets one, even if making one failed a moment ago.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire). The old client then stays.
    pub fn replace<'a, Q>(&'a self, key: &'a Q) -> Acquire<'a, K, Q, C, ()>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Acquire::new(&self.inner, key, &(), true)
    }
}

impl<K, C, G> Registry<K, C, G>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static,
    C: Send + Sync + 'static,
    G: PartialEq + Clone + Send + Sync + 'static,
{
    /// A registry whose clients are made by `make` from a key and the configuration of the first caller.
    ///
    /// As [`builder`](Registry::builder) otherwise.
    pub fn builder_with<F, Fut, E>(make: F) -> RegistryBuilder<K, C, G>
    where
        F: Fn(K, G) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<C, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        RegistryBuilder::new(ClientMaker(Arc::new(move |key, config: Arc<G>| {
            let making = make(key, G::clone(&config));
            Box::pin(async move { making.await.map_err(Into::into) })
        })))
    }

    /// The client of `key`, made with `config` if it is not there.
    ///
    /// The first configuration wins. A call that brings another one gets the client as it is, and the observer gets
    /// [`RegistryEvent::Diverged`](crate::RegistryEvent::Diverged) with both. What must never be shared belongs into the key.
    ///
    /// A failure, or a [`Declined`](crate::Declined), goes only to those that asked with the same configuration; the
    /// others ask the maker themselves.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Registry::acquire).
    #[inline]
    pub fn acquire_with<'a, Q>(&'a self, key: &'a Q, config: &'a G) -> Acquire<'a, K, Q, C, G>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Acquire::new(&self.inner, key, config, false)
    }

    /// As [`replace`](Registry::replace), with the configuration for the new client.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Registry::acquire). The old client then stays.
    pub fn replace_with<'a, Q>(&'a self, key: &'a Q, config: &'a G) -> Acquire<'a, K, Q, C, G>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        Acquire::new(&self.inner, key, config, true)
    }

    /// The client of `key` if there is one, leased or lingering. Nothing is made, and nothing is waited for.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<Lease<C>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        self.inner.fast(key, None).or_else(|| self.inner.find(key)).map(Lease::new)
    }

    /// What the registry holds now, and what it has done. It takes the lock, and copies every key.
    ///
    /// [`Snapshot::leased_for`] is the leak report.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<K> {
        self.inner.snapshot()
    }

    /// Closes the registry, and waits until every client is closed, at most for `deadline`.
    ///
    /// From the first poll on, every call for a client is refused. Idle clients are closed at once, leased ones when
    /// their last lease ends: no caller loses its client. What is left at the deadline is in the report, and is
    /// still closed later. A second call waits as well. The deadline is counted from the first poll.
    ///
    /// # Cancellation
    ///
    /// The registry stays closed, and the hooks go on as tasks.
    pub async fn close_all(&self, deadline: Duration) -> CloseReport<K> {
        Arc::clone(&self.inner).close_all(deadline).await
    }

    pub(crate) fn of(inner: Arc<Inner<K, C, G>>) -> Self {
        let handles = Arc::new(Handles { inner: Arc::clone(&inner), at_end: Inner::keep_nothing });
        Self { inner, handles }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner<K, C, G>> {
        &self.inner
    }
}

/// Another handle of the same registry.
impl<K, C, G> Clone for Registry<K, C, G> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), handles: Arc::clone(&self.handles) }
    }
}

/// Shows nothing of what is inside: keys may be names.
impl<K, C, G> fmt::Debug for Registry<K, C, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

// === impl Handles ===

impl<K, C, G> Drop for Handles<K, C, G> {
    fn drop(&mut self) {
        (self.at_end)(&self.inner);
    }
}
