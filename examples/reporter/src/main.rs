//! A process that reports on itself; see `--help`.

use forebay_collect::Recorder;
use forebay_example_support::{
    stop::{self, Interrupts},
    usage::Format,
};
use forebay_reporter::{HELP, Options, Summary, Task, compare, measure, parse, run};
use std::process::ExitCode;
use tokio::runtime::Runtime;

const LOST: u8 = 1;
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let options = match parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Ok(Task::Run(options)) => *options,
        Ok(Task::Measure) => return print(&measure(), 0),
        Ok(Task::Compare) => return print(&compare(), 0),
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
    let interrupts = match Interrupts::listen() {
        Ok(interrupts) => interrupts,
        Err(error) => return complain(&format!("cannot listen for signals: {error}"), WRONG),
    };
    let tell = |text: String| {
        complain(&text, 0);
    };
    match run(options, recorder, &interrupts, tell).await {
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

/// Prints `text`; the status is `code`, or tells that nothing could be printed.
fn print(text: &str, code: u8) -> ExitCode {
    match stop::print(text) {
        Ok(()) => code.into(),
        Err(error) => complain(&format!("cannot write the report: {error}"), if code == 0 { WRONG } else { code }),
    }
}

fn complain(text: &str, code: u8) -> ExitCode {
    stop::complain("reporter", text);
    code.into()
}
