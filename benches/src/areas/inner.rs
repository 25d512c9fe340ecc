//! Inner services that cost next to nothing, and the runtimes they run on.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    task::{Context, Poll},
};
use tokio::runtime::{Builder, Runtime};
use tower::Service;

/// An item of 32 bytes.
pub(crate) type Item = [u64; 4];

/// Its parts are built again each time, in registers: an item that `black_box` lays into memory is read back in other
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

/// Always ready; responds at once with what it got.
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

/// Two workers, each on a core of its own: the kernel likes to keep threads that wake each other on one, and then no two
/// of them ever meet.
pub(crate) fn two_workers() -> Runtime {
    let started = AtomicUsize::new(0);
    let mut builder = Builder::new_multi_thread();
    builder.worker_threads(2).on_thread_start(move || stay_on_core(started.fetch_add(1, Relaxed)));
    builder.enable_all().build().unwrap()
}

/// Keeps this thread on the core of this number, counted round those that the process may use.
#[cfg(target_os = "linux")]
fn stay_on_core(number: usize) {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let allowed = sched_getaffinity(None).unwrap();
    let cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let mut one = CpuSet::new();
    one.set(cores[number % cores.len()]);
    sched_setaffinity(None, &one).unwrap();
}

/// Elsewhere the kernel decides.
#[cfg(not(target_os = "linux"))]
fn stay_on_core(_: usize) {}
