//! Prints what every layer costs, beside its rivals.
//!
//! ```text
//! rivals [--area AREA]... [--table PART_OF_TITLE] [--rounds N] [--json FILE] [--plot DIR]
//! ```

use forebay_benches::{areas::AREAS, json, plot, runner::Session, table::Report};
use std::{env, error::Error, fs, path::PathBuf, process::ExitCode};

struct Options {
    areas: Vec<String>,
    table: Option<String>,
    rounds: usize,
    json: Option<PathBuf>,
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let names: Vec<_> = AREAS.iter().map(|(name, _)| *name).collect();
            eprintln!(
                "{error}\nusage: rivals [--area AREA]... [--table PART_OF_TITLE] [--rounds N] [--json FILE] [--plot DIR]"
            );
            eprintln!("areas: {}; all of them if none is named", names.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let mut reports: Vec<Report> = Vec::new();
    for (name, tables) in AREAS {
        if options.areas.is_empty() || options.areas.iter().any(|area| area == name) {
            let mut done = |report| {
                println!("{report}");
                reports.push(report);
            };
            tables(&mut Session::new(options.rounds, options.table.as_deref(), &mut done));
        }
    }
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_string_pretty(&json::rows(&reports))?)?;
    }
    if let Some(folder) = &options.plot {
        fs::create_dir_all(folder)?;
        reports.iter().try_for_each(|report| plot::draw(report, folder))?;
    }
    Ok(())
}

// === impl Options ===

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { areas: Vec::new(), table: None, rounds: 15, json: None, plot: None };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--area" => options.areas.push(value()?),
                "--table" => options.table = Some(value()?),
                "--rounds" => options.rounds = value()?.parse()?,
                "--json" => options.json = Some(value()?.into()),
                "--plot" => options.plot = Some(value()?.into()),
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        match options.areas.iter().find(|area| AREAS.iter().all(|(name, _)| name != *area)) {
            Some(unknown) => Err(format!("unknown area {unknown}").into()),
            None => Ok(options),
        }
    }
}
