use crate::{Retry, RetryBuilder, policy::Cloned, rules::Rules};
use forebay_core::ByError;
use std::{fmt, sync::Arc};
use tower_layer::Layer;

/// Applies a [`Retry`]: sends a request again when its failure may pass.
///
/// [`builder`](Self::builder) sets it up. The presets are ready to use: [`default`](Self::default) for errors of any kind,
/// `RetryLayer::http()` (feature `http`), `RetryLayer::grpc()` (feature `grpc`). [`run`](Self::run) retries a function
/// without a service.
///
/// All services made by one layer and its clones share the budget, the throttle, and the numbering that keeps their jitter
/// apart.
///
/// ```
/// use forebay_retry::{ByError, RetryLayer};
/// use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), BoxError> {
/// let service = ServiceBuilder::new()
///     .layer(RetryLayer::builder(ByError::new()).max_retries(2).build()?)
///     .service(service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) }));
/// assert_eq!(service.oneshot(1).await?, 2);
/// # Ok(())
/// # }
/// ```
pub struct RetryLayer<C, P = Cloned, K = ()> {
    pub(crate) rules: Arc<Rules<C, P, K>>,
}

// === impl RetryLayer ===

impl<C> RetryLayer<C> {
    /// Sets up a layer that retries what `classifier` finds [retryable](forebay_core::Outcome::Retryable).
    pub fn builder(classifier: C) -> RetryBuilder<C> {
        RetryBuilder::new(classifier)
    }
}

/// Every error is retried, unless its [`Verdict`](forebay_core::Verdict) says that a retry is not sensible; with the defaults
/// of [`RetryBuilder`]. `Kind` is inferred from the error type.
impl<Kind> Default for RetryLayer<ByError<Kind>> {
    fn default() -> Self {
        RetryBuilder::new(ByError::new()).checked()
    }
}

impl<S, C, P, K> Layer<S> for RetryLayer<C, P, K> {
    type Service = Retry<S, C, P, K>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, Arc::clone(&self.rules))
    }
}

impl<C, P, K> Clone for RetryLayer<C, P, K> {
    fn clone(&self) -> Self {
        Self { rules: Arc::clone(&self.rules) }
    }
}

impl<C, P, K> fmt::Debug for RetryLayer<C, P, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.rules, f)
    }
}
