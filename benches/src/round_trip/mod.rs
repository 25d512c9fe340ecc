//! What is delivered over a long round trip: by an exporter with fixed numbers of batches in flight, by one whose number tunes itself,
//! by opentelemetry-otlp and by the Collector.
//!
//! All send the same records, uncompressed and 512 a batch, as fast as the server takes them. What the server has taken is counted
//! there: in the first seconds, and after 50 round trips, when every limit should have been found.

mod chart;
mod contenders;
mod line;
mod proxy;
mod server;

pub use self::{
    chart::draw,
    contenders::{Contender, all},
    line::Line,
};
use forebay_batch::Adaptive;
use server::Server;
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

/// The round trips that are measured.
pub const ROUND_TRIPS: [Duration; 3] =
    [Duration::from_millis(20), Duration::from_millis(80), Duration::from_millis(200)];
/// The first seconds of a contender: those in which a limit is found.
pub const RAMP: Duration = Duration::from_secs(6);
/// What is steady is measured after so many round trips.
const SETTLED: u32 = 50;

/// What one contender delivered.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The time that a byte takes there and another one back.
    pub round_trip: Duration,
    /// The name of the contender.
    pub contender: &'static str,
    /// Records per second in [`RAMP`].
    pub ramp: f64,
    /// Records per second from then on, or from the 50th round trip on.
    pub steady: f64,
    /// The most connections that it had at a time: each has one request under way.
    pub connections: usize,
}

/// Lets every contender deliver over `line` for each of `round_trips`, `rounds` times, interleaved, and gives the medians. What is
/// steady is measured for `time`.
///
/// # Panics
///
/// When a server, the line or the Collector does not work.
pub fn measure(
    line: &Line,
    round_trips: &[Duration],
    contenders: &[Contender],
    rounds: usize,
    time: Duration,
    mut done: impl FnMut(&Cell, f64, f64),
) -> Vec<Cell> {
    let mut cells = Vec::new();
    for &round_trip in round_trips {
        let mut runs = vec![Vec::new(); contenders.len()];
        for round in 0..rounds {
            // No contender is always the one after the heaviest.
            for number in (0..contenders.len()).map(|place| (place + round) % contenders.len()) {
                runs[number].push(run(line, round_trip, &contenders[number], time));
            }
        }
        let found: Vec<Cell> = runs.into_iter().map(middle).collect();
        let one = found.iter().find(|cell| cell.contender == contenders::ONE).map_or(f64::NAN, |cell| cell.steady);
        // A limit that tunes itself goes no higher than its ceiling.
        let ceiling = Adaptive::default().ceiling();
        let of_fixed = found.iter().filter(|cell| contenders::fixed(cell.contender).is_some_and(|n| n <= ceiling));
        let best = of_fixed.map(|cell| cell.steady).fold(f64::NAN, f64::max);
        for cell in &found {
            done(cell, cell.steady / one, cell.steady / best);
        }
        cells.extend(found);
    }
    cells
}

fn run(line: &Line, round_trip: Duration, contender: &Contender, time: Duration) -> Cell {
    let to = line.start(round_trip);
    let stop = Arc::<AtomicBool>::default();
    let start = Instant::now();
    let (stopping, server, send) = (Arc::clone(&stop), Arc::clone(&to), contender.send.clone());
    let sending = thread::spawn(move || send(&server, &stopping));
    let taken_after = |after: Duration| {
        thread::sleep(after.saturating_sub(start.elapsed()));
        (to.taken() as f64, start.elapsed().as_secs_f64())
    };
    let (in_ramp, ramp) = taken_after(RAMP);
    let (before, from) = taken_after(RAMP.max(SETTLED * round_trip));
    let (after, until) = taken_after(RAMP.max(SETTLED * round_trip) + time);
    stop.store(true, Relaxed);
    sending.join().expect("the contender does not panic");
    let cell = Cell {
        round_trip,
        contender: contender.name,
        ramp: in_ramp / ramp,
        steady: (after - before) / (until - from),
        connections: to.connections(),
    };
    eprintln!("{cell}");
    cell
}

/// The median of each figure.
fn middle(mut runs: Vec<Cell>) -> Cell {
    let place = runs.len() / 2;
    let mut of = |value: fn(&Cell) -> f64| {
        runs.sort_by(|one, other| value(one).total_cmp(&value(other)));
        value(&runs[place])
    };
    let (ramp, connections) = (of(|cell| cell.ramp), of(|cell| cell.connections as f64) as usize);
    Cell { ramp, steady: of(|cell| cell.steady), connections, ..runs.swap_remove(place) }
}

// === impl Cell ===

impl Cell {
    /// What stands above the rows.
    pub const HEAD: &'static str = "\
| round trip | contender | connections | records/s, first 6 s | records/s, steady | times one in flight | of the best fixed, up to the ceiling |
|---|---|---|---|---|---|---|";
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { round_trip, contender, ramp, steady, connections } = self;
        write!(f, "| {round_trip:?} | {contender} | {connections} | {ramp:.0} | {steady:.0} |")
    }
}
