//! Prints how many records are delivered over a long round trip: by an exporter with fixed numbers of batches in flight and with the
//! limit that tunes itself, by opentelemetry-otlp, and by the Collector where its program is known.
//!
//! ```text
//! round_trip [--seconds N] [--rounds N] [--round-trip MS] [--only NAME] [--collector PROGRAM] [--plot DIR] [--line PID]
//! ```
//!
//! `.ci/round-trip` runs it in network namespaces, and adds `--line`; without that a proxy delays each byte.

use forebay_benches::round_trip::{Cell, Line, ROUND_TRIPS, all, draw, measure};
use std::{env, error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

const USAGE: &str = "round_trip [--seconds N] [--rounds N] [--round-trip MS] [--only NAME] [--collector PROGRAM] \
                     [--plot DIR] [--line PID]";

struct Options {
    /// How long what is steady is measured.
    time: Duration,
    rounds: usize,
    round_trips: Vec<Duration>,
    /// Parts of the names of the contenders that run; all where there is none.
    only: Vec<String>,
    collector: Option<PathBuf>,
    plot: Option<PathBuf>,
    line: Line,
}

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(run) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\nusage: {USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<(), Box<dyn Error>> {
    let Options { time, rounds, round_trips, only, collector, plot, line } = options;
    let mut contenders = all(collector);
    contenders.retain(|contender| only.is_empty() || only.iter().any(|name| contender.name.contains(name.as_str())));
    println!("{}", Cell::HEAD);
    let cells = measure(&line, &round_trips, &contenders, rounds, time, |cell, times_one, of_best| {
        println!("{cell} {times_one:.1} | {:.0} % |", 100.0 * of_best);
    });
    if let Some(folder) = plot {
        fs::create_dir_all(&folder)?;
        draw(&cells, &folder)?;
    }
    Ok(())
}

// === impl Options ===

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            time: Duration::from_secs(6),
            rounds: 3,
            round_trips: Vec::new(),
            only: Vec::new(),
            collector: None,
            plot: None,
            line: Line::Proxy,
        };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--seconds" => options.time = Duration::from_secs(value()?.parse::<u64>()?.max(1)),
                "--rounds" => options.rounds = value()?.parse::<usize>()?.max(1),
                "--round-trip" => options.round_trips.push(Duration::from_millis(value()?.parse()?)),
                "--only" => options.only.push(value()?),
                "--collector" => options.collector = Some(value()?.into()),
                "--plot" => options.plot = Some(value()?.into()),
                "--line" => options.line = Line::of_process(&value()?)?,
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        if options.round_trips.is_empty() {
            options.round_trips = ROUND_TRIPS.to_vec();
        }
        Ok(options)
    }
}
