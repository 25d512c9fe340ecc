//! A circuit breaker whose state a test decides, for code that has to behave well around one.

use crate::BoxError;
use std::{
    error::Error,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};
use tower::Layer;
use tower_service::Service;

/// Puts a [`StubBreaker`] around a service. All of its services share one state, which [`control`](Self::control) sets.
///
/// It decides nothing by itself: no failure opens it, and no time closes it.
///
/// ```
/// use forebay_testkit::breaker::{CircuitState, StubBreakerLayer};
/// use tower::{Layer, Service, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let layer = StubBreakerLayer::new();
/// let control = layer.control();
/// let mut guarded = layer.layer(service_fn(|n: u32| async move { Ok::<_, std::io::Error>(n + 1) }));
/// assert_eq!(guarded.ready().await.unwrap().call(1).await.unwrap(), 2);
///
/// control.set(CircuitState::Open);
/// assert!(guarded.ready().await.unwrap().call(1).await.is_err());
/// assert_eq!((control.calls(), control.rejected()), (1, 1));
/// # }
/// ```
#[derive(Clone, Default)]
pub struct StubBreakerLayer {
    control: BreakerControl,
    reject: Option<Arc<dyn Fn() -> BoxError + Send + Sync>>,
}

/// A service behind a circuit whose state a test decides; from a [`StubBreakerLayer`].
#[derive(Clone)]
pub struct StubBreaker<S> {
    inner: S,
    layer: StubBreakerLayer,
}

/// Sets and reads the state of a [`StubBreakerLayer`]. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct BreakerControl(Arc<Mutex<Circuit>>);

/// What the circuit does with calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CircuitState {
    /// Lets all calls through.
    #[default]
    Closed,
    /// Rejects all calls.
    Open,
    /// Lets one call through at a time, and rejects the others.
    HalfOpen,
}

/// The circuit is open, or half-open with a probe under way: the inner service has not seen the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The state that rejected it.
    pub state: CircuitState,
}

#[derive(Debug, Default)]
struct Circuit {
    state: CircuitState,
    /// Calls that were let through, by their outcome so far.
    running: u64,
    succeeded: u64,
    failed: u64,
    rejected: u64,
}

/// A call that was let through; without an outcome if it is dropped.
struct Running(BreakerControl);

// === impl StubBreakerLayer ===

impl StubBreakerLayer {
    /// A closed circuit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Rejects with this error in place of [`Rejected`], such as the one of the breaker that it stands for.
    #[must_use]
    pub fn reject_with<E: Into<BoxError>>(mut self, error: impl Fn() -> E + Send + Sync + 'static) -> Self {
        self.reject = Some(Arc::new(move || error().into()));
        self
    }

    /// Sets and reads the state.
    #[must_use]
    pub fn control(&self) -> BreakerControl {
        self.control.clone()
    }
}

impl<S> Layer<S> for StubBreakerLayer {
    type Service = StubBreaker<S>;

    fn layer(&self, inner: S) -> StubBreaker<S> {
        StubBreaker { inner, layer: self.clone() }
    }
}

impl fmt::Debug for StubBreakerLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StubBreakerLayer").field("control", &self.control).finish_non_exhaustive()
    }
}

// === impl BreakerControl ===

impl BreakerControl {
    /// The state from now on. Calls that are under way go on.
    pub fn set(&self, state: CircuitState) {
        self.lock().state = state;
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> CircuitState {
        self.lock().state
    }

    /// How many calls were let through.
    #[must_use]
    pub fn calls(&self) -> u64 {
        let circuit = self.lock();
        circuit.running + circuit.succeeded + circuit.failed
    }

    /// How many calls were rejected.
    #[must_use]
    pub fn rejected(&self) -> u64 {
        self.lock().rejected
    }

    /// What a breaker at this place would have counted: successes, and failures. A breaker above code that swallows errors sees
    /// successes only.
    #[must_use]
    pub fn outcomes(&self) -> (u64, u64) {
        let circuit = self.lock();
        (circuit.succeeded, circuit.failed)
    }

    fn admit(&self) -> Result<Running, Rejected> {
        let mut circuit = self.lock();
        let state = circuit.state;
        let admitted = match state {
            CircuitState::Closed => true,
            CircuitState::Open => false,
            CircuitState::HalfOpen => circuit.running == 0,
        };
        if !admitted {
            circuit.rejected += 1;
            return Err(Rejected { state });
        }
        circuit.running += 1;
        Ok(Running(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl StubBreaker ===

impl<S, Req> Service<Req> for StubBreaker<S>
where
    S: Service<Req>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.layer.control.admit() {
            Ok(running) => {
                let called = self.inner.call(request);
                Box::pin(async move {
                    let result = called.await.map_err(Into::into);
                    running.ended(result.is_ok());
                    result
                })
            }
            Err(rejected) => {
                let error = self.layer.reject.as_ref().map_or_else(|| rejected.into(), |reject| reject());
                Box::pin(std::future::ready(Err(error)))
            }
        }
    }
}

impl<S: fmt::Debug> fmt::Debug for StubBreaker<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StubBreaker").field("inner", &self.inner).field("layer", &self.layer).finish()
    }
}

// === impl Running ===

impl Running {
    fn ended(self, well: bool) {
        let mut circuit = self.0.lock();
        if well {
            circuit.succeeded += 1;
        } else {
            circuit.failed += 1;
        }
        // Before the call itself is dropped, which takes the lock again.
        drop(circuit);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

// === impl Rejected ===

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the circuit is {:?}: the call was rejected", self.state)
    }
}

impl Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{ServiceExt, service_fn};

    #[tokio::test]
    async fn each_state_does_what_it_says_and_outcomes_are_counted() {
        let layer = StubBreakerLayer::new();
        let control = layer.control();
        let mut guarded = layer.layer(service_fn(|wait: Option<bool>| async move {
            match wait {
                Some(true) => Ok(()),
                Some(false) => Err(BoxError::from("failed")),
                None => std::future::pending().await,
            }
        }));
        assert!(guarded.ready().await.unwrap().call(Some(true)).await.is_ok());
        assert!(guarded.ready().await.unwrap().call(Some(false)).await.is_err());
        assert_eq!(control.outcomes(), (1, 1));

        control.set(CircuitState::HalfOpen);
        let probe = guarded.ready().await.unwrap().call(None);
        let second = guarded.ready().await.unwrap().call(Some(true)).await.unwrap_err();
        assert_eq!(second.downcast_ref(), Some(&Rejected { state: CircuitState::HalfOpen }));
        drop(probe);
        assert!(guarded.ready().await.unwrap().call(Some(true)).await.is_ok(), "a dropped probe gives its place back");

        control.set(CircuitState::Open);
        let mut named = layer.reject_with(|| "circuit open").layer(service_fn(|()| async { Ok::<_, BoxError>(()) }));
        assert_eq!(named.ready().await.unwrap().call(()).await.unwrap_err().to_string(), "circuit open");
        assert_eq!((control.state(), control.calls(), control.rejected()), (CircuitState::Open, 3, 2));
    }
}
