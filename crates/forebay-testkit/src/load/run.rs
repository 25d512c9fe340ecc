use super::{Attempt, Limit, Response, Server, fairness, server::Serving};
use std::{cmp::Ordering, collections::BinaryHeap, ops::Range, time::Duration};

/// A server, its clients, and which part of the run counts.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, the only one in a catalogue.
    pub name: &'static str,
    /// What is called.
    pub server: Server,
    /// How many clients there are, each with a limit of its own.
    pub clients: usize,
    /// What each of them has to send.
    pub demand: Demand,
    /// By how much later each client begins than the one before it.
    pub apart: Duration,
    /// When a client gives a request up.
    pub timeout: Duration,
    /// The limits that may be chosen.
    pub limits: Range<usize>,
    /// How long the run is.
    pub length: Duration,
    /// From when on it counts: 50 round trips after the start, or after what changes.
    pub counts_from: Duration,
    /// The seed of all chance.
    pub seed: u64,
    /// The best fixed limit, as a search over many finds it; `None` if none was searched.
    pub best: Option<usize>,
}

/// What a client has to send.
#[derive(Clone, Copy, Debug)]
pub enum Demand {
    /// More than any limit lets through.
    Endless,
    /// One request in each interval.
    Every(Duration),
    /// So many requests at once in each interval.
    Bursts(usize, Duration),
}

/// What happened in a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The run in a hundred and some parts of equal length, in order.
    pub bins: Vec<Bin>,
    /// The length of a bin.
    pub width: Duration,
    /// By client: what was served in the part that counts.
    pub by_client: Vec<f64>,
    /// All attempts that ended in the part that counts.
    pub attempts: usize,
    /// Those of them that were refused, failed or timed out.
    pub wasted: usize,
    /// The mean time of what was served in the part that counts.
    pub latency: Duration,
    /// The length of the part that counts.
    pub counted: Duration,
    /// The greatest limit that a client had in the part that counts.
    pub greatest_limit: usize,
}

/// One part of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bin {
    /// What was served.
    pub served: usize,
    /// What ended in another way.
    pub wasted: usize,
    /// The sum of the times of what was served, in seconds.
    pub seconds: f64,
    /// The mean limit of all clients, each time a request ended.
    pub limit: f64,
    /// How many requests ended.
    pub ended: usize,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    at: f64,
    /// Events of one instant are in the order in which they were made.
    order: u64,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// A client has something more to send.
    Demand { client: usize },
    /// A response or a timeout reaches its client.
    Ended { client: usize, started: f64, in_flight: usize, response: Response },
    /// The server is done with a request.
    Left,
}

#[derive(Debug)]
struct Client<L> {
    limit: L,
    in_flight: usize,
    /// What waits for room.
    backlog: usize,
}

// === impl Scenario ===

/// The parts into which a run is divided.
const BINS: u32 = 240;

impl Scenario {
    /// One client with an endless demand: 300 round trips, of which the first 50 do not count.
    #[must_use]
    pub fn new(name: &'static str, server: Server) -> Self {
        let round_trip = server.round_trip();
        Self {
            name,
            server,
            clients: 1,
            demand: Demand::Endless,
            apart: Duration::ZERO,
            timeout: round_trip * 100,
            limits: 1..201,
            length: round_trip * 300,
            counts_from: round_trip * 50,
            seed: 7,
            best: None,
        }
    }

    /// Runs it with a limit for each client.
    #[must_use]
    pub fn run<L: Limit>(&self, limit: impl FnMut(usize) -> L) -> Run {
        let mut sim = Sim::new(self, limit);
        sim.run();
        sim.done()
    }
}

// === impl Run ===

impl Run {
    /// What was served per second in the part that counts.
    #[must_use]
    pub fn served_per_second(&self) -> f64 {
        self.by_client.iter().sum::<f64>() / self.counted.as_secs_f64()
    }

    /// Which share of the attempts that count was not served.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
    pub fn wasted_share(&self) -> f64 {
        self.wasted as f64 / self.attempts.max(1) as f64
    }

    /// Jain's fairness index of what the clients were served in the part that counts.
    #[must_use]
    pub fn fairness(&self) -> f64 {
        fairness(&self.by_client)
    }

    /// What was served per second from the start to the end.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
    pub fn served_per_second_in_all(&self) -> f64 {
        let served: usize = self.bins.iter().map(|bin| bin.served).sum();
        served as f64 / (self.width.as_secs_f64() * self.bins.len() as f64)
    }
}

// === impl Sim ===

struct Sim<'a, L> {
    scenario: &'a Scenario,
    serving: Serving,
    clients: Vec<Client<L>>,
    events: BinaryHeap<Event>,
    order: u64,
    run: Run,
    seconds: f64,
    served: usize,
}

#[expect(clippy::cast_precision_loss, reason = "counts of a test are far below 2^52")]
impl<'a, L: Limit> Sim<'a, L> {
    fn new(scenario: &'a Scenario, mut limit: impl FnMut(usize) -> L) -> Self {
        let clients: Vec<_> =
            (0..scenario.clients).map(|n| Client { limit: limit(n), in_flight: 0, backlog: 0 }).collect();
        let run = Run {
            bins: vec![Bin::default(); BINS as usize],
            width: scenario.length / BINS,
            by_client: vec![0.0; scenario.clients],
            attempts: 0,
            wasted: 0,
            latency: Duration::ZERO,
            counted: scenario.length.saturating_sub(scenario.counts_from),
            greatest_limit: 0,
        };
        let serving = Serving::new(scenario.server.clone(), scenario.seed);
        let mut sim =
            Self { scenario, serving, clients, events: BinaryHeap::new(), order: 0, run, seconds: 0.0, served: 0 };
        for client in 0..scenario.clients {
            sim.push(scenario.apart.as_secs_f64() * client as f64, What::Demand { client });
        }
        sim
    }

    fn run(&mut self) {
        let end = self.scenario.length.as_secs_f64();
        while let Some(Event { at, what, .. }) = self.events.pop() {
            if at >= end {
                return;
            }
            match what {
                What::Left => self.serving.left(),
                What::Demand { client } => self.demand(at, client),
                What::Ended { client, started, in_flight, response } => {
                    self.ended(at, client, started, in_flight, response);
                }
            }
        }
    }

    fn push(&mut self, at: f64, what: What) {
        self.order += 1;
        self.events.push(Event { at, order: self.order, what });
    }

    fn demand(&mut self, now: f64, client: usize) {
        let (more, again) = match self.scenario.demand {
            Demand::Endless => (usize::MAX, None),
            Demand::Every(interval) => (1, Some(interval)),
            Demand::Bursts(size, interval) => (size, Some(interval)),
        };
        let backlog = &mut self.clients[client].backlog;
        *backlog = backlog.saturating_add(more);
        if let Some(interval) = again {
            self.push(now + interval.as_secs_f64(), What::Demand { client });
        }
        self.send(now, client);
    }

    /// Sends what the limit allows.
    fn send(&mut self, now: f64, client: usize) {
        loop {
            let sender = &mut self.clients[client];
            if sender.backlog == 0 || sender.in_flight >= sender.limit.limit() {
                return;
            }
            if sender.backlog != usize::MAX {
                sender.backlog -= 1;
            }
            sender.in_flight += 1;
            let in_flight = sender.in_flight;
            let response = self.serving.arrive(now);
            if let Some((end, _)) = response {
                self.push(end, What::Left);
            }
            let timeout = now + self.scenario.timeout.as_secs_f64();
            let (end, response) = response.filter(|(end, _)| *end < timeout).unwrap_or((timeout, Response::TimedOut));
            self.push(end, What::Ended { client, started: now, in_flight, response });
        }
    }

    fn ended(&mut self, now: f64, client: usize, started: f64, in_flight: usize, response: Response) {
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        let sender = &mut self.clients[client];
        sender.in_flight -= 1;
        sender.limit.ended(Attempt { started: time(started), finished: time(now), in_flight, response });
        let limit = sender.limit.limit();
        let served = response == Response::Served;
        let width = self.run.width.as_secs_f64();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bin of the run")]
        if let Some(bin) = self.run.bins.get_mut((now / width) as usize) {
            bin.ended += 1;
            bin.limit += limit as f64;
            bin.served += usize::from(served);
            bin.wasted += usize::from(!served);
            bin.seconds += if served { now - started } else { 0.0 };
        }
        if now >= self.scenario.counts_from.as_secs_f64() {
            self.run.attempts += 1;
            self.run.wasted += usize::from(!served);
            self.run.greatest_limit = self.run.greatest_limit.max(limit);
            if served {
                self.served += 1;
                self.run.by_client[client] += 1.0;
                self.seconds += now - started;
            }
        }
        self.send(now, client);
    }

    fn done(mut self) -> Run {
        for bin in &mut self.run.bins {
            bin.limit /= bin.ended.max(1) as f64;
        }
        let mean = self.seconds / self.served.max(1) as f64;
        self.run.latency = Duration::try_from_secs_f64(mean).unwrap_or(Duration::MAX);
        self.run
    }
}

// === impl Event ===

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first; the earliest is wanted.
        other.at.total_cmp(&self.at).then(other.order.cmp(&self.order))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Event {}
