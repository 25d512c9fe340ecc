//! The telemetry of a driver against a service that fails; see `--help`.

use forebay_core::BoxError;
use forebay_databricks::Settings;
use forebay_driver::{HELP, Options, run};
use forebay_example_support::stop;
use lexopt::prelude::*;
use std::process::ExitCode;

const NAME: &str = "driver_telemetry";
const WRONG: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => return print(HELP, 0),
        Err(error) => return complain(&format!("{error}\n\n{HELP}"), WRONG),
    };
    match run(&options).await {
        Ok(summary) => print(&summary.to_string(), u8::from(!summary.disagreements().is_empty())),
        Err(error) => complain(&error.to_string(), WRONG),
    }
}

fn parse() -> Result<Option<Options>, BoxError> {
    let mut options = Options::default();
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("connections") => options.connections = parser.value()?.parse()?,
            Long("statements") => options.statements = parser.value()?.parse()?,
            Long("faults") => options.faults = parser.value()?.parse()?,
            Long("seed") => options.seed = parser.value()?.parse()?,
            Long("preset") => {
                let preset = match &*parser.value()?.string()? {
                    "node" => Settings::node(),
                    "csharp" => Settings { enabled: true, ..Settings::csharp() },
                    other => return Err(format!("`--preset` is {other}; allowed: node, csharp").into()),
                };
                options.settings = Options::hurried(&preset);
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    let (settings, bad) = options.settings.read(|_| None, |name| std::env::var(name).ok());
    for error in bad {
        stop::complain(NAME, &format!("ignored: {error}"));
    }
    options.settings = settings;
    Ok(Some(options))
}

/// Prints `text`; the status is `code`, or tells that nothing could be printed.
fn print(text: &str, code: u8) -> ExitCode {
    match stop::print(text) {
        Ok(()) => code.into(),
        Err(error) => complain(&format!("cannot write the report: {error}"), if code == 0 { WRONG } else { code }),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    stop::complain(NAME, text);
    code.into()
}
