//! Ten thousand clients after an outage of half an hour of their server, in virtual time: what reaches the server then, and when.
//!
//! Each client has an item every five seconds on average, at times of its own. The clients of forebay are real exporters with their default
//! settings in one runtime whose clock is paused; the others are simulated from their published parameters.

mod chart;
mod exporter;
mod policies;
mod server;

pub use self::chart::draw;
use policies::POLICIES;
use server::Server;
use std::{fmt, time::Duration};
use tokio::{runtime::Builder, time::Instant};

/// The width of the bins in which requests are counted.
pub(crate) const BIN: Duration = Duration::from_millis(100);
/// How long all is well before the outage.
const BEFORE: Duration = Duration::from_secs(120);
/// How long the recovery is looked at: as long as an exporter keeps what it could not send.
const AFTER: Duration = Duration::from_secs(300);
/// The mean time between two items of one client.
const EVERY: Duration = Duration::from_secs(5);
/// How long a client waits for the response to one attempt.
const ATTEMPT: Duration = Duration::from_secs(10);

/// What a server does that is away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outage {
    /// It refuses connections.
    Refuses,
    /// It takes requests and never responds; when it returns, it resets the connections that are open.
    Hangs,
}

/// How many clients there are, and how long their server is away.
#[derive(Clone, Copy, Debug)]
pub struct Fleet {
    /// The number of clients.
    pub clients: usize,
    /// The length of the outage.
    pub outage: Duration,
}

/// What one kind of client did to the server.
#[derive(Clone, Debug)]
pub struct Storm {
    /// Its name.
    pub contender: &'static str,
    /// What the server did.
    pub outage: Outage,
    /// The requests in each bin, from the start.
    bins: Vec<u32>,
    /// The bin in which the server returned.
    back: usize,
    /// The share of all items that was delivered.
    delivered: f64,
}

/// Runs every kind of client through every kind of outage; `done` sees each result as it is known.
pub fn measure(fleet: Fleet, mut done: impl FnMut(&Storm)) -> Vec<Storm> {
    let mut storms = Vec::new();
    for outage in [Outage::Refuses, Outage::Hangs] {
        let mut run = |contender, clients: &dyn Fn(&Server, usize)| {
            let storm = run(fleet, outage, contender, clients);
            done(&storm);
            storms.push(storm);
        };
        run("forebay", &exporter::start);
        for policy in &POLICIES {
            run(policy.name, &|server, number| policy.start(server, number));
        }
    }
    storms
}

fn run(fleet: Fleet, outage: Outage, contender: &'static str, client: &dyn Fn(&Server, usize)) -> Storm {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    runtime.block_on(async {
        let server = Server::new(outage, Instant::now() + BEFORE, fleet.outage);
        (0..fleet.clients).for_each(|number| client(&server, number));
        tokio::time::sleep_until(server.back() + AFTER).await;
        let (bins, delivered) = server.seen();
        let items = fleet.clients as f64 * (BEFORE + fleet.outage + AFTER).as_secs_f64() / EVERY.as_secs_f64();
        let back = server::bin(BEFORE + fleet.outage);
        Storm { contender, outage, bins, back, delivered: delivered as f64 / items }
    })
}

// === impl Storm ===

impl Storm {
    /// What stands above the rows.
    pub const HEAD: &'static str = "\
| contender | outage | load in the outage | load in the recovery | highest bin | delivered |
|---|---|---|---|---|---|";

    /// The mean of the bins before the outage, without the first seconds, in which the clients start.
    pub(crate) fn normal(&self) -> f64 {
        mean(&self.bins[server::bin(BEFORE / 4)..server::bin(BEFORE)])
    }

    /// The bins of the recovery.
    pub(crate) fn recovery(&self) -> &[u32] {
        &self.bins[self.back..self.back + server::bin(AFTER)]
    }

    /// The load in the outage, as a multiple of the normal load.
    #[must_use]
    pub fn outage_load(&self) -> f64 {
        mean(&self.bins[server::bin(BEFORE)..self.back]) / self.normal()
    }

    /// The load in the recovery, as a multiple of the normal load.
    #[must_use]
    pub fn recovery_load(&self) -> f64 {
        mean(self.recovery()) / self.normal()
    }

    /// The highest bin of the recovery, as a multiple of the mean bin of the recovery.
    #[must_use]
    pub fn peak(&self) -> f64 {
        f64::from(self.recovery().iter().copied().max().unwrap_or_default()) / mean(self.recovery())
    }
}

fn mean(bins: &[u32]) -> f64 {
    bins.iter().map(|bin| f64::from(*bin)).sum::<f64>() / bins.len() as f64
}

impl fmt::Display for Storm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (outage, recovery, peak) = (self.outage_load(), self.recovery_load(), self.peak());
        write!(f, "| {} | {} | {outage:.2} | {recovery:.2} ", self.contender, self.outage)?;
        write!(f, "| {peak:.2} | {:.1} % |", 100.0 * self.delivered)
    }
}

// === impl Outage ===

impl fmt::Display for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuses => "refuses",
            Self::Hangs => "hangs",
        })
    }
}
