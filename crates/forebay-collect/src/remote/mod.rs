//! Configuration that a server provides.

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

/// The content of a response: the configuration, and the interval that the server asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedConfig<V> {
    pub(crate) value: V,
    pub(crate) refresh: Option<std::time::Duration>,
}

// === impl FetchedConfig ===

impl<V> FetchedConfig<V> {
    /// A response with this configuration, which keeps the interval.
    pub const fn new(value: V) -> Self {
        Self { value, refresh: None }
    }

    /// Sets the interval that the server asks for.
    ///
    /// Outside of [`interval_range`](RemoteConfigBuilder::interval_range) the whole response is invalid: the current
    /// configuration and its interval are kept.
    #[must_use]
    pub fn refresh(mut self, interval: std::time::Duration) -> Self {
        self.refresh = Some(interval);
        self
    }
}
