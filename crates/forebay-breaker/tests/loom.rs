//! The concurrent core under loom: every interleaving of a few threads.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p forebay-breaker --test loom --release
//! ```
//!
//! `.ci/planted` plants a race in the core, and each test that is there to find it fails.

#![cfg(loom)]
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

pub use status::{Mode, Reason, State};

use loom::thread;

fn explore(model: impl Fn() + Sync + Send + 'static) {
    loom::model(model);
}

#[test]
fn b04_three_racers_two_probes() {
    model::b04_racers(3, 2);
}
