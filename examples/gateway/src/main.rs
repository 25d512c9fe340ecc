//! An OTLP gateway; see `--help`.

use forebay_example_support::{stop, usage::UsageError};
use forebay_gateway::{
    measure::measure,
    options::{Destination, HELP, Options, Role, parse},
    run::{Ended, demo, serve},
};
use std::{error::Error, path::PathBuf, process::exit, sync::Arc};
use tokio::{runtime::Runtime, sync::Notify};

const UNSOUND: i32 = 1;
const WRONG: i32 = 2;

/// A folder of a demonstration, removed at its end.
struct Temporary(Option<PathBuf>);

fn main() {
    exit(gateway())
}

fn gateway() -> i32 {
    let mut options = match parse(std::env::args_os().skip(1), |name| std::env::var(name).ok()) {
        Ok(Some(options)) => options,
        Ok(None) => return print(HELP, 0),
        Err(error) => return complain(&error, WRONG),
    };
    let _temporary = Temporary::of(&mut options);
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&error, WRONG),
    };
    let code = runtime.block_on(async {
        let interrupt = Arc::new(Notify::new());
        let (pressed, heard) = (Arc::clone(&interrupt), interrupted());
        tokio::spawn(async move {
            heard.await;
            pressed.notify_one();
        });
        let say = |line: &str| {
            // A line on the way is for a person who looks; the report in the end says whether it can be written.
            drop(stop::print(&format!("{line}\n")));
        };
        let ended = match options.role.clone() {
            Role::Load(load) => {
                let sent = tokio::select! {
                    sent = load.run() => sent,
                    () = interrupt.notified() => Err("interrupted".into()),
                };
                return match sent {
                    Ok(sent) => print(&sent.to_string(), if sent.is_sound() { 0 } else { UNSOUND }),
                    Err(error) => complain(&*error, WRONG),
                };
            }
            Role::Measure => {
                let Destination::Folder(folder) = &options.into else {
                    return complain(&UsageError::new("--measure-sink is about the database".to_owned()), WRONG);
                };
                return match measure(folder).await {
                    Ok(table) => print(&table, 0),
                    Err(error) => complain(&*error, WRONG),
                };
            }
            Role::Serve => serve(options, &interrupt, say).await,
            Role::Demo(load) => demo(options, load, &interrupt, say).await,
        };
        match ended {
            Ok(ended) => report(&ended),
            Err(error) => complain(&*error, WRONG),
        }
    });
    runtime.shutdown_background();
    code
}

/// Ends with Ctrl-C, or with what a supervisor sends; listens from the call on, not from the first poll.
fn interrupted() -> impl Future<Output = ()> {
    #[cfg(unix)]
    let terminate = {
        use tokio::signal::unix::{SignalKind, signal};
        let signals = [SignalKind::terminate(), SignalKind::interrupt()].map(|kind| signal(kind).ok());
        async move {
            let [terminate, interrupt] = signals;
            // A signal that cannot be had ends the process as usual.
            let heard = async |signal| match signal {
                Some(mut signal) => _ = tokio::signal::unix::Signal::recv(&mut signal).await,
                None => std::future::pending().await,
            };
            tokio::select! {
                () = heard(terminate) => {}
                () = heard(interrupt) => {}
            }
        }
    };
    #[cfg(not(unix))]
    let terminate = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    terminate
}

fn report(ended: &Ended) -> i32 {
    print(&format!("\n{ended}"), if ended.is_sound() { 0 } else { UNSOUND })
}

/// Prints `text`; the status is `code`, or tells that nothing could be printed.
fn print(text: &str, code: i32) -> i32 {
    match stop::print(text) {
        Ok(()) => code,
        Err(error) => {
            stop::complain("gateway", &format!("cannot write the report: {error}"));
            if code == 0 { WRONG } else { code }
        }
    }
}

fn complain(error: &(dyn Error + 'static), code: i32) -> i32 {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    stop::complain("gateway", &text);
    code
}

// === impl Temporary ===

impl Temporary {
    /// A demonstration without a folder of its own gets one that is removed afterwards.
    fn of(options: &mut Options) -> Self {
        let default = PathBuf::from("gateway-data");
        if !matches!(options.role, Role::Demo(_)) || options.into != Destination::Folder(default) {
            return Self(None);
        }
        let folder = std::env::temp_dir().join(format!("forebay-gateway-{}", std::process::id()));
        if let Some(spool) = &mut options.config.spool {
            spool.folder = folder.join("spool");
        }
        options.into = Destination::Folder(folder.clone());
        Self(Some(folder))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            // It stays in the temporary folder of the system otherwise.
            drop(std::fs::remove_dir_all(folder));
        }
    }
}
