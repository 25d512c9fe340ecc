//! Prints how many records an exporter delivers over a long round trip, with fixed numbers of batches in flight and with the limit
//! that tunes itself.
//!
//! ```text
//! round_trip [--seconds N]
//! ```

use forebay_benches::round_trip::{CONTENDERS, ROUND_TRIPS, measure};
use std::{env, error::Error, process::ExitCode, time::Duration};

fn main() -> ExitCode {
    match seconds(env::args().skip(1)) {
        Ok(seconds) => {
            run(Duration::from_secs(seconds));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\nusage: round_trip [--seconds N]");
            ExitCode::FAILURE
        }
    }
}

fn run(time: Duration) {
    println!("| round trip | in flight | records/s | most requests under way |\n|---|---|---|---|");
    for round_trip in ROUND_TRIPS {
        for (name, in_flight) in CONTENDERS {
            let found = measure(round_trip, in_flight(), time);
            println!("| {round_trip:?} | {name} | {:.0} | {} |", found.records_per_second, found.most);
        }
    }
}

fn seconds(mut arguments: impl Iterator<Item = String>) -> Result<u64, Box<dyn Error>> {
    match arguments.next().as_deref() {
        None => Ok(10),
        Some("--seconds") => Ok(arguments.next().ok_or("--seconds needs a value")?.parse::<u64>()?.max(1)),
        Some(option) => Err(format!("unknown option {option}").into()),
    }
}
