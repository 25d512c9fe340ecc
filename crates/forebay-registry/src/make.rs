//! The registry as a `MakeService`, and as a layer over one.

use crate::{
    AcquireError, LeasedService, Registry,
    builder::RegistryBuilder,
    inner::{Found, Inner, Maker},
    lease::Lease,
    runtime::Runtime,
    settings::Settings,
    wait::{Wait, Waiting},
};
use forebay_core::{BoxError, ConfigError};
use std::{
    fmt,
    future::{Future, poll_fn},
    hash::Hash,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// A [`Registry`] as a `MakeService`: the response to a key is a [`LeasedService`].
///
/// From [`Registry::into_make`], or from a [`RegistryLayer`]. It is always ready: whether a service has to be made is
/// only known with the key, so what making one has to wait for is waited for in the response future.
pub struct RegistryMake<K, S> {
    registry: Registry<K, S>,
}

/// Shares what the `MakeService` below it makes: one service for each key, closed with its last user.
///
/// Each application of the layer has its own registry; the clones of one [`RegistryMake`] share it.
///
/// ```
/// use forebay_core::BoxError;
/// use forebay_registry::RegistryLayer;
/// use tower::{Layer, Service, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let connect = service_fn(|host: String| async move {
///     // Connects, logs in ...
///     Ok::<_, BoxError>(service_fn(move |n: u32| {
///         let host = host.clone();
///         async move { Ok::<_, BoxError>(format!("{host} got {n}")) }
///     }))
/// });
/// let mut make = RegistryLayer::builder().build()?.layer(connect);
/// let mut service = make.ready().await?.call("a.example".to_owned()).await?;
/// assert_eq!(service.ready().await?.call(7).await?, "a.example got 7");
/// # Ok(())
/// # }
/// ```
pub struct RegistryLayer<K, S> {
    settings: Arc<Settings<K, S, ()>>,
    runtime: Runtime,
}

/// Response future of [`RegistryMake`].
///
/// # Cancellation
///
/// As [`Acquire`](crate::Acquire).
#[must_use = "futures do nothing unless polled"]
pub struct MakeFuture<S> {
    stage: Stage<S>,
}

enum Stage<S> {
    Found(Option<Result<Lease<S>, AcquireError>>),
    Waiting(Waiting<S>),
}

// === impl RegistryMake ===

impl<K, S> RegistryMake<K, S> {
    pub(crate) fn new(registry: Registry<K, S>) -> Self {
        Self { registry }
    }

    /// The registry, to look at it and to close it.
    #[must_use]
    pub fn registry(&self) -> &Registry<K, S> {
        &self.registry
    }
}

impl<K, S> Service<K> for RegistryMake<K, S>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static,
    S: Clone + Send + Sync + 'static,
{
    type Response = LeasedService<S>;
    type Error = BoxError;
    type Future = MakeFuture<S>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, key: K) -> MakeFuture<S> {
        let inner = self.registry.inner();
        // The fast path needs no box; only a call that waits allocates.
        let found = |found: Found<S>| Stage::Found(Some(found.map(Lease::new)));
        let stage = match inner.fast(&key, Some(&())) {
            Some(live) => found(Ok(live)),
            None => match Wait::begin(inner, key, Arc::new(())) {
                Ok(begun) => found(begun),
                Err(wait) => Stage::Waiting(Box::pin(wait)),
            },
        };
        MakeFuture { stage }
    }
}

impl<K, S> Clone for RegistryMake<K, S> {
    fn clone(&self) -> Self {
        Self { registry: self.registry.clone() }
    }
}

impl<K, S> fmt::Debug for RegistryMake<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryMake").field("registry", &self.registry).finish()
    }
}

// === impl RegistryLayer ===

impl<K, S> RegistryLayer<K, S> {
    /// With the settings of a [`Registry`], and without its maker: that is the service below.
    pub fn builder() -> RegistryBuilder<K, S, (), ()> {
        RegistryBuilder::new(())
    }
}

impl<K, S> RegistryBuilder<K, S, (), ()> {
    /// The layer.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] for a setting outside the range in the table above.
    pub fn build(self) -> Result<RegistryLayer<K, S>, ConfigError> {
        let ((), settings, runtime) = self.checked()?;
        Ok(RegistryLayer { settings: Arc::new(settings), runtime })
    }
}

impl<K, M> Layer<M> for RegistryLayer<K, M::Response>
where
    K: Hash + Eq + Clone + fmt::Debug + Send + Sync + 'static,
    M: Service<K> + Clone + Send + 'static,
    M::Response: Send + Sync + 'static,
    M::Error: Into<BoxError>,
    M::Future: Send,
{
    type Service = RegistryMake<K, M::Response>;

    fn layer(&self, inner: M) -> Self::Service {
        let inner = Mutex::new(inner);
        let maker: Maker<K, M::Response, ()> = Arc::new(move |key, _| {
            // CORRECTNESS: a clone is not ready; the instance that is made ready is the one that is called. The lock is held for
            // nothing but the clone: it makes what is only `Send` also `Sync`.
            let mut make = inner.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Box::pin(async move {
                poll_fn(|cx| make.poll_ready(cx)).await.map_err(Into::into)?;
                make.call(key).await.map_err(Into::into)
            })
        });
        let inner = Inner::new(Arc::clone(&self.settings), self.runtime.clone(), maker);
        RegistryMake::new(Registry::of(inner))
    }
}

impl<K, S> Clone for RegistryLayer<K, S> {
    fn clone(&self) -> Self {
        Self { settings: Arc::clone(&self.settings), runtime: self.runtime.clone() }
    }
}

impl<K, S> fmt::Debug for RegistryLayer<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryLayer").field("settings", &self.settings).finish_non_exhaustive()
    }
}

// === impl MakeFuture ===

impl<S: Clone> Future for MakeFuture<S> {
    type Output = Result<LeasedService<S>, BoxError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let found = match &mut self.stage {
            Stage::Found(found) => found.take(),
            Stage::Waiting(waiting) => match waiting.as_mut().poll(cx) {
                Poll::Ready(found) => Some(found.map(Lease::new)),
                Poll::Pending => return Poll::Pending,
            },
        };
        self.stage = Stage::Found(None);
        let Some(found) = found else { return Poll::Pending };
        Poll::Ready(found.map(Lease::into_service).map_err(Into::into))
    }
}

impl<S> fmt::Debug for MakeFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MakeFuture").finish_non_exhaustive()
    }
}
