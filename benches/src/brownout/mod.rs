//! A server that fails a share of its requests at random and takes the rest: how much of the records reaches it.
//!
//! The server works on one request at a time, for 100 ms each. The offered load is half of what it takes while it fails the share:
//! batches of 10 records, or of 512. Exporter and SDK run for real against it; the Collector's exporter is simulated from its
//! published settings, for an hour of virtual time, since its queue takes many minutes to fill.

mod chart;
mod collector;
mod contenders;
mod server;

pub use self::chart::draw;
use contenders::CONTENDERS;
use server::Server;
use std::{fmt, thread, time::Duration};

/// The shares of requests that fail.
pub const SHARES: [f64; 4] = [0.1, 0.3, 0.5, 0.7];
/// How long the server works on a request.
const LATENCY: Duration = Duration::from_millis(100);
/// How long the simulated hour is.
const HOUR: Duration = Duration::from_secs(3600);

/// How many records are handed over at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// 10.
    Small,
    /// 512.
    Large,
}

/// What is handed over, and for how long.
#[derive(Clone, Copy, Debug)]
struct Load {
    size: Size,
    failing: f64,
    time: Duration,
}

/// What became of the records of one contender.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// Its name.
    pub contender: &'static str,
    /// How many records were handed over at a time.
    pub size: Size,
    /// The share of requests that failed.
    pub failing: f64,
    /// The share of the records that were delivered.
    pub delivered: f64,
    /// How many requests there were for each batch that was sent.
    pub requests: f64,
}

/// Runs every contender with every load for `time`; `done` sees each cell as it is known.
///
/// # Panics
///
/// When the server cannot be started.
pub fn measure(time: Duration, mut done: impl FnMut(Cell)) -> Vec<Cell> {
    let mut cells = Vec::new();
    for failing in SHARES {
        let running: Vec<_> = [Size::Small, Size::Large]
            .into_iter()
            .flat_map(|size| CONTENDERS.iter().map(move |contender| (contender, Load { size, failing, time })))
            .map(|(contender, load)| thread::spawn(move || run(contender, load)))
            .collect();
        for cell in running {
            let cell = cell.join().expect("no panic");
            done(cell);
            cells.push(cell);
        }
        for size in [Size::Small, Size::Large] {
            let cell = collector::simulate(Load { size, failing, time: HOUR });
            done(cell);
            cells.push(cell);
        }
    }
    cells
}

fn run((contender, send): &(&'static str, contenders::Send), load: Load) -> Cell {
    let server = Server::start(load.failing);
    let offered = send(load, server.address());
    let seen = server.seen();
    Cell {
        contender,
        size: load.size,
        failing: load.failing,
        delivered: seen.records as f64 / offered as f64,
        requests: seen.requests as f64 / seen.batches as f64,
    }
}

// === impl Size ===

impl Size {
    const fn records(self) -> usize {
        match self {
            Self::Small => 10,
            Self::Large => 512,
        }
    }
}

// === impl Load ===

impl Load {
    /// The time between two batches: half of what the server takes.
    fn every(&self) -> Duration {
        LATENCY.mul_f64(2.0 / (1.0 - self.failing))
    }

    /// How many batches are handed over.
    fn rounds(&self) -> usize {
        (self.time.as_secs_f64() / self.every().as_secs_f64()) as usize
    }
}

// === impl Cell ===

impl Cell {
    /// What stands above the rows.
    pub const HEAD: &'static str = "\
| contender | records | failing | delivered | requests per batch | needed |
|---|---|---|---|---|---|";
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { contender, size, failing, delivered, requests } = self;
        let (delivered, needed) = (100.0 * delivered, 1.0 / (1.0 - failing));
        write!(f, "| {contender} | {} | {:.0} % ", size.records(), 100.0 * failing)?;
        write!(f, "| {delivered:.2} % | {requests:.2} | {needed:.2} |")
    }
}
