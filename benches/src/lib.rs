//! What every layer of forebay costs, beside its rivals.
//!
//! The binary `rivals` prints one table per question:
//!
//! ```text
//! cargo run --profile bench -q -p forebay-benches --bin rivals -- --area queue --area batch
//! ```
//!
//! Contenders of a table run interleaved in one process, and a claim is the ratio of two of them, taken round by round:
//! nanoseconds hold for one machine only. See [`runner`] for how it is done, and [`areas`] for what is compared.

pub mod adaptive;
pub mod alloc;
pub mod areas;
pub mod bound;
pub mod brownout;
pub mod driver;
pub mod e2e;
pub mod json;
pub mod plot;
pub mod round_trip;
pub mod runner;
pub mod storm;
pub mod table;
pub mod work;
