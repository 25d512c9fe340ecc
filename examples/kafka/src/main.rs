//! A client of KIP-714 that makes up its metrics; see `--help`.

use forebay_example_support::stop;
use forebay_kafka::{Ended, HELP, parse, run};
use std::{cell::RefCell, io, process::ExitCode};
use tokio::runtime::Runtime;

const LOST: u8 = 1;
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return written(stop::print(&format!("{HELP}\n"))),
        Err(error) => return complain(&error.to_string(), WRONG),
    };
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), WRONG),
    };
    // The lines are the report: the first that cannot be written decides.
    let printed = RefCell::new(Ok(()));
    let ended = runtime.block_on(run(options, |line| {
        let now = stop::print(&format!("{line}\n"));
        if printed.borrow().is_ok() {
            *printed.borrow_mut() = now;
        }
    }));
    match ended {
        Ended::Well => written(printed.into_inner()),
        Ended::Lost(why) => complain(&why, LOST),
        Ended::Wrong(error) => complain(&error, WRONG),
    }
}

fn written(printed: io::Result<()>) -> ExitCode {
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("cannot write the report: {error}"), WRONG),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    stop::complain("kafka_client", text);
    code.into()
}
