use super::{FetchError, FetchedConfig, RemoteConfigBuilder};
use std::{fmt, future::Future, sync::Arc};
use tokio::sync::watch;

/// A configuration that is fetched from a server repeatedly. The last valid one is kept.
///
/// Clones share it. The worker ends with the last of them.
///
/// ```
/// use forebay_collect::{FetchError, FetchedConfig, RemoteConfig};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), forebay_core::BoxError> {
/// // Yours: an HTTP request, whose response is parsed.
/// let fetch = || async { Ok::<_, FetchError>(FetchedConfig::new("allow: .*").refresh(Duration::from_secs(60))) };
/// let (mut config, worker) = RemoteConfig::builder(fetch).build()?;
/// tokio::spawn(worker.run());
/// assert!(config.current().is_none(), "disabled before the first response");
/// config.changed().await;
/// assert_eq!(config.current().as_deref(), Some(&"allow: .*"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RemoteConfig<V> {
    receiver: watch::Receiver<Configured<V>>,
}

/// The current configuration, and its status.
///
/// It is replaced as a whole: no reader sees half of a change.
#[non_exhaustive]
pub struct Configured<V> {
    /// The configuration; `None` while disabled: before the first response, and when the server refuses this client.
    pub value: Option<Arc<V>>,
    /// The status of the last fetch.
    pub status: RemoteStatus,
    /// Fetches that gave a valid configuration, changed or not.
    pub successes: u64,
    /// Fetches that gave no valid configuration.
    pub failures: u64,
}

/// The status of a configuration.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RemoteStatus {
    /// No fetch has ended yet.
    Starting,
    /// The last fetch gave this configuration.
    Current,
    /// The last fetch failed; the last valid configuration is kept.
    Kept(FetchError),
    /// The server refuses this client.
    Disabled(FetchError),
}

// === impl RemoteConfig ===

impl<V: PartialEq + Send + Sync + 'static> RemoteConfig<V> {
    /// A builder with the defaults of [`RemoteConfigBuilder`]; `fetch` sends one request to the server.
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

    /// The current configuration; `None` while disabled.
    #[must_use]
    pub fn current(&self) -> Option<Arc<V>> {
        self.receiver.borrow().value.clone()
    }

    /// The current configuration, and its status.
    #[must_use]
    pub fn state(&self) -> Configured<V> {
        self.receiver.borrow().clone()
    }

    /// Waits until a fetch has ended since the last call; `false` if the worker has ended.
    ///
    /// # Cancellation
    /// A dropped future loses nothing: the next call sees the change.
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
