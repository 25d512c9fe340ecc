//! A small log shipper; see `--help`.

use forebay_examples::ship::{Ended, Format, HELP, Summary, parse, run};
use std::{
    io::{self, Write},
    process::exit,
    sync::Arc,
};
use tokio::{runtime::Runtime, sync::Notify};

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
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("cannot start: {error}"), WRONG),
    };
    let format = options.format;
    let ended = runtime.block_on(async {
        let interrupt = Arc::new(Notify::new());
        let pressed = Arc::clone(&interrupt);
        tokio::spawn(async move {
            // Where the signal cannot be had, Ctrl-C ends the process as usual.
            while tokio::signal::ctrl_c().await.is_ok() {
                pressed.notify_one();
            }
        });
        run(options, &interrupt).await
    });
    let code = match ended {
        Ok(summary) => report(&summary, format),
        Err(Ended::Input { name, error, summary: Some(summary) }) => {
            report(&summary, format);
            complain(&Ended::Input { name, error, summary: None }.to_string(), WRONG)
        }
        Err(error) => complain(&error.to_string(), WRONG),
    };
    runtime.shutdown_background();
    code
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

fn print(text: &str, code: i32) -> i32 {
    // Whoever closes the pipe does not want to read it.
    drop(io::stdout().write_all(text.as_bytes()));
    code
}

fn complain(text: &str, code: i32) -> i32 {
    // There is nobody left to tell.
    drop(writeln!(io::stderr(), "ship: {text}"));
    code
}
