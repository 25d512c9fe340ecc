//! A process that reports on itself; see `--help`.

use forebay_collect::Recorder;
use forebay_examples::{
    reporter::{HELP, Options, Summary, Task, measure, parse, run},
    ship::Format,
};
use std::{
    io::{self, Write},
    process::ExitCode,
    sync::Arc,
};
use tokio::{runtime::Runtime, sync::Notify};

const LOST: u8 = 1;
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1)) {
        Ok(Task::Run(options)) => options,
        Ok(Task::Measure) => return print(&measure(), 0),
        Ok(Task::Help) => return print(HELP, 0),
        Err(error) => return complain(&error.to_string(), WRONG),
    };
    let recorder = Recorder::new();
    if let Err(error) = metrics::set_global_recorder(recorder.clone()) {
        return complain(&format!("cannot count: {error}"), WRONG);
    }
    match Runtime::new() {
        Ok(runtime) => runtime.block_on(report(options, recorder)),
        Err(error) => complain(&format!("cannot start: {error}"), WRONG),
    }
}

async fn report(options: Options, recorder: Recorder) -> ExitCode {
    let format = options.format;
    let interrupt = Arc::new(Notify::new());
    let pressed = Arc::clone(&interrupt);
    tokio::spawn(async move {
        // Where the signal cannot be had, Ctrl-C ends the process as usual.
        while tokio::signal::ctrl_c().await.is_ok() {
            pressed.notify_one();
        }
    });
    let tell = |text: String| {
        complain(&text, 0);
    };
    match run(options, recorder, &interrupt, tell).await {
        Ok(summary) => end(&summary, format),
        Err(error) => complain(&error.to_string(), WRONG),
    }
}

fn end(summary: &Summary, format: Format) -> ExitCode {
    let code = if summary.is_complete() { 0 } else { LOST };
    match format {
        Format::Text => print(&summary.to_string(), code),
        Format::Json => print(&format!("{}\n", summary.json()), code),
    }
}

fn print(text: &str, code: u8) -> ExitCode {
    // Whoever closes the pipe does not want to read it.
    drop(io::stdout().write_all(text.as_bytes()));
    code.into()
}

fn complain(text: &str, code: u8) -> ExitCode {
    // There is nobody left to tell.
    drop(writeln!(io::stderr(), "reporter: {text}"));
    code.into()
}
