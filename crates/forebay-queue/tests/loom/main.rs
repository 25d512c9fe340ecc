//! The queue between threads, in every order that two of them can bring about.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p forebay-queue --test loom --release`. The
//! patches in `planted` name the tests that have to find what they plant.

#![cfg(loom)]
#![expect(clippy::unwrap_used, reason = "test code")]

mod abandon;
mod budget;
mod pairs;
mod parking;
mod service;
mod waits;

use forebay_core::Totals;
use forebay_queue::{Limits, QueueHandle};
use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

const SECOND: Duration = Duration::from_secs(1);

fn model(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder.check(run);
}

/// As [`model`], for what takes many steps: a thread that could continue is interrupted at three points at most. Nearly all races need no more than two (Musuvathi and Qadeer, "Iterative context bounding", PLDI 2007).
fn bounded(run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = 20_000;
    builder.preemption_bound = Some(3);
    builder.check(run);
}

fn limits(items: usize) -> Limits {
    Limits::new().items(items).soft_limit(1.0)
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn checked<T>(handle: &QueueHandle<T>, most: u64) -> Totals {
    let totals = handle.totals();
    assert!(totals.balance(), "{totals}");
    assert!(totals.pending <= most, "{totals}");
    totals
}

/// Notes that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Woken {
    fn was_woken(&self) -> bool {
        self.0.load(SeqCst)
    }
}
