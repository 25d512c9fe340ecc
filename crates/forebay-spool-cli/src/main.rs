#![doc = include_str!("../README.md")]

mod args;
mod commands;
mod progress;

use args::{Args, Command};
use std::process::ExitCode;

#[expect(clippy::print_stderr, reason = "a program says on its standard error what went wrong")]
fn main() -> ExitCode {
    match Args::parse() {
        Ok(Args { command: Command::Help, .. }) => {
            eprint!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Ok(args) => match commands::run(&args) {
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
        },
        Err(error) => {
            eprintln!("forebay-spool: {error}\n\n{}", args::HELP);
            ExitCode::from(2)
        }
    }
}
