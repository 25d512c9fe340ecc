//! What a user of the collectors sees, by subject.

mod aggregator;
mod filter;
mod laws;
mod remote;
mod reporter;
mod sources;
