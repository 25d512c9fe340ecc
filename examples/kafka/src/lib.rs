//! A producer's metrics, made up, sent to a Kafka cluster as KIP-714 has it.

mod metrics;
mod options;
mod run;

pub use self::{
    options::{HELP, Options, WrongOptions, parse},
    run::{Ended, run},
};
