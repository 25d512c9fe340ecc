//! A small log shipper; see `--help`.

use forebay_example_support::{
    stop::{self, Interrupts},
    usage::Format,
};
use forebay_ship::{Ended, HELP, Summary, parse, run};
use std::process::exit;
use tokio::runtime::Runtime;

const LOST: i32 = 1;
const WRONG: i32 = 2;

fn main() {
    // Not a return from `main`: a reader that waits for a terminal would keep the process alive.
    exit(ship())
}

fn ship() -> i32 {
    let options = match parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Ok(Some(options)) => options,
        Ok(None) => return print(HELP, 0),
        Err(error) => return complain(&error.to_string(), WRONG),
    };
    for warning in &options.warnings {
        complain(&format!("ignored: {warning}"), 0);
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), WRONG),
    };
    let format = options.format;
    let ended = runtime.block_on(async {
        let interrupts = match Interrupts::listen() {
            Ok(interrupts) => interrupts,
            Err(error) => return Err(complain(&format!("cannot listen for signals: {error}"), WRONG)),
        };
        #[cfg(feature = "spool")]
        if let Some(dir) = options.spool.clone() {
            return Err(durably(&options, &dir, &interrupts).await);
        }
        Ok(run(options, &interrupts).await)
    });
    let code = match ended {
        Err(code) => code,
        Ok(Ok(summary)) => report(&summary, format),
        Ok(Err(Ended::Input { name, error, summary: Some(summary) })) => {
            report(&summary, format);
            complain(&Ended::Input { name, error, summary: None }.to_string(), WRONG)
        }
        Ok(Err(error)) => complain(&error.to_string(), WRONG),
    };
    runtime.shutdown_background();
    code
}

/// Ships out of a spool; the status.
#[cfg(feature = "spool")]
async fn durably(options: &forebay_ship::Options, dir: &std::path::Path, interrupts: &Interrupts) -> i32 {
    let spooled = match forebay_ship::run_durably(options, dir, interrupts).await {
        Ok(spooled) => spooled,
        Err(error) => return complain(&error.to_string(), WRONG),
    };
    let mut code = if spooled.is_complete() { 0 } else { LOST };
    if let Some(why) = spooled.why_incomplete() {
        complain(&why, code);
    }
    if let Some(error) = &spooled.input_error {
        code = complain(error, WRONG);
    }
    match options.format {
        Format::Text => print(&spooled.to_string(), code),
        Format::Json => print(&format!("{}\n", spooled.json()), code),
    }
}

fn report(summary: &Summary, format: Format) -> i32 {
    let code = if summary.is_complete() { 0 } else { LOST };
    if code == LOST {
        let totals = summary.totals;
        complain(
            &format!("{} of {} lines were not delivered", totals.offered - totals.delivered, totals.offered),
            LOST,
        );
    }
    match format {
        Format::Text => print(&summary.to_string(), code),
        Format::Json => {
            if let Some(receiver) = summary.receiver() {
                complain(&receiver, 0);
            }
            print(&format!("{}\n", summary.json()), code)
        }
    }
}

/// Prints `text`; the status is `code`, or that of output that cannot be written.
fn print(text: &str, code: i32) -> i32 {
    match stop::print(text) {
        Ok(()) => code,
        Err(error) => complain(&format!("cannot write the report: {error}"), if code == 0 { WRONG } else { code }),
    }
}

fn complain(text: &str, code: i32) -> i32 {
    stop::complain("ship", text);
    code
}
