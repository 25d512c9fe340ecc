//! Prints what ten thousand clients do to a server that returns from an outage, beside the policies of others.
//!
//! ```text
//! storm [--clients N] [--minutes N] [--plot DIR]
//! ```

use forebay_benches::storm::{Fleet, Storm, draw, measure};
use std::{env, error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

struct Options {
    fleet: Fleet,
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\nusage: storm [--clients N] [--minutes N] [--plot DIR]");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    println!("{}", Storm::HEAD);
    let storms = measure(options.fleet, |storm| println!("{storm}"));
    if let Some(folder) = &options.plot {
        fs::create_dir_all(folder)?;
        draw(&storms, folder)?;
    }
    Ok(())
}

// === impl Options ===

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let fleet = Fleet { clients: 10_000, outage: Duration::from_secs(30 * 60) };
        let mut options = Self { fleet, plot: None };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--clients" => options.fleet.clients = value()?.parse::<usize>()?.max(1),
                "--minutes" => options.fleet.outage = Duration::from_secs(60 * value()?.parse::<u64>()?.max(1)),
                "--plot" => options.plot = Some(value()?.into()),
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        Ok(options)
    }
}
