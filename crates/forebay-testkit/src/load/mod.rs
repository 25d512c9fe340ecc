//! Load in virtual time: clients that are held by a limit, and a server that has a limit of its own.
//!
//! Discrete events, no runtime and no clock: what would take minutes takes milliseconds, and is the same each time. A client
//! always has as many requests under way as its limit allows, while it has any to send; see [`Demand`].
//!
//! ```
//! use forebay_testkit::load::{Fixed, Scenario, Server};
//! use std::time::Duration;
//!
//! let server = Server { workers: Some(10), ..Server::new(Duration::from_millis(100)) };
//! let scenario = Scenario::new("ten workers", server);
//! let run = |limit| scenario.run(|_| Fixed(limit)).served_per_second();
//! assert!((run(5) - 50.0).abs() < 1.0);
//! assert!((run(20) - 100.0).abs() < 1.0);
//! ```

mod catalog;
mod chance;
mod judge;
mod run;
mod server;

pub use self::{
    catalog::catalog,
    judge::Judgement,
    run::{Bin, Demand, Run, Scenario},
    server::{Ceiling, Curve, Excess, Knee, Pauses, Server, Slow, WarmUp},
};
use std::time::Duration;

/// How a request ended, as its client sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Response {
    /// It was served.
    Served,
    /// The server had too much to do: 429 or 503.
    Refused,
    /// The server failed, and not because of the load.
    Failed,
    /// There was no response within the client's timeout.
    TimedOut,
}

/// One request from its start to its end.
#[derive(Clone, Copy, Debug)]
pub struct Attempt {
    /// When it was sent, since the start of the run.
    pub started: Duration,
    /// When its response, or its timeout, was there.
    pub finished: Duration,
    /// How many requests its client had in flight when it started, itself included.
    pub in_flight: usize,
    /// How it ended.
    pub response: Response,
}

/// What holds a client: how many requests it may have in flight.
pub trait Limit {
    /// The number now.
    fn limit(&self) -> usize;

    /// A request has ended.
    fn ended(&mut self, attempt: Attempt);
}

/// A number that never changes.
#[derive(Clone, Copy, Debug)]
pub struct Fixed(pub usize);

// === impl Limit ===

impl Limit for Fixed {
    fn limit(&self) -> usize {
        self.0
    }

    fn ended(&mut self, _: Attempt) {}
}

/// Jain's fairness index of `shares`: 1.0 if all are equal, 1/n if one of n has all.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
pub fn fairness(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    if squares > 0.0 { sum * sum / (shares.len() as f64 * squares) } else { 1.0 }
}
