//! Configuration that a server gives.

mod builder;
mod error;
mod handle;
mod worker;

pub use self::{
    builder::RemoteConfigBuilder,
    error::FetchError,
    handle::{Configured, RemoteConfig, RemoteStatus},
    worker::RemoteWorker,
};

/// What a server said: the configuration, and how often it wants to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedConfig<V> {
    pub(crate) value: V,
    pub(crate) refresh: Option<std::time::Duration>,
}

// === impl FetchedConfig ===

impl<V> FetchedConfig<V> {
    /// This configuration.
    pub const fn new(value: V) -> Self {
        Self { value, refresh: None }
    }

    /// The server wants to be asked every so often.
    ///
    /// Outside of [`interval_range`](RemoteConfigBuilder::interval_range) the whole answer is nonsense: the configuration
    /// in use is kept, and so is its interval.
    #[must_use]
    pub fn refresh(mut self, interval: std::time::Duration) -> Self {
        self.refresh = Some(interval);
        self
    }
}
