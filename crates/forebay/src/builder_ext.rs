use tower::ServiceBuilder;
use tower_layer::Stack;

/// A builder with one layer more.
pub type Stacked<Layer, L> = ServiceBuilder<Stack<Layer, L>>;

/// Adds the layers of this family to [`ServiceBuilder`], each as `with_` and the name of its crate.
///
/// As everywhere in `tower`, the layer that is added first stands outermost and sees a request first.
///
/// ```
/// # #[cfg(all(feature = "breaker", feature = "queue", feature = "retry"))]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), forebay::core::BoxError> {
/// use forebay::{ServiceBuilderExt, breaker::BreakerLayer, core::BoxError, queue::QueueLayer, retry::RetryLayer};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
///
/// let length = ServiceBuilder::new()
///     .with_queue(QueueLayer::builder().build()?)
///     .with_breaker(BreakerLayer::driver().build()?)
///     .with_retry(RetryLayer::default())
///     .service(service_fn(|text: String| async move { Ok::<_, BoxError>(text.len()) }));
/// assert_eq!(length.oneshot("seven ..".to_owned()).await?, 8);
/// # Ok(())
/// # }
/// # #[cfg(not(all(feature = "breaker", feature = "queue", feature = "retry")))]
/// # fn main() {}
/// ```
pub trait ServiceBuilderExt<L>: sealed::Sealed<L> + Sized {
    /// Puts a bounded queue with a priority lane in front of what follows, and takes each request at once.
    ///
    /// See [`QueueLayer::builder`](forebay_queue::QueueLayer::builder).
    #[cfg(feature = "queue")]
    #[cfg_attr(docsrs, doc(cfg(feature = "queue")))]
    fn with_queue<T, Se>(self, layer: forebay_queue::QueueLayer<T, Se>)
    -> Stacked<forebay_queue::QueueLayer<T, Se>, L>;

    /// Gathers items into batches for what follows.
    ///
    /// See [`BatchLayer::builder`](forebay_batch::BatchLayer::builder).
    #[cfg(feature = "batch")]
    #[cfg_attr(docsrs, doc(cfg(feature = "batch")))]
    fn with_batch<T, Se, P, R>(
        self,
        layer: forebay_batch::BatchLayer<T, Se, P, R>,
    ) -> Stacked<forebay_batch::BatchLayer<T, Se, P, R>, L>;

    /// Stops calling what follows while it keeps failing.
    ///
    /// Presets: [`BreakerLayer::driver`](forebay_breaker::BreakerLayer::driver), and with the feature `http`
    /// `BreakerLayer::http` and `http_telemetry`.
    #[cfg(feature = "breaker")]
    #[cfg_attr(docsrs, doc(cfg(feature = "breaker")))]
    fn with_breaker<K, F, C>(
        self,
        layer: forebay_breaker::BreakerLayer<K, F, C>,
    ) -> Stacked<forebay_breaker::BreakerLayer<K, F, C>, L>;

    /// Sends a request again when its failure may pass.
    ///
    /// Presets: [`RetryLayer::default`](forebay_retry::RetryLayer), and with the features `http` and `grpc`
    /// `RetryLayer::http` and `RetryLayer::grpc`; the latter has a layer below the retry.
    #[cfg(feature = "retry")]
    #[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
    fn with_retry<R: AnyRetry>(self, layer: R) -> Stacked<R, L>;

    /// Makes one client per key of what follows, which is a `MakeService`, and lends it for as long as it is used.
    ///
    /// See [`RegistryLayer::builder`](forebay_registry::RegistryLayer::builder).
    #[cfg(feature = "registry")]
    #[cfg_attr(docsrs, doc(cfg(feature = "registry")))]
    fn with_registry<K, S>(
        self,
        layer: forebay_registry::RegistryLayer<K, S>,
    ) -> Stacked<forebay_registry::RegistryLayer<K, S>, L>;
}

/// A retry: a `RetryLayer` of any kind, or what `RetryLayer::grpc()` returns, which has a layer below it; sealed.
#[cfg(feature = "retry")]
#[cfg_attr(docsrs, doc(cfg(feature = "retry")))]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no retry",
    note = "a `RetryBuilder` is finished by `.build()?`; other layers are added by `.layer(..)`"
)]
pub trait AnyRetry: sealed::AnyRetry {}

// === impl AnyRetry ===

#[cfg(feature = "retry")]
impl<C, P, K> AnyRetry for forebay_retry::RetryLayer<C, P, K> {}

#[cfg(all(feature = "grpc", feature = "retry"))]
impl<R: AnyRetry> AnyRetry for Stack<forebay_retry::grpc::TrailersLayer, R> {}

// === impl ServiceBuilderExt ===

impl<L> ServiceBuilderExt<L> for ServiceBuilder<L> {
    #[cfg(feature = "queue")]
    fn with_queue<T, Se>(
        self,
        layer: forebay_queue::QueueLayer<T, Se>,
    ) -> Stacked<forebay_queue::QueueLayer<T, Se>, L> {
        self.layer(layer)
    }

    #[cfg(feature = "batch")]
    fn with_batch<T, Se, P, R>(
        self,
        layer: forebay_batch::BatchLayer<T, Se, P, R>,
    ) -> Stacked<forebay_batch::BatchLayer<T, Se, P, R>, L> {
        self.layer(layer)
    }

    #[cfg(feature = "breaker")]
    fn with_breaker<K, F, C>(
        self,
        layer: forebay_breaker::BreakerLayer<K, F, C>,
    ) -> Stacked<forebay_breaker::BreakerLayer<K, F, C>, L> {
        self.layer(layer)
    }

    #[cfg(feature = "retry")]
    fn with_retry<R: AnyRetry>(self, layer: R) -> Stacked<R, L> {
        self.layer(layer)
    }

    #[cfg(feature = "registry")]
    fn with_registry<K, S>(
        self,
        layer: forebay_registry::RegistryLayer<K, S>,
    ) -> Stacked<forebay_registry::RegistryLayer<K, S>, L> {
        self.layer(layer)
    }
}

mod sealed {
    /// Only [`ServiceBuilder`](tower::ServiceBuilder) is extended, so that methods can be added.
    pub trait Sealed<L> {}

    impl<L> Sealed<L> for tower::ServiceBuilder<L> {}

    #[cfg(feature = "retry")]
    pub trait AnyRetry {}

    #[cfg(feature = "retry")]
    impl<C, P, K> AnyRetry for forebay_retry::RetryLayer<C, P, K> {}

    #[cfg(all(feature = "grpc", feature = "retry"))]
    impl<R: AnyRetry> AnyRetry for tower_layer::Stack<forebay_retry::grpc::TrailersLayer, R> {}
}
