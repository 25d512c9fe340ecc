//! Prints what reaches a server that fails a share of its requests at random, beside what others use today.
//!
//! ```text
//! brownout [--seconds N] [--plot DIR]
//! ```

use forebay_benches::brownout::{Cell, draw, measure};
use std::{env, error::Error, fs, path::PathBuf, process::ExitCode, time::Duration};

struct Options {
    time: Duration,
    plot: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Options::parse(env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\nusage: brownout [--seconds N] [--plot DIR]");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    println!("{}", Cell::HEAD);
    let cells = measure(options.time, |cell| println!("{cell}"));
    if let Some(folder) = &options.plot {
        fs::create_dir_all(folder)?;
        draw(&cells, folder)?;
    }
    Ok(())
}

// === impl Options ===

impl Options {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self { time: Duration::from_secs(60), plot: None };
        while let Some(option) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{option} needs a value"));
            match option.as_str() {
                "--seconds" => options.time = Duration::from_secs(value()?.parse::<u64>()?.max(1)),
                "--plot" => options.plot = Some(value()?.into()),
                _ => return Err(format!("unknown option {option}").into()),
            }
        }
        Ok(options)
    }
}
