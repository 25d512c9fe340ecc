//! The handle, and what goes in and out of it.

use crate::{
    CachedBuilder, RefreshError,
    fetch::{Fetcher, Inner},
    state::Policy,
};
use forebay_core::{BoxError, support::clock::now};
use std::{
    fmt,
    future::{Future, poll_fn},
    sync::Arc,
    time::Duration,
};

/// A value with a time to live: a feature flag, a token, a configuration.
///
/// Clones share the value. See the [crate documentation](crate) for the picture and what is promised.
///
/// ```
/// use forebay_cached::{Cached, Fetched};
/// use forebay_core::BoxError;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let enabled = Cached::builder(|| async {
///     // Asks a server ...
///     Ok::<_, BoxError>(Fetched::new(true).ttl(Duration::from_secs(600)))
/// })
/// .build()?;
/// assert!(enabled.get().await?);
/// # Ok(())
/// # }
/// ```
pub struct Cached<V> {
    inner: Arc<Inner<V>>,
}

/// A value as a fetch returns it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetched<V> {
    pub(crate) value: V,
    /// What the server says; `None` is the default of the builder.
    pub(crate) ttl: Option<Duration>,
}

/// A value as a caller gets it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Reading<V> {
    /// The value.
    pub value: V,
    /// Since it was fetched.
    pub age: Duration,
    /// Why there is no newer one, although its time to live is over. `None`: it is not over.
    pub stale: Option<RefreshError>,
}

// === impl Cached ===

impl<V: Clone + Send + Sync + 'static> Cached<V> {
    /// A value that is fetched by `fetch`. Its panics become errors.
    pub fn builder<F, Fut, E>(fetch: F) -> CachedBuilder<V>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        CachedBuilder::new(fetch)
    }

    /// A token or another credential that is fetched by `fetch`: never used beyond its time to live.
    ///
    /// It is [`builder`](Self::builder) with [`refresh_at(0.8)`](CachedBuilder::refresh_at): the credential is fetched again when
    /// four fifths of its time are over, up to a tenth earlier by [`jitter`](CachedBuilder::jitter). While one caller waits for
    /// the new credential, the others use the old one. A failure is followed by a pause of a second
    /// ([`negative_ttl`](CachedBuilder::negative_ttl)), in which the old credential is used to the end of its time. No time to
    /// live is raised, and none is served stale.
    ///
    /// ```
    /// use forebay_cached::{Cached, Fetched};
    /// use forebay_core::BoxError;
    /// use std::time::Duration;
    ///
    /// # async fn log_in() -> Result<(String, u64), BoxError> { Ok(("hunter2".to_owned(), 3600)) }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), BoxError> {
    /// let token = Cached::credentials(|| async {
    ///     let (token, expires_in) = log_in().await?;
    ///     Ok::<_, BoxError>(Fetched::new(token).ttl(Duration::from_secs(expires_in)))
    /// })
    /// .build()?;
    /// assert_eq!(token.get().await?, "hunter2");
    /// # Ok(())
    /// # }
    /// ```
    pub fn credentials<F, Fut, E>(fetch: F) -> CachedBuilder<V>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Fetched<V>, E>> + Send + 'static,
        E: Into<BoxError>,
    {
        Self::builder(fetch).refresh_at(0.8).negative_ttl(Duration::from_secs(1))
    }

    pub(crate) fn new(fetch: Fetcher<V>, policy: Policy, fetch_timeout: Duration, seed: u64) -> Self {
        Self { inner: Arc::new(Inner::new(fetch, policy, fetch_timeout, seed)) }
    }

    /// The value: fresh, or stale if no newer one can be had.
    ///
    /// # Errors
    ///
    /// [`RefreshError`] when there is neither.
    ///
    /// # Cancellation
    ///
    /// A fetch goes on while a caller waits for it, and ends with the last of those that wait.
    pub async fn get(&self) -> Result<V, RefreshError> {
        self.read().await.map(|reading| reading.value)
    }

    /// The value, with its age and, if it is stale, the reason.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    ///
    /// # Cancellation
    ///
    /// As [`get`](Self::get).
    pub async fn read(&self) -> Result<Reading<V>, RefreshError> {
        let now = now();
        // No lock: a caller finds a fresh value here.
        if let Some(kept) = Option::as_ref(&self.inner.fresh.load())
            && now < kept.fresh_until
        {
            return Ok(kept.reading(now, None));
        }
        let mut wait = match self.inner.join(now) {
            Ok(read) => return read,
            Err(wait) => wait,
        };
        poll_fn(|cx| wait.poll(cx)).await
    }

    /// The latest value, however old, and the latest failure since. Nothing is fetched.
    #[must_use]
    pub fn peek(&self) -> Option<Reading<V>> {
        self.inner.peek()
    }

    /// Asks for a new value: the next call fetches it, and a fetch that runs already does not count.
    ///
    /// The old value is used only if no new one can be had, and as long as it may.
    pub fn invalidate(&self) {
        self.inner.invalidate();
    }

    /// Stores a value that came by another way. A fetch that runs already does not count.
    pub fn set(&self, fetched: Fetched<V>) {
        self.inner.set(fetched);
    }
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// Shows nothing of the value, which may be a secret.
impl<V> fmt::Debug for Cached<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached").field("policy", &self.inner.policy).finish_non_exhaustive()
    }
}

// === impl Fetched ===

impl<V> Fetched<V> {
    /// A value with the default time to live.
    pub const fn new(value: V) -> Self {
        Self { value, ttl: None }
    }

    /// The time to live of this value, in place of [`CachedBuilder::ttl`]: what the server said, say.
    ///
    /// It is taken as it is, up to 30 years, unless [`CachedBuilder::ttl_range`] is set, which clamps it. With 0 the next call
    /// fetches again.
    #[must_use]
    pub const fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}
