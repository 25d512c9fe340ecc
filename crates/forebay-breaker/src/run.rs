//! A circuit around an operation that is no service.

use crate::{
    BreakerLayer, CircuitOpen,
    admitted::Admitted,
    call::{Call, Polling},
    key::{Keys, NoKeys},
    label::KeyLabel,
};
use forebay_core::Classify;
use std::{
    borrow::Borrow,
    error::Error,
    fmt,
    future::{Future, poll_fn},
    hash::Hash,
    pin::pin,
    sync::Arc,
    task::Poll,
};

/// Why [`BreakerLayer::run`] returns no value.
#[derive(Clone, Debug)]
pub enum RunError<E> {
    /// The circuit is open: the operation was not started.
    Open(Box<CircuitOpen>),
    /// The operation failed, with this error.
    Failed(E),
}

// === impl BreakerLayer ===

impl<F: NoKeys, C> BreakerLayer<(), F, C> {
    /// Runs `operation` if the circuit lets a call through, and counts how it ends, without a service.
    ///
    /// ```
    /// use forebay_breaker::{BreakerLayer, RunError, Trip};
    /// use std::io;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let breaker = BreakerLayer::builder().trip(Trip::consecutive(1)).build()?;
    /// let read = || async { Err::<String, _>(io::Error::from(io::ErrorKind::ConnectionReset)) };
    ///
    /// assert!(matches!(breaker.run(read).await, Err(RunError::Failed(error)) if error.kind() == io::ErrorKind::ConnectionReset));
    /// assert!(matches!(breaker.run(read).await, Err(RunError::Open(open)) if !open.retry_in().is_zero()));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RunError::Open`] if the circuit is open, [`RunError::Failed`] with the operation's own error if it fails.
    ///
    /// # Cancellation
    ///
    /// As for a [`ResponseFuture`](crate::future::ResponseFuture): the operation is dropped, and a permit is given back.
    pub async fn run<T, E, Fut>(&self, operation: impl FnOnce() -> Fut) -> Result<T, RunError<E>>
    where
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let core = &self.local().core;
        let admitted = core.try_fast_path().map_or_else(|| core.admit(), Ok);
        self.run_admitted(admitted, operation).await
    }
}

impl<K: Hash + Eq, F: Keys, C> BreakerLayer<K, F, C> {
    /// [`run`](BreakerLayer::run) in the circuit of `key`.
    ///
    /// # Errors
    ///
    /// As for [`run`](BreakerLayer::run).
    ///
    /// # Cancellation
    ///
    /// As for [`run`](BreakerLayer::run).
    pub async fn run_for<Q, T, E, Fut>(&self, key: &Q, operation: impl FnOnce() -> Fut) -> Result<T, RunError<E>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + fmt::Display + ?Sized,
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        let core = &self.local().core;
        let admitted =
            core.try_fast_path_for(key).or_else(|place| core.admit_for(place, key, |key| KeyLabel::new(key)));
        self.run_admitted(admitted, operation).await
    }
}

impl<K, F, C> BreakerLayer<K, F, C> {
    async fn run_admitted<T, E, Fut>(
        &self,
        admitted: Result<Admitted, Box<CircuitOpen>>,
        operation: impl FnOnce() -> Fut,
    ) -> Result<T, RunError<E>>
    where
        Fut: Future<Output = Result<T, E>>,
        C: Classify<T, E>,
    {
        // CORRECTNESS: the guard stands before the operation begins: one that panics gives the permit back.
        let mut call = Call::new(Arc::clone(self.local()), admitted.map_err(RunError::Open)?);
        // CANCEL: the future is dropped before the guard, which then settles the call as one that was given up.
        let mut future = pin!(operation());
        // A `Polling` stands for each poll, so that a panic in it counts as a failure.
        let run = poll_fn(|cx| {
            let polling = Polling::new(&mut call);
            match future.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(polling.settle(result)),
                Poll::Pending => polling.pending(),
            }
        });
        run.await.map_err(RunError::Failed)
    }
}

// === impl RunError ===

impl<E> fmt::Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "the operation was not started",
            Self::Failed(_) => "the operation failed",
        })
    }
}

impl<E: Error + 'static> Error for RunError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Open(open) => Some(&**open),
            Self::Failed(error) => Some(error),
        }
    }
}
