//! The parts that only this crate sees, against plain models of themselves.

mod against_model;
mod directory;
mod open_time;
mod plain;
mod window;
mod word;

use proptest::test_runner::{Config, RngSeed};

/// So many cases, the same in every run.
fn seeded(cases: u32) -> Config {
    Config { cases, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..Config::default() }
}
