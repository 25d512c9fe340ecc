//! After `fork` the child has a copy of the exporter, and none of the threads that work for it.
//!
//! Nothing in it may hang, and nothing of it may reach the connections that it shares with its parent: what the child emits
//! stays in the child, bounded, and is named when the child shuts its copy down. A child that wants to export builds an
//! exporter of its own.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "test code")]

use forebay::{
    core::DropReason,
    export::Exporter,
    otlp::{LogRecord, LogsEncoder},
    queue::Limits,
};
use forebay_testkit::receiver::Receiver;
use fork::{Fork, fork, waitpid_nohang};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// What goes wrong in the child, if anything.
fn child(exporter: Exporter<LogRecord>, started: Instant) -> Result<(), &'static str> {
    let before = exporter.totals();
    (0..500).for_each(|_| exporter.emit(LogRecord::new("of the child")));
    let totals = exporter.totals();
    if !totals.balance() || totals.offered != before.offered + 500 || totals.dropped.get(DropReason::Full) < 390 {
        return Err("the child's copy is not bounded, or its books are wrong");
    }
    let report = runtime().block_on(exporter.shutdown(Duration::from_millis(200)));
    if !report.totals.balance() || report.unsent.is_empty() {
        return Err("what the child could not send did not come back");
    }
    drop(exporter);
    if started.elapsed() > Duration::from_secs(5) { Err("the child took too long") } else { Ok(()) }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a promise about the real clock, and a child that is waited for")]
fn after_fork_the_child_harms_nobody_and_the_parent_goes_on() {
    let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let receiver = server.block_on(Receiver::builder().start()).unwrap();
    // Built outside a runtime: the exporter works on a thread of its own, which the child does not get.
    let exporter = Exporter::builder()
        .endpoint(&(receiver.endpoint() + "/v1/logs"))
        .encoder(LogsEncoder::builder().build().unwrap())
        .client(Client::builder(TokioExecutor::new()).build_http())
        .limits(Limits::new().items(100).soft_limit(1.0))
        .build()
        .unwrap();
    exporter.emit(LogRecord::new("before"));
    // There is a kept connection now, and its socket is the child's as well.
    server.block_on(exporter.flush());

    let started = Instant::now();
    match fork().unwrap() {
        Fork::Child => {
            let code = match child(exporter, started) {
                Ok(()) => 0,
                Err(_wrong) => 1,
            };
            std::process::exit(code);
        }
        Fork::Parent(pid) => {
            let status = loop {
                if let Some(status) = waitpid_nohang(pid).unwrap() {
                    break status;
                }
                assert!(started.elapsed() < Duration::from_secs(20), "the child hangs");
                std::thread::sleep(Duration::from_millis(5));
            };
            assert_eq!(status, 0, "the child's exit status");
        }
    }

    exporter.emit(LogRecord::new("after"));
    let report = server.block_on(exporter.shutdown(Duration::from_secs(10)));
    assert_eq!((report.totals.offered, report.totals.delivered), (2, 2));
    assert_eq!(receiver.count("of the child").accepted, 0);
    assert_eq!((receiver.count("before").accepted, receiver.count("after").accepted), (1, 1));
}
