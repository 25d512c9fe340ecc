//! Inner services that cost next to nothing, and the runtimes they run on.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    task::{Context, Poll},
};
use tokio::runtime::{Builder, Runtime};
use tower::Service;

/// An item of 32 bytes.
pub(crate) type Item = [u64; 4];

/// Its parts are made up anew each time, in registers: an item that `black_box` lays into memory is read back in other
/// pieces than it was written in, and that stall would hide what is measured.
#[inline]
pub(crate) fn item(n: u64) -> Item {
    let n = black_box(n);
    [n, n + 1, n + 2, n + 3]
}

/// `value` was computed, and is looked at.
#[inline]
pub(crate) fn used<T>(value: T) {
    drop(black_box(value));
}

/// Always ready; answers at once with what it got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Echo;

impl<T> Service<T> for Echo {
    type Response = T;
    type Error = Infallible;
    type Future = Ready<Result<T, Infallible>>;

    #[inline]
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: T) -> Self::Future {
        ready(Ok(request))
    }
}

pub(crate) fn current_thread() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn two_workers() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
