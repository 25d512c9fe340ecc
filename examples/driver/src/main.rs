//! The telemetry of a driver against a service that fails; see `--help`.

use forebay_core::BoxError;
use forebay_databricks::Settings;
use forebay_driver::{HELP, Options, run};
use lexopt::prelude::*;
use std::{
    io::{self, Write},
    process::ExitCode,
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = match parse() {
        Ok(Some(options)) => options,
        Ok(None) => return say(io::stdout(), HELP, 0),
        Err(error) => return say(io::stderr(), &format!("{error}\n\n{HELP}"), 2),
    };
    match run(&options).await {
        Ok(summary) => say(io::stdout(), &summary.to_string(), u8::from(!summary.disagreements().is_empty())),
        Err(error) => say(io::stderr(), &format!("{error}\n"), 2),
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
        say(io::stderr(), &format!("ignored: {error}\n"), 0);
    }
    options.settings = settings;
    Ok(Some(options))
}

fn say(mut to: impl Write, text: &str, code: u8) -> ExitCode {
    // Whoever closes the pipe does not want to read it.
    drop(to.write_all(text.as_bytes()));
    ExitCode::from(code)
}
