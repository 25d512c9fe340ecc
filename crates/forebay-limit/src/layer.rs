use crate::{Adaptive, Limit, LimitHandle, gate::Gate};
use forebay_core::{ByError, ConfigError};
use std::{fmt, sync::Arc};
use tower_layer::Layer;

/// Applies a [`Limit`].
///
/// All services made by one layer and its clones share the limit and the line of those that wait.
pub struct LimitLayer<C> {
    gate: Arc<Gate>,
    classify: C,
}

/// Builds a [`LimitLayer`].
///
/// | knob | default | allowed |
/// | --- | --- | --- |
/// | [`adaptive`](Self::adaptive) | 1 to 200 in flight, beginning with 1 | see [`AdaptiveBuilder`](crate::AdaptiveBuilder) |
/// | [`max_waiting`](Self::max_waiting) | 1,024 | 0 to 1,048,576 |
/// | [`classify`](Self::classify) | [`ByError`]: an `Err` is back-pressure, unless its [`Verdict`](forebay_core::Verdict) says that a retry is not sensible | |
///
/// Nothing is checked before [`build`](LimitBuilder::build).
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct LimitBuilder<C> {
    adaptive: Adaptive,
    max_waiting: usize,
    classify: C,
}

/// The classifier of a builder to which none was given: [`ByError`].
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ByDefault;

/// The classifier of a builder to which one was given.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Chosen<C>(C);

const MOST_WAITING: usize = 1 << 20;

// === impl LimitLayer ===

// The type that `LimitLayer::builder()` infers; nothing of it stays but the name.
impl LimitLayer<ByError> {
    /// A builder with the defaults.
    pub fn builder() -> LimitBuilder<ByDefault> {
        LimitBuilder { adaptive: Adaptive::default(), max_waiting: 1024, classify: ByDefault }
    }

    /// For a client of HTTP: responses with 429, 502, 503 and 504 are back-pressure, and so are errors that may pass; all others
    /// are not.
    #[cfg(feature = "http")]
    #[cfg_attr(docsrs, doc(cfg(feature = "http")))]
    pub fn http<Kind>() -> LimitBuilder<Chosen<forebay_core::http::Classifier<Kind>>> {
        Self::builder().classify(forebay_core::http::Classifier::otlp())
    }
}

impl<C> LimitLayer<C> {
    /// A handle that observes the limit of every service this layer makes.
    #[must_use]
    pub fn handle(&self) -> LimitHandle {
        LimitHandle::new(Arc::clone(&self.gate))
    }
}

impl<S, C: Clone> Layer<S> for LimitLayer<C> {
    type Service = Limit<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Limit::new(inner, Arc::clone(&self.gate), self.classify.clone())
    }
}

impl<C: Clone> Clone for LimitLayer<C> {
    fn clone(&self) -> Self {
        Self { gate: Arc::clone(&self.gate), classify: self.classify.clone() }
    }
}

impl<C> fmt::Debug for LimitLayer<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LimitLayer").field("gate", &self.gate).finish_non_exhaustive()
    }
}

// === impl LimitBuilder ===

impl<C> LimitBuilder<C> {
    /// What the limit may be, and where it begins.
    pub const fn adaptive(mut self, adaptive: Adaptive) -> Self {
        self.adaptive = adaptive;
        self
    }

    /// How many callers may wait for room; those beyond it are refused with [`LimitReached`](crate::LimitReached). Default: 1,024.
    ///
    /// With 0 nobody waits: the layer sheds load.
    pub const fn max_waiting(mut self, callers: usize) -> Self {
        self.max_waiting = callers;
        self
    }

    /// What a result means: [`Retryable`](forebay_core::Outcome::Retryable) is back-pressure, [`Success`](forebay_core::Outcome::Success)
    /// is measured, [`Terminal`](forebay_core::Outcome::Terminal) is neither, and [`Ignored`](forebay_core::Outcome::Ignored) is
    /// not even counted.
    pub fn classify<D>(self, classify: D) -> LimitBuilder<Chosen<D>> {
        let Self { adaptive, max_waiting, .. } = self;
        LimitBuilder { adaptive, max_waiting, classify: Chosen(classify) }
    }

    fn finish<D>(adaptive: Adaptive, max_waiting: usize, classify: D) -> Result<LimitLayer<D>, ConfigError> {
        if max_waiting > MOST_WAITING {
            return Err(ConfigError::new("max_waiting", max_waiting, "0 to 1,048,576"));
        }
        Ok(LimitLayer { gate: Arc::new(Gate::new(adaptive, max_waiting)), classify })
    }
}

impl LimitBuilder<ByDefault> {
    /// The finished layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a knob that is out of its range.
    pub fn build<Kind>(self) -> Result<LimitLayer<ByError<Kind>>, ConfigError> {
        Self::finish(self.adaptive, self.max_waiting, ByError::new())
    }
}

impl<C> LimitBuilder<Chosen<C>> {
    /// The finished layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a knob that is out of its range.
    pub fn build(self) -> Result<LimitLayer<C>, ConfigError> {
        Self::finish(self.adaptive, self.max_waiting, self.classify.0)
    }
}
