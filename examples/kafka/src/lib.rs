//! A producer's metrics, made up, sent to a Kafka cluster as KIP-714 has it.
#![cfg_attr(not(test), warn(clippy::arithmetic_side_effects, reason = "time arithmetic panics where it overflows"))]

mod metrics;
mod options;
mod run;

pub use self::{
    options::{HELP, Options, WrongOptions, parse},
    run::{Ended, run},
};
