//! A limit on what is in flight that tunes itself: how many attempts a server takes at a time.
//!
//! [`Limiter`] is the machine by itself: no lock, clock or task. Its owner counts what is in flight, sends no more than
//! [`Limiter::limit`] says, and reports each attempt when it has ended. [`Adaptive`] has its bounds.
//!
//! * **It climbs** from its initial limit, by doubling, as long as more in flight brings more throughput.
//! * **It seeks** from then on: two limits near each other are compared, again and again, at times that chance decides. Where one
//!   per cent more in flight brings less than 0.15 per cent of throughput, the limit shrinks. The noisier the times are, the
//!   further apart are the two limits, and the smaller are the steps.
//! * **Back-pressure cuts it at once**, by 15 % for each round trip in which it goes on. A limit that was too much, by refusals or
//!   because throughput collapsed, is tried again after a while: the later, the more often that was in vain and the more it cost.
//! * **Failures that do not depend on it are not back-pressure.** If half of the limit is refused as much as all of it, and what is
//!   refused is mixed with what is not, requests fail by chance, and less in flight would only cost throughput.
//! * **It shares.** A client's own load makes attempts slower at least as much as it brings throughput. Where attempts are slower
//!   than that, others load the server too, and a client keeps only a few of its attempts waiting there.
//! * **It forgets.** If attempts take much longer all at once, the load is halved twice. If that changes nothing, the server has
//!   become slower or is further away, and the limit climbs again from there.
//!
//! What it does not do: a client that joins others at a server that is full already takes the time it finds there for the time
//! without load, and gets more than its share. A server that becomes slower little by little is taken for one that others load.
//! Where a server refuses everything while twenty clients together are above its limit, some of them get less than their share.
//! Over a long line on which every new connection begins slowly, it takes some twenty-five attempts after each other to climb to 200.
//!
//! Held against 42 simulated servers with 60 seeds each, 2,490 of 2,520 runs serve at least nine tenths of what the best fixed limit
//! serves, of a limit of 5, and of a fair share (`.ci/adaptive`). Of the 30 others, 17 are of twenty clients whose shares differ too
//! much, and 3 of a server that is twenty times slower for one request of ten.
//!
//! ```
//! use forebay_core::{Outcome, adaptive::{Adaptive, Limiter, Sample}};
//! use std::time::{Duration, Instant};
//!
//! let mut now = Instant::now();
//! let mut limiter = Limiter::new(&Adaptive::default(), now);
//! for _ in 0..60 {
//!     // As many as the limit allows are sent at once, and take 80 ms each.
//!     let (started, in_flight) = (now, limiter.limit());
//!     now += Duration::from_millis(80);
//!     for _ in 0..in_flight {
//!         limiter.sampled(Sample { started, finished: now, in_flight, outcome: Outcome::Success });
//!     }
//! }
//! assert!(limiter.limit() >= 128);
//! ```

mod back_pressure;
mod gate;
mod latency;
mod limiter;
mod seek;
mod settings;
mod shared;
mod window;

#[doc(hidden)]
pub use self::gate::{Gate, Place};
pub use self::{
    limiter::{Limiter, Sample},
    settings::{Adaptive, AdaptiveBuilder},
    shared::{Attempt, SharedLimiter},
};
