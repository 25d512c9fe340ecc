//! A Kafka broker, as far as KIP-714 goes: it hands out subscriptions, takes pushes by a real broker's rules, and
//! misbehaves on demand.
//!
//! Among its rules are the mistakes of the real one: it throttles a request that it asked for itself, it remembers a terminating
//! push that it refuses, and it calls a payload that decompresses to more than its limit an invalid record.
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
    rules::{Api, BrokerLog, Fault, Get, Push, Subscription},
    sasl::Login,
    server::Broker,
};
