//! What a user of the exporter sees, by subject.

mod adaptive;
mod budget;
mod laws;
mod runtimes;
