//! A Kafka broker, as far as KIP-714 goes: it hands out subscriptions, takes pushes by a real broker's rules, and
//! misbehaves on demand.
//!
//! Among its rules are the real one's mistakes: it throttles a question that it asked for itself, it takes note of a
//! terminating push that it refuses, and what decompresses to more than it takes it calls an invalid record.
//!
//! ```no_run
//! use forebay_testkit::kafka::{Api, Broker, Fault, Subscription};
//! use std::time::Duration;
//!
//! # async fn example() {
//! let broker = Broker::start().await;
//! broker.subscribe(Subscription::all().every(Duration::from_millis(100)));
//! broker.script(Api::Push, [Fault::Code(118), Fault::Disconnect]);
//! // .. a client of `broker.address()` ..
//! broker.until(|seen| seen.pushes.len() >= 3).await;
//! # }
//! ```

mod decode;
mod rules;
mod sasl;
mod server;

pub use self::{
    rules::{Api, Fault, Get, Push, Seen, Subscription},
    sasl::Login,
    server::Broker,
};
