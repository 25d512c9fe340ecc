//! The concurrent core under shuttle: many random schedules of more threads and longer stories than loom can exhaust.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test -p forebay-breaker --test shuttle --release
//! ```
//!
//! `.ci/planted` plants a race in the core, and each test that is there to find it fails.

#![cfg(shuttle)]
#![expect(dead_code, unreachable_pub, reason = "the core is compiled as it is, and only a part of it is modelled")]

#[path = "../src/decision.rs"]
mod decision;
#[path = "../src/gauge.rs"]
mod gauge;
#[path = "../src/label.rs"]
mod label;
#[path = "../src/observation.rs"]
mod observation;
#[path = "../src/policy.rs"]
mod policy;
#[path = "../src/refusal.rs"]
mod refusal;
#[path = "../src/ring.rs"]
mod ring;
#[path = "../src/rule.rs"]
mod rule;
#[path = "../src/slot.rs"]
mod slot;
#[path = "../src/snapshot.rs"]
mod snapshot;
#[path = "../src/state.rs"]
mod state;
#[path = "../src/status.rs"]
mod status;
#[path = "../src/window.rs"]
mod window;
#[path = "../src/word.rs"]
mod word;

mod model;

use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler},
    thread,
};
pub use status::{Mode, Reason, State};
use std::sync::Arc;

/// By chance, and with few but far-reaching preemptions (PCT); the same schedules in every run.
fn explore(model: impl Fn() + Sync + Send + 'static) {
    let model = Arc::new(model);
    let again = Arc::clone(&model);
    Runner::new(RandomScheduler::new_from_seed(7, 3_000), Config::new()).run(move || model());
    Runner::new(PctScheduler::new_from_seed(7, 3, 3_000), Config::new()).run(move || again());
}

#[test]
fn b04_eight_racers_three_probes() {
    model::b04_racers(8, 3);
}

/// B04, B06, B08: eight threads call on for a while; at no time are there more probes than allowed, and none is lost.
#[test]
fn b04_b08_many_threads_for_a_long_time() {
    model::crowd(8, 6);
}
