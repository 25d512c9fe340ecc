use super::{FetchError, FetchedConfig, RemoteConfigBuilder};
use std::{fmt, future::Future, sync::Arc};
use tokio::sync::watch;

/// The configuration that a server gives, fetched again and again; the last good one is kept.
///
/// Clones share it. With the last of them the worker ends.
///
/// ```
/// use forebay_collect::{FetchError, FetchedConfig, RemoteConfig};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), forebay_core::BoxError> {
/// // Yours: an HTTP request, and its answer read.
/// let fetch = || async { Ok::<_, FetchError>(FetchedConfig::new("allow: .*").refresh(Duration::from_secs(60))) };
/// let (mut config, worker) = RemoteConfig::builder(fetch).build()?;
/// tokio::spawn(worker.run());
/// assert!(config.current().is_none(), "disabled until the server has said something");
/// config.changed().await;
/// assert_eq!(config.current().as_deref(), Some(&"allow: .*"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RemoteConfig<V> {
    receiver: watch::Receiver<Configured<V>>,
}

/// The configuration in use, and how it stands.
///
/// It is replaced as a whole: nobody sees half of a change.
#[non_exhaustive]
pub struct Configured<V> {
    /// The configuration; `None` while disabled: before the first answer, and when the server does not want this client.
    pub value: Option<Arc<V>>,
    /// How it stands.
    pub status: RemoteStatus,
    /// Answers that were taken, with a change or without.
    pub successes: u64,
    /// Fetches that gave nothing that could be taken.
    pub failures: u64,
}

/// How a configuration stands.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RemoteStatus {
    /// Nothing was fetched so far.
    Starting,
    /// The server said so the last time it was asked.
    Current,
    /// The last fetch gave nothing that could be taken; what was good before is kept.
    Kept(FetchError),
    /// The server does not want this client.
    Disabled(FetchError),
}

// === impl RemoteConfig ===

impl<V: PartialEq + Send + Sync + 'static> RemoteConfig<V> {
    /// What can be configured, with its defaults; `fetch` asks the server once.
    pub fn builder<F, Fut>(fetch: F) -> RemoteConfigBuilder<V>
    where
        F: FnMut() -> Fut + Send + 'static,
        Fut: Future<Output = Result<FetchedConfig<V>, FetchError>> + Send + 'static,
    {
        RemoteConfigBuilder::new(fetch)
    }
}

impl<V> RemoteConfig<V> {
    pub(super) fn new(receiver: watch::Receiver<Configured<V>>) -> Self {
        Self { receiver }
    }

    /// The configuration in use; `None` while disabled.
    #[must_use]
    pub fn current(&self) -> Option<Arc<V>> {
        self.receiver.borrow().value.clone()
    }

    /// The configuration in use, and how it stands.
    #[must_use]
    pub fn state(&self) -> Configured<V> {
        self.receiver.borrow().clone()
    }

    /// Waits until a fetch has ended since the last call; `false` if the worker is gone and none will.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing: the next call sees the change.
    pub async fn changed(&mut self) -> bool {
        self.receiver.changed().await.is_ok()
    }
}

impl<V> Clone for RemoteConfig<V> {
    fn clone(&self) -> Self {
        Self { receiver: self.receiver.clone() }
    }
}

// === impl Configured ===

impl<V> Clone for Configured<V> {
    fn clone(&self) -> Self {
        let Self { value, status, successes, failures } = self;
        Self { value: value.clone(), status: status.clone(), successes: *successes, failures: *failures }
    }
}

impl<V> fmt::Debug for Configured<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A configuration may hold secrets.
        f.debug_struct("Configured")
            .field("enabled", &self.value.is_some())
            .field("status", &self.status)
            .field("successes", &self.successes)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}
