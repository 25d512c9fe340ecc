//! Holds the limit that tunes itself against simulated servers, and prints what it serves beside fixed limits.
//!
//! ```text
//! adaptive [--only PART_OF_NAME] [--seeds N] [--plot DIR]
//! ```

use forebay_benches::adaptive::{Row, draw, judge};
use forebay_testkit::load::catalog;
use std::{env, error::Error, fs, path::PathBuf, process::ExitCode};

struct Options {
    only: String,
    seeds: u64,
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}\nusage: adaptive [--only PART_OF_NAME] [--seeds N] [--plot DIR]");
            ExitCode::FAILURE
        }
    }
}

/// `false` when a bound is missed.
fn run(options: &Options) -> Result<bool, Box<dyn Error>> {
    if let Some(folder) = &options.plot {
        fs::create_dir_all(folder)?;
    }
    println!("{}", Row::HEAD);
    let mut missed = Vec::new();
    for scenario in catalog().iter().filter(|scenario| scenario.name.contains(&options.only)) {
        // The search is repeated: the list of the catalogue may not be better than it says.
        let found = scenario.search();
        if scenario.best != Some(found) {
            missed.push(format!("{}: the best fixed limit is {found}, not {:?}", scenario.name, scenario.best));
        }
        let judgement = judge(scenario, options.seeds);
        println!("{}", Row(&judgement));
        missed.extend(judgement.misses());
        if let Some(folder) = &options.plot {
            draw(scenario, &judgement, folder)?;
        }
    }
    println!("\nOf {} seeds the one that served least, from the 50th round trip on.", options.seeds);
    missed.iter().for_each(|miss| println!("- {miss}"));
    Ok(missed.is_empty())
}

// === impl Options ===

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { only: String::new(), seeds: 1, plot: None };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--only" => options.only = value()?,
                "--seeds" => options.seeds = value()?.parse::<u64>()?.max(1),
                "--plot" => options.plot = Some(value()?.into()),
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        Ok(options)
    }
}
