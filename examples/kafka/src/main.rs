//! A client of KIP-714 that makes up its metrics; see `--help`.

use forebay_kafka::{Ended, HELP, parse, run};
use std::{
    io::{self, Write},
    process::ExitCode,
};
use tokio::runtime::Runtime;

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return say(io::stdout(), HELP, 0),
        Err(error) => return say(io::stderr(), &format!("kafka_client: {error}"), 2),
    };
    let ended = match Runtime::new() {
        Ok(runtime) => runtime.block_on(run(options, |line| {
            // Where nobody reads, nothing is said.
            let _code = say(io::stdout(), line, 0);
        })),
        Err(error) => return say(io::stderr(), &format!("kafka_client: cannot start: {error}"), 2),
    };
    match ended {
        Ended::Well => ExitCode::SUCCESS,
        Ended::Lost(why) => say(io::stderr(), &format!("kafka_client: {why}"), 1),
        Ended::Wrong(error) => say(io::stderr(), &format!("kafka_client: {error}"), 2),
    }
}

/// Writes one line; where nobody reads any more, the code is the same.
fn say(mut to: impl Write, line: &str, code: u8) -> ExitCode {
    let written = writeln!(to, "{line}").and_then(|()| to.flush());
    if written.is_err() { ExitCode::FAILURE } else { ExitCode::from(code) }
}
