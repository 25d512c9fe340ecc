use super::Limit;
use crate::{ByError, adaptive::Adaptive};
use tower_layer::Layer;

/// Limits the requests in flight by a number that tunes itself; see the [module](super).
///
/// Each service that it makes has a limit of its own, which its clones share.
#[derive(Clone, Debug)]
pub struct LimitLayer<C = ByError> {
    adaptive: Adaptive,
    classify: C,
}

// === impl LimitLayer ===

impl LimitLayer {
    /// A limit within the bounds of `adaptive`, for a service whose errors are [`BoxError`](crate::BoxError)s.
    #[must_use]
    pub const fn new(adaptive: Adaptive) -> Self {
        Self { adaptive, classify: ByError::new() }
    }
}

impl<C> LimitLayer<C> {
    /// Sets what a result says of the server: a closure `Fn(&Result<Res, Err>) -> Outcome`, or any
    /// [`Classify`](crate::Classify).
    ///
    /// [`Outcome::Retryable`](crate::Outcome::Retryable) is back-pressure, and lowers the limit. What is terminal or ignored is not
    /// counted. A panic in it passes through to the caller, and counts as nothing. Default: [`ByError`].
    #[must_use]
    pub fn classify<C2>(self, classify: C2) -> LimitLayer<C2> {
        LimitLayer { adaptive: self.adaptive, classify }
    }
}

impl<S, C: Clone> Layer<S> for LimitLayer<C> {
    type Service = Limit<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Limit::new(inner, &self.adaptive, self.classify.clone())
    }
}
