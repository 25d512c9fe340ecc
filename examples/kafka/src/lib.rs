//! A producer's metrics, made up, sent to a Kafka cluster as KIP-714 has it.

mod metrics;
mod options;
mod run;
mod token;

pub use self::{
    options::{HELP, Login, Mechanism, Options, Secret, TokenSource, parse},
    run::{Ended, run},
};
