#![doc = include_str!("../README.md")]

mod args;
mod commands;
mod progress;

use args::Args;
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a program says on its standard error what went wrong")]
fn main() -> ExitCode {
    let done = match Args::parse() {
        Ok(Some(args)) => commands::run(&args),
        Ok(None) => commands::help(),
        Err(error) => {
            eprintln!("forebay-spool: {error}\n\n{}", args::HELP);
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(is_whole) => ExitCode::from(u8::from(!is_whole)),
        Err(error) => {
            eprint!("forebay-spool: {error}");
            let mut source = error.source();
            while let Some(cause) = source {
                eprint!(": {cause}");
                source = cause.source();
            }
            eprintln!();
            ExitCode::from(2)
        }
    }
}
