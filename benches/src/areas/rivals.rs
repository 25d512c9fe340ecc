//! Circuit breakers of others as Tower services, in the way that costs them least, and lower bounds written by hand.

use super::calls::{Bare, BareFuture, Number};
use failsafe::{FailurePolicy, StateMachine, futures::CircuitBreaker as _};
use pin_project_lite::pin_project;
use recloser::{AnyError, AsyncRecloser, RecloserFuture};
use std::{
    fmt::Debug,
    io,
    marker::PhantomData,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::*},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};
use tower::Service;
use tower_resilience_circuitbreaker::{
    CircuitBreaker, CircuitBreakerConfigBuilder, CircuitBreakerLayer, DefaultClassifier,
};

/// A breaker that wraps futures.
pub(super) trait Wrap: Clone + 'static {
    type Error: Debug + Send;
    type Wrapped<R: Number + Send + 'static>: Future<Output = Result<u64, Self::Error>> + Send;

    fn wrap<R: Number + Send + 'static>(&self, response: BareFuture<R>) -> Self::Wrapped<R>;
}

/// [`Bare`] behind a breaker that wraps futures.
#[derive(Clone)]
pub(super) struct Wrapped<W>(pub(super) W);

/// [`Bare`] behind a breaker that wraps futures, one per key.
#[derive(Clone)]
pub(super) struct WrappedPerKey<L>(pub(super) L);

/// [`Bare`] behind what a breaker of this kind cannot do without.
#[derive(Clone)]
pub(super) struct ByHand<B> {
    own: Arc<Shared>,
    does: PhantomData<fn() -> B>,
}

/// Each clone of [`ByHand`] has an `Arc` of its own, so that no two tasks touch the same reference count.
pub(super) struct OwnArc<B>(ByHand<B>);

/// A word on a cache line of its own.
#[repr(align(128))]
pub(super) struct Word {
    state: AtomicU64,
    count: AtomicU64,
    epoch: Instant,
}

/// What all clones share; each may hold it by an `Arc` of its own.
struct Shared(Arc<Word>);

/// What [`ByHand`] does when a call has ended.
pub(super) trait Bottom: 'static {
    fn after(word: &Word, failed: bool);
}

#[derive(Clone)]
pub(super) struct Reads;
#[derive(Clone)]
pub(super) struct Counts;
#[derive(Clone)]
pub(super) struct ReadsClock;

pin_project! {
    pub(super) struct ByHandFuture<F, B> {
        #[pin]
        inner: F,
        word: Arc<Shared>,
        does: PhantomData<fn() -> B>,
    }
}

/// failsafe with five failures in a row.
pub(super) fn failsafe_consecutive() -> impl Wrap + Send + Sync {
    let backoff = failsafe::backoff::constant(Duration::from_secs(60));
    failsafe::Config::new().failure_policy(failsafe::failure_policy::consecutive_failures(5, backoff)).build()
}

/// failsafe as it comes: a success rate over a time, or failures in a row.
pub(super) fn failsafe_default() -> impl Wrap + Send + Sync {
    failsafe::Config::new().build()
}

pub(super) fn recloser() -> AsyncRecloser {
    AsyncRecloser::from(recloser::Recloser::custom().open_wait(Duration::from_secs(3600)).build())
}

pub(super) type Resilient = CircuitBreaker<Bare, DefaultClassifier>;

pub(super) fn resilience(
    configure: impl FnOnce(CircuitBreakerConfigBuilder<DefaultClassifier>) -> CircuitBreakerConfigBuilder<DefaultClassifier>,
) -> Resilient {
    configure(CircuitBreakerLayer::builder()).build().unwrap().layer_fn(Bare)
}

// === impl Wrap ===

impl Wrap for AsyncRecloser {
    type Error = recloser::Error<io::Error>;
    type Wrapped<R: Number + Send + 'static> = RecloserFuture<BareFuture<R>, AnyError>;

    #[inline]
    fn wrap<R: Number + Send + 'static>(&self, response: BareFuture<R>) -> Self::Wrapped<R> {
        self.call(response)
    }
}

impl<P: FailurePolicy + Send + Sync + 'static> Wrap for StateMachine<P, ()> {
    type Error = failsafe::Error<io::Error>;
    type Wrapped<R: Number + Send + 'static> = failsafe::futures::ResponseFuture<BareFuture<R>, P, (), failsafe::Any>;

    #[inline]
    fn wrap<R: Number + Send + 'static>(&self, response: BareFuture<R>) -> Self::Wrapped<R> {
        self.call(response)
    }
}

// === impl Wrapped ===

impl<W: Wrap, R: Number + Send + 'static> Service<R> for Wrapped<W> {
    type Response = u64;
    type Error = W::Error;
    type Future = W::Wrapped<R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), W::Error>> {
        Service::<R>::poll_ready(&mut Bare, cx).map(|_| Ok(()))
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        self.0.wrap(Bare.call(request))
    }
}

impl<L, W> Service<super::calls::Keyed> for WrappedPerKey<L>
where
    L: Fn(&str) -> W,
    W: Wrap,
{
    type Response = u64;
    type Error = W::Error;
    type Future = W::Wrapped<super::calls::Keyed>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), W::Error>> {
        Service::<super::calls::Keyed>::poll_ready(&mut Bare, cx).map(|_| Ok(()))
    }

    #[inline]
    fn call(&mut self, request: super::calls::Keyed) -> Self::Future {
        (self.0)(request.key).wrap(Bare.call(request))
    }
}

// === impl ByHand ===

impl<B> ByHand<B> {
    pub(super) fn new() -> Self {
        let word = Word { state: AtomicU64::new(0), count: AtomicU64::new(0), epoch: Instant::now() };
        Self { own: Arc::new(Shared(Arc::new(word))), does: PhantomData }
    }
}

impl<B: Bottom, R: Number> Service<R> for ByHand<B> {
    type Response = u64;
    type Error = io::Error;
    type Future = ByHandFuture<BareFuture<R>, B>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Service::<R>::poll_ready(&mut Bare, cx)
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        assert_eq!(self.own.0.state.load(Acquire), 0, "it is closed");
        ByHandFuture { inner: Bare.call(request), word: Arc::clone(&self.own), does: PhantomData }
    }
}

impl<F: Future<Output = io::Result<u64>>, B: Bottom> Future for ByHandFuture<F, B> {
    type Output = io::Result<u64>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.project();
        let response = std::task::ready!(this.inner.poll(cx));
        B::after(&this.word.0, response.is_err());
        Poll::Ready(response)
    }
}

impl Bottom for Reads {
    #[inline]
    fn after(word: &Word, failed: bool) {
        if failed || word.count.load(Acquire) != 0 {
            word.count.fetch_add(1, AcqRel);
        }
    }
}

impl Bottom for Counts {
    #[inline]
    fn after(word: &Word, failed: bool) {
        word.count.fetch_add(1 + u64::from(failed), AcqRel);
    }
}

impl Bottom for ReadsClock {
    #[inline]
    fn after(word: &Word, failed: bool) {
        let nanos = word.epoch.elapsed().as_nanos() as u64;
        word.count.fetch_add(nanos + u64::from(failed), AcqRel);
    }
}

// === impl OwnArc ===

impl<B> OwnArc<B> {
    pub(super) fn new() -> Self {
        Self(ByHand::new())
    }
}

impl<B> Clone for OwnArc<B> {
    fn clone(&self) -> Self {
        Self(ByHand { own: Arc::new(Shared(Arc::clone(&self.0.own.0))), does: PhantomData })
    }
}

impl<B: Bottom, R: Number> Service<R> for OwnArc<B> {
    type Response = u64;
    type Error = io::Error;
    type Future = ByHandFuture<BareFuture<R>, B>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Service::<R>::poll_ready(&mut self.0, cx)
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        self.0.call(request)
    }
}
