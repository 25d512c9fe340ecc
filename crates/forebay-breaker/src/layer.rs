use crate::{Breaker, BreakerBuilder, BreakerHandle, Trip, call::Local, core::Core};
use forebay_core::{ByError, Unkeyed};
use std::{fmt, sync::Arc, time::Duration};
use tower_layer::Layer;

/// Applies a [`Breaker`].
///
/// All services made by one layer and its clones share the state of every key.
///
/// `K` is the type of the keys as they are kept, `F` takes them from a request, `C` is the classifier.
pub struct BreakerLayer<K, F, C> {
    local: Arc<Local<K, C>>,
    keys: F,
}

// === impl BreakerLayer ===

// The type that `BreakerLayer::builder()` infers; nothing of it stays but the name.
impl BreakerLayer<(), Unkeyed, ByError> {
    /// A breaker without keys that opens after 5 failures in a row; every knob and its default is in the table of
    /// [`BreakerBuilder`].
    pub fn builder() -> BreakerBuilder {
        BreakerBuilder::new()
    }

    /// What a database driver's telemetry wants: 5 failures in a row open it for 60 s, 2 successes close it.
    ///
    /// These are the numbers of Databricks' driver for Node.js.
    pub fn driver() -> BreakerBuilder {
        BreakerBuilder::new().trip(Trip::consecutive(5)).open_for(Duration::from_secs(60)).close_after(2).probes(1)
    }

    /// A tenth of at least 100 calls in 30 s opens it for 5 s, one success closes it.
    ///
    /// These are the defaults of [Polly](https://www.pollydocs.org/strategies/circuit-breaker.html#defaults).
    pub fn ratio() -> BreakerBuilder {
        BreakerBuilder::new()
            .trip(Trip::ratio(0.1).over(Duration::from_secs(30)).min_calls(100))
            .open_for(Duration::from_secs(5))
            .close_after(1)
            .probes(1)
    }

    /// For any HTTP API: [`driver`](Self::driver) with one state per authority, and with a classifier that sees responses as well
    /// as errors.
    ///
    /// 429, 5xx (without 501 and 505), timeouts and connection errors count, each with its `Retry-After`. Every other response,
    /// such as 304, 404 or 422, is the sign of a healthy server, and counts as a success: the row `general` of the table that the
    /// presets of breaker and retry share, [`Preset`](forebay_core::http::Preset).
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn http<Kind>() -> crate::HttpBreakerBuilder<Kind> {
        Self::driver().by_authority().classify(forebay_core::http::Classifier::general())
    }

    /// [`http`](Self::http) for telemetry, where every status that is not 2xx means that the data were not taken, and counts as a
    /// failure: the row `driver` of the [table](forebay_core::http::Preset).
    ///
    /// [`excluding_terminal`](BreakerBuilder::excluding_terminal) leaves out what is not retryable.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn http_telemetry<Kind>() -> crate::HttpBreakerBuilder<Kind> {
        Self::driver().by_authority().classify(forebay_core::http::Classifier::driver())
    }
}

impl<K, F, C> BreakerLayer<K, F, C> {
    pub(crate) fn new(core: Core<K>, keys: F, classify: C) -> Self {
        Self { local: Arc::new(Local { core: Arc::new(core), classify }), keys }
    }

    /// A handle that observes and controls every service this layer makes.
    #[must_use]
    pub fn handle(&self) -> BreakerHandle<K> {
        BreakerHandle::new(Arc::clone(&self.local.core))
    }

    pub(crate) fn local(&self) -> &Arc<Local<K, C>> {
        &self.local
    }
}

impl<S, K, F: Clone, C: Clone> Layer<S> for BreakerLayer<K, F, C> {
    type Service = Breaker<S, K, F, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Breaker::new(inner, self.keys.clone(), Arc::clone(&self.local.core), self.local.classify.clone())
    }
}

impl<K, F: Clone, C> Clone for BreakerLayer<K, F, C> {
    fn clone(&self) -> Self {
        Self { local: Arc::clone(&self.local), keys: self.keys.clone() }
    }
}

impl<K, F, C> fmt::Debug for BreakerLayer<K, F, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BreakerLayer").field("core", &self.local.core).finish_non_exhaustive()
    }
}
