use tower::ServiceBuilder;
use tower_layer::Stack;

/// A builder with one layer more.
pub type Stacked<Layer, L> = ServiceBuilder<Stack<Layer, L>>;

/// Adds the layers of this family to [`ServiceBuilder`], under words that its own methods do not have.
///
/// As there, what is added first stands outermost and sees a request first.
pub trait ServiceBuilderExt<L>: sealed::Sealed<L> + Sized {
    /// Puts a bounded queue with a priority lane in front of what follows.
    #[cfg(feature = "queue")]
    #[cfg_attr(docsrs, doc(cfg(feature = "queue")))]
    fn queued<T, Se>(self, layer: forebay_queue::QueueLayer<T, Se>) -> Stacked<forebay_queue::QueueLayer<T, Se>, L>;

    /// Gathers items into batches for what follows.
    #[cfg(feature = "batch")]
    #[cfg_attr(docsrs, doc(cfg(feature = "batch")))]
    fn batched<T, Se, P, An, B>(
        self,
        layer: forebay_batch::BatchLayer<T, Se, P, An, B>,
    ) -> Stacked<forebay_batch::BatchLayer<T, Se, P, An, B>, L>;

    /// Stops calling what follows while it keeps failing.
    #[cfg(feature = "breaker")]
    #[cfg_attr(docsrs, doc(cfg(feature = "breaker")))]
    fn breaking<K, F, C>(
        self,
        layer: forebay_breaker::BreakerLayer<K, F, C>,
    ) -> Stacked<forebay_breaker::BreakerLayer<K, F, C>, L>;

    /// Sends a request again when its failure may pass.
    #[cfg(feature = "retry")]
    #[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
    fn retrying<C, P, K>(
        self,
        layer: forebay_retry::RetryLayer<C, P, K>,
    ) -> Stacked<forebay_retry::RetryLayer<C, P, K>, L>;
}

// === impl ServiceBuilderExt ===

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {
    #[cfg(feature = "queue")]
    fn queued<T, Se>(self, layer: forebay_queue::QueueLayer<T, Se>) -> Stacked<forebay_queue::QueueLayer<T, Se>, L> {
        self.layer(layer)
    }

    #[cfg(feature = "batch")]
    fn batched<T, Se, P, An, B>(
        self,
        layer: forebay_batch::BatchLayer<T, Se, P, An, B>,
    ) -> Stacked<forebay_batch::BatchLayer<T, Se, P, An, B>, L> {
        self.layer(layer)
    }

    #[cfg(feature = "breaker")]
    fn breaking<K, F, C>(
        self,
        layer: forebay_breaker::BreakerLayer<K, F, C>,
    ) -> Stacked<forebay_breaker::BreakerLayer<K, F, C>, L> {
        self.layer(layer)
    }

    #[cfg(feature = "retry")]
    fn retrying<C, P, K>(
        self,
        layer: forebay_retry::RetryLayer<C, P, K>,
    ) -> Stacked<forebay_retry::RetryLayer<C, P, K>, L> {
        self.layer(layer)
    }
}

mod sealed {
    /// Only [`ServiceBuilder`](tower::ServiceBuilder) is extended, so that methods can be added.
    pub trait Sealed<L> {}

    impl<L> Sealed<L> for tower::ServiceBuilder<L> {}
}
