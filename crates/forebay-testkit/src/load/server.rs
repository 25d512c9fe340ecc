//! What a server makes of its load: one response time per request, decided when the request arrives.

use super::{Response, chance::Chance};
use std::{collections::VecDeque, time::Duration};

/// A server in virtual time; all of its traits work together.
///
/// The formulas of [`Curve`] and [`Ceiling`] are those of the simulations that Vector holds its adaptive concurrency against
/// (`src/sinks/util/adaptive_concurrency/tests.rs`), so that its published cases can be run here.
#[derive(Clone, Debug)]
pub struct Server {
    /// The time one request takes, without load and without chance.
    pub delay: Duration,
    /// The time on the network, there and back, which no load changes.
    pub network: Duration,
    /// By which share of `delay` a request takes longer, on average; exponentially distributed.
    pub jitter: f64,
    /// The share of requests that take `factor` times as long.
    pub slow: Option<Slow>,
    /// How the time grows with the number of requests in flight.
    pub curve: Curve,
    /// So many requests are worked on at a time, the others wait in the order of their arrival. Default: all.
    pub workers: Option<usize>,
    /// The workers at the start, and when all of `workers` are there: a server that warms up.
    pub warm_up: Option<WarmUp>,
    /// What is refused by the number in flight.
    pub concurrency: Option<Ceiling>,
    /// What is refused by the number of requests within one second, refused ones included.
    pub rate: Option<Ceiling>,
    /// Stops of all work, as a garbage collector makes them.
    pub pauses: Option<Pauses>,
    /// The share of requests that fail by chance, whatever the load.
    pub failing: f64,
    /// What the server turns into, and when.
    pub step: Option<(Duration, Box<Self>)>,
}

/// How the response time grows with the load.
#[derive(Clone, Copy, Debug, Default)]
pub struct Curve {
    /// By which share of the delay each further request in flight makes a request slower.
    pub scale: f64,
    /// From `at` requests in flight on the time grows by the factor `growth` for each further one.
    pub knee: Option<Knee>,
    /// Above `at` requests in flight a request takes `growth` times as long.
    pub cliff: Option<Knee>,
}

/// Where a curve bends.
#[derive(Clone, Copy, Debug)]
pub struct Knee {
    /// The number in flight.
    pub at: usize,
    /// The factor.
    pub growth: f64,
}

/// A limit of the server's own.
#[derive(Clone, Copy, Debug)]
pub struct Ceiling {
    /// Requests above this number are not served.
    pub at: usize,
    /// What becomes of them.
    pub then: Excess,
}

/// What becomes of a request that is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// The response says so, after the time of a request without load: a 429.
    Refused,
    /// There is no response.
    Lost,
}

/// Stops of all work.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// From the start of one to the start of the next.
    pub every: Duration,
    /// How long one is.
    pub length: Duration,
}

/// Slow requests among others.
#[derive(Clone, Copy, Debug)]
pub struct Slow {
    /// Which share.
    pub share: f64,
    /// How many times as long they take.
    pub factor: f64,
}

/// A server that warms up.
#[derive(Clone, Copy, Debug)]
pub struct WarmUp {
    /// The workers at the start.
    pub from: usize,
    /// When all workers are there; their number grows evenly until then.
    pub until: Duration,
}

/// A server at work.
#[derive(Debug)]
pub(super) struct Serving {
    server: Server,
    chance: Chance,
    in_flight: usize,
    /// When what the workers have will be done, in order.
    ends: VecDeque<f64>,
    /// When the requests of the last second arrived.
    recent: VecDeque<f64>,
}

// === impl Server ===

impl Server {
    /// A server that takes `delay` for each request, whatever the load.
    #[must_use]
    pub const fn new(delay: Duration) -> Self {
        Self {
            delay,
            network: Duration::ZERO,
            jitter: 0.0,
            slow: None,
            curve: Curve { scale: 0.0, knee: None, cliff: None },
            workers: None,
            warm_up: None,
            concurrency: None,
            rate: None,
            pauses: None,
            failing: 0.0,
            step: None,
        }
    }

    /// One round trip without load: the mean time of a request.
    #[must_use]
    pub fn round_trip(&self) -> Duration {
        let slow = self.slow.map_or(0.0, |slow| slow.share * (slow.factor - 1.0));
        let seconds = self.delay.as_secs_f64() * (1.0 + self.jitter + slow);
        self.network.saturating_add(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

// === impl Curve ===

#[expect(clippy::cast_precision_loss, reason = "numbers in flight are small")]
impl Curve {
    /// How many times the delay a request takes that is the `level`th in flight.
    fn factor(&self, level: usize) -> f64 {
        let above = |knee: Knee| level.saturating_sub(knee.at) as f64;
        let linear = 1.0 + level.saturating_sub(1) as f64 * self.scale;
        let bent = self.knee.map_or(0.0, |knee| knee.growth.powf(above(knee)) - 1.0);
        let fallen = self.cliff.map_or(1.0, |cliff| if above(cliff) > 0.0 { cliff.growth } else { 1.0 });
        (linear + bent) * fallen
    }
}

// === impl Serving ===

impl Serving {
    pub(super) fn new(server: Server, seed: u64) -> Self {
        let chance = Chance::new(seed);
        Self { server, chance, in_flight: 0, ends: VecDeque::new(), recent: VecDeque::new() }
    }

    /// A request arrives: when its response is there, and what it says; `None` if none ever comes.
    pub(super) fn arrive(&mut self, now: f64) -> Option<(f64, Response)> {
        if self.server.step.as_ref().is_some_and(|(at, _)| now >= at.as_secs_f64())
            && let Some((_, next)) = self.server.step.take()
        {
            self.server = *next;
        }
        while self.recent.front().is_some_and(|first| *first <= now - 1.0) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.in_flight += 1;
        let (level, rate) = (self.in_flight, self.recent.len());
        let over = |ceiling: Option<Ceiling>, level| ceiling.filter(|ceiling| level > ceiling.at);
        let excess = over(self.server.concurrency, level).or(over(self.server.rate, rate));
        let network = self.server.network.as_secs_f64();
        match excess.map(|ceiling| ceiling.then) {
            Some(Excess::Refused) => {
                let took = self.work(1);
                Some((now + network + took, Response::Refused))
            }
            Some(Excess::Lost) => {
                self.in_flight -= 1;
                None
            }
            None if self.chance.unit() < self.server.failing => {
                let took = self.work(1);
                Some((now + network + took, Response::Failed))
            }
            None => {
                let took = self.work(level);
                let began = self.begins(now);
                let end = self.after_pauses(began, took);
                if self.server.workers.is_some() {
                    let place = self.ends.partition_point(|other| *other <= end);
                    self.ends.insert(place, end);
                }
                Some((end + network, Response::Served))
            }
        }
    }

    /// A request has left the server.
    pub(super) fn left(&mut self) {
        self.in_flight -= 1;
    }

    /// The seconds of work that a request is.
    fn work(&mut self, level: usize) -> f64 {
        let factor = self.server.curve.factor(level) + self.server.jitter * self.chance.exponential();
        let slow = self.server.slow.filter(|slow| self.chance.unit() < slow.share).map_or(1.0, |slow| slow.factor);
        self.server.delay.as_secs_f64() * factor * slow
    }

    /// When a worker takes up what arrives now.
    fn begins(&mut self, now: f64) -> f64 {
        let Some(workers) = self.workers_at(now) else { return now };
        while self.ends.front().is_some_and(|end| *end <= now) {
            self.ends.pop_front();
        }
        match self.ends.len().checked_sub(workers) {
            Some(place) => self.ends[place],
            None => now,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "numbers of workers are small")]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between two small numbers")]
    fn workers_at(&self, now: f64) -> Option<usize> {
        let workers = self.server.workers?;
        let Some(warm_up) = self.server.warm_up else { return Some(workers) };
        let share = (now / warm_up.until.as_secs_f64()).min(1.0);
        let from = warm_up.from as f64;
        Some((from + (workers as f64 - from) * share) as usize)
    }

    /// When `work` that begins at `at` is done, if nothing is done in a pause.
    fn after_pauses(&self, at: f64, work: f64) -> f64 {
        let Some(pauses) = self.server.pauses else { return at + work };
        let (every, length) = (pauses.every.as_secs_f64(), pauses.length.as_secs_f64());
        let (mut at, mut left) = (at, work);
        loop {
            // Each period ends with its pause.
            let pause = (at / every).floor() * every + every - length;
            if at + left <= pause {
                return at + left;
            }
            left -= (pause - at).max(0.0);
            // A little later, so that the next period is the one that is found.
            at = pause + length + 1e-9;
        }
    }
}
