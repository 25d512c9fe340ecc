//! Calls through a service, by one task or by many, and the service at the bottom.
//!
//! A service is made ready by `poll_fn`, not by `ServiceExt::ready`: that is one function for all who make this type of service
//! ready, and whether it is written into them depends on what else there is in the program.

use crate::work::{Sample, Work};
use bytes::Bytes;
use std::{
    fmt::Debug,
    future::poll_fn,
    hint::black_box,
    io,
    pin::Pin,
    task::{Context, Poll},
};
use tokio::{runtime::Runtime, task::yield_now};
use tower::Service;

/// How many tasks share a service where several do.
pub(super) const TASKS: u64 = 8;

/// How many calls a task makes before it lets another one go.
const TURN: u64 = 128;

/// What a table of several tasks asks for multiples of.
pub(super) const TURNS: u64 = TASKS * TURN;

/// The service at the bottom: always ready, responds at once.
///
/// Its functions are called, as those of a service that does something would be; otherwise the whole loop could become
/// one block, and a layer would be measured by what it keeps the compiler from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bare;

/// The future of [`Bare`].
#[derive(Debug)]
pub(super) struct BareFuture<R>(R);

/// A request whose response is a number.
pub(super) trait Number: Unpin {
    fn number(&self) -> u64;
}

/// A request to one of many far sides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed {
    pub(super) key: &'static str,
    pub(super) number: u64,
}

/// A request that [`Bare`] computes a response to: so many multiplications, each of which waits for the one before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Laborious(pub(super) u64);

/// Makes of [`Bare`]'s 3 ns the 10 ns of an inner service that does something. A step takes six cycles of a processor,
/// which works on as many requests at a time as it can look ahead: some three of them. So what a layer adds takes room from
/// the work, and does not hide behind it, as it would if each request waited for the response to the one before.
const STEPS: u32 = 13;

/// Calls by one task on the thread that asks.
pub(super) fn one<'a, S, R>(
    runtime: &'a Runtime,
    mut service: S,
    request: impl Fn(u64) -> R + 'a,
) -> impl FnMut(Work) -> Sample + 'a
where
    S: Service<R, Response = u64, Error: Debug> + 'a,
{
    move |work| {
        work.measure(|| {
            runtime.block_on(async {
                for n in 0..work.ops {
                    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
                    black_box(service.call(request(black_box(n))).await.unwrap());
                }
            });
        })
    }
}

/// Calls by one task that are refused.
pub(super) fn refused<'a, S, R>(
    runtime: &'a Runtime,
    mut service: S,
    request: impl Fn(u64) -> R + 'a,
) -> impl FnMut(Work) -> Sample + 'a
where
    S: Service<R, Response = u64, Error: Debug> + 'a,
{
    move |work| {
        work.measure(|| {
            runtime.block_on(async {
                for n in 0..work.ops {
                    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
                    match service.call(request(black_box(n))).await {
                        Err(error) => drop(black_box(error)),
                        Ok(_) => panic!("the circuit is open"),
                    }
                }
            });
        })
    }
}

/// Calls by [`TASKS`] tasks, each with a clone of `service`.
pub(super) fn many<'a, S, R, O>(
    runtime: &'a Runtime,
    service: S,
    request: fn(u64) -> R,
    look: fn(Result<u64, S::Error>) -> O,
) -> impl FnMut(Work) -> Sample + 'a
where
    S: Service<R, Response = u64, Error: Debug + Send, Future: Send> + Clone + Send + 'static,
    R: Send + 'static,
    O: 'static,
{
    move |work| {
        let services: Vec<S> = (0..TASKS).map(|_| service.clone()).collect();
        work.measure(|| {
            runtime.block_on(async {
                let tasks = services.into_iter().zip(0..).map(|(mut service, task): (S, u64)| {
                    tokio::spawn(async move {
                        for n in 0..work.ops / TASKS {
                            let request = request(black_box(n + task * 1_000_003));
                            poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
                            let _ = black_box(look(service.call(request).await));
                            if n % TURN == TURN - 1 {
                                yield_now().await;
                            }
                        }
                    })
                });
                for task in tasks.collect::<Vec<_>>() {
                    task.await.unwrap();
                }
            });
        })
    }
}

/// Every response is a number.
pub(super) fn succeeded<E: Debug>(result: Result<u64, E>) -> u64 {
    result.unwrap()
}

/// No response is a number.
pub(super) fn rejected<E>(result: Result<u64, E>) -> bool {
    match result {
        Err(error) => drop(black_box(error)),
        Ok(_) => panic!("the circuit is open"),
    }
    true
}

// === impl Bare ===

impl<R: Number> Service<R> for Bare {
    type Response = u64;
    type Error = io::Error;
    type Future = BareFuture<R>;

    #[inline(never)]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        black_box(Poll::Ready(Ok(())))
    }

    #[inline(never)]
    fn call(&mut self, request: R) -> BareFuture<R> {
        BareFuture(request)
    }
}

impl<R: Number> Future for BareFuture<R> {
    type Output = io::Result<u64>;

    #[inline(never)]
    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        let number = black_box(self.0.number());
        Poll::Ready(if number == u64::MAX { Err(io::ErrorKind::ConnectionRefused.into()) } else { Ok(number) })
    }
}

// === impl Number ===

impl Number for u64 {
    #[inline]
    fn number(&self) -> u64 {
        *self
    }
}

impl Number for Laborious {
    #[inline]
    fn number(&self) -> u64 {
        // The shift keeps a compiler from putting all steps together into one.
        let step = |n: u64, _| (n ^ n >> 32).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (0..STEPS).fold(self.0, step)
    }
}

impl Number for Keyed {
    #[inline]
    fn number(&self) -> u64 {
        self.number
    }
}

impl Number for Bytes {
    #[inline]
    fn number(&self) -> u64 {
        self.len() as u64
    }
}

impl Number for Vec<u8> {
    #[inline]
    fn number(&self) -> u64 {
        self.len() as u64
    }
}
