//! `forebay-retry` where the first attempt succeeds.

use super::{
    calls::{Bare, BareFuture, Laborious, Number, one},
    inner::current_thread,
};
use crate::{
    bound::Bound,
    runner::{Session, Table},
    work::{Sample, Work},
};
use backon::{ExponentialBuilder, Retryable};
use bytes::Bytes;
use forebay_core::{ByError, Outcome};
use forebay_retry::{Backoff, RetryLayer};
use std::{
    convert::identity,
    hint::black_box,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use tokio::runtime::Runtime;
use tower::{
    Layer, Service, ServiceExt,
    retry::backoff::{Backoff as _, ExponentialBackoff, ExponentialBackoffMaker, MakeBackoff as _},
    util::rng::HasherRng,
};

const BACKON: &str = "backon 1.6, exponential";
const TOWER: &str = "tower::retry, ExponentialBackoff";
const BODY: usize = 64 * 1024;

/// The tables of this area.
pub(super) fn tables(session: &mut Session<'_>) {
    let runtime = current_thread();
    // 1.3 of an inner service of 9.6 ns; here it is one of 3.
    let bounds = [
        Bound::of(TOWER, 0.55),
        Bound::of(BACKON, 0.9),
        Bound::added(2.9),
        Bound::of_floor(1.3),
        Bound::allocations(0.0),
    ];
    session.run(first_time(&runtime, "first attempt succeeds, request = u64", identity, &bounds));
    // As the ratios are meant: to an inner service that does something.
    let busy = "first attempt succeeds, request = u64, an inner service that costs 10 ns";
    session.run(first_time(&runtime, busy, Laborious, &bounds));
    let bounds = [Bound::of_floor(1.3), Bound::of(BACKON, 0.9), Bound::of(TOWER, 0.55), Bound::allocations(0.0)];
    let body = Bytes::from(vec![7_u8; BODY]);
    let bytes = move |_: u64| body.clone();
    session.run(first_time(&runtime, "first attempt succeeds, request = Bytes of 64 KiB", bytes, &bounds));
    let body = vec![7_u8; BODY];
    let vector = move |_: u64| body.clone();
    // No bound: where the allocator puts the copies decides, by a quarter either way.
    session.run(first_time(&runtime, "first attempt succeeds, request = Vec of 64 KiB", vector, &[]));
}

fn first_time<'a, R>(
    runtime: &'a Runtime,
    title: &str,
    request: impl Fn(u64) -> R + Clone + 'a,
    bounds: &[Bound],
) -> Table<'a>
where
    R: Number + Clone + Send + 'static,
{
    let wait = Duration::from_millis(100);
    let limits = || RetryLayer::builder(ByError::new()).max_retries(3).backoff(Backoff::exponential(wait));
    let built = "the settings are allowed";
    let resilient = tower_resilience_retry::RetryLayer::<R, u64, io::Error>::builder().max_attempts(4);
    let resilient = resilient.exponential_backoff(wait).build().layer(Bare);
    Table::new("retry", title)
        .floor("inner service by itself", one(runtime, Bare, request.clone()))
        .reference("a copy of the request kept", one(runtime, KeepsCopy(Bare), request.clone()))
        .rival(TOWER, one(runtime, tower::retry::Retry::new(Exponential::new(), Bare), request.clone()))
        .rival("tower-resilience-retry 0.14", one(runtime, resilient, request.clone()))
        .rival(BACKON, with_backon(runtime, request.clone()))
        .forebay(
            "RetryLayer, default",
            bounds,
            one(runtime, limits().build().expect(built).layer(Bare), request.clone()),
        )
        .forebay(
            "RetryLayer, a classifier of its own",
            &[],
            one(
                runtime,
                RetryLayer::builder(|result: &io::Result<u64>| match result {
                    Ok(_) => Outcome::Success,
                    Err(_) => Outcome::RETRYABLE,
                })
                .build()
                .expect(built)
                .layer(Bare),
                request.clone(),
            ),
        )
        .forebay(
            "RetryLayer, max_elapsed 60 s",
            &[],
            one(
                runtime,
                limits().max_elapsed(Duration::from_secs(60)).build().expect(built).layer(Bare),
                request.clone(),
            ),
        )
        .forebay(
            "RetryLayer, switched off",
            &[],
            one(runtime, limits().max_retries(0).build().expect(built).layer(Bare), request),
        )
}

/// backon retries functions: one that clones a service, and asks it when it is ready.
fn with_backon<'a, R>(runtime: &'a Runtime, request: impl Fn(u64) -> R + 'a) -> impl FnMut(Work) -> Sample + 'a
where
    R: Number + Clone + Send + 'static,
{
    move |work| {
        work.measure(|| {
            runtime.block_on(async {
                let service = Bare;
                for n in 0..work.ops {
                    let request = request(black_box(n));
                    let exponential = ExponentialBuilder::default().with_jitter();
                    let call = || Clone::clone(&service).oneshot(request.clone());
                    black_box(call.retry(exponential).sleep(tokio::time::sleep).await.unwrap());
                }
            });
        })
    }
}

/// What no retry can do without: a copy of the request until the response is there.
#[derive(Clone)]
struct KeepsCopy<S>(S);

pin_project_lite::pin_project! {
    struct KeepsCopyFuture<R> {
        #[pin]
        inner: BareFuture<R>,
        copy: Option<R>,
    }
}

/// The policy of `tower::retry` that its users write.
#[derive(Clone)]
struct Exponential {
    backoff: ExponentialBackoff,
    left: usize,
}

// === impl KeepsCopy ===

impl<R: Number + Clone> Service<R> for KeepsCopy<Bare> {
    type Response = u64;
    type Error = io::Error;
    type Future = KeepsCopyFuture<R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Service::<R>::poll_ready(&mut self.0, cx)
    }

    #[inline]
    fn call(&mut self, request: R) -> Self::Future {
        let copy = Some(request.clone());
        KeepsCopyFuture { inner: self.0.call(request), copy }
    }
}

impl<R: Number> Future for KeepsCopyFuture<R> {
    type Output = io::Result<u64>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx));
        if response.is_err() {
            drop(black_box(this.copy.take()));
        }
        Poll::Ready(response)
    }
}

// === impl Exponential ===

impl Exponential {
    fn new() -> Self {
        let (least, most) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut maker = ExponentialBackoffMaker::new(least, most, 0.5, HasherRng::default()).unwrap();
        Self { backoff: maker.make_backoff(), left: 3 }
    }
}

impl<R: Clone> tower::retry::Policy<R, u64, io::Error> for Exponential {
    type Future = <ExponentialBackoff as tower::retry::backoff::Backoff>::Future;

    fn retry(&mut self, _: &mut R, result: &mut io::Result<u64>) -> Option<Self::Future> {
        match result {
            Err(_) if self.left > 0 => {
                self.left -= 1;
                Some(self.backoff.next_backoff())
            }
            Ok(_) | Err(_) => None,
        }
    }

    fn clone_request(&mut self, request: &R) -> Option<R> {
        Some(request.clone())
    }
}
