//! The concurrent core under loom: every interleaving of a few threads.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p forebay-breaker --test loom --release
//! RUSTFLAGS="--cfg loom --cfg forebay_planted_race" cargo test -p forebay-breaker --test loom --release
//! ```
//!
//! The second run plants a race in the core, and each model that is there to find it must fail.

#![cfg(loom)]
#![expect(dead_code, unreachable_pub, reason = "the core is compiled as it is, and only a part of it is modelled")]

mod sync {
    pub(crate) use loom::sync::{
        Mutex, MutexGuard,
        atomic::{AtomicU32, AtomicU64, Ordering},
    };
    pub(crate) use std::sync::PoisonError;
}

#[path = "../src/label.rs"]
mod label;
#[path = "../src/policy.rs"]
mod policy;
#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/slot.rs"]
mod slot;
#[path = "../src/state.rs"]
mod state;
#[path = "../src/status.rs"]
mod status;
#[path = "../src/window.rs"]
mod window;
#[path = "../src/word.rs"]
mod word;

mod model;

pub use status::{Mode, Reason, State};

use loom::thread;

fn explore(model: impl Fn() + Sync + Send + 'static) {
    loom::model(model);
}

#[test]
#[cfg_attr(forebay_planted_race, should_panic)]
fn b04_three_racers_two_probes() {
    model::b04_racers(3, 2);
}
