//! Where a host may stand when it hands something over.

use crate::support::{balanced, emit, line, record, soon, to};
use forebay::{
    core::DropReason,
    export::{ExportError, Exporter},
    otlp::{LogRecord, Protocol},
};
use forebay_testkit::receiver::Receiver;
use std::{
    panic::{self, AssertUnwindSafe},
    thread,
    time::Duration,
};
use tokio::runtime::{Builder, Runtime};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

/// Says good-bye when it is dropped.
struct Scope(Exporter<LogRecord>);

impl Drop for Scope {
    fn drop(&mut self) {
        self.0.emit(record("from a drop"));
    }
}

/// X03: on a thread that never heard of tokio, in a `Drop` while a panic unwinds, in a panic hook.
#[test]
fn x03_emit_works_without_a_runtime_in_a_drop_and_in_a_panic_hook() {
    let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let receiver = server.block_on(Receiver::builder().start()).unwrap();
    // Built where there is no runtime: it has a thread of its own.
    let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();

    let hooked = exporter.clone();
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |_| {
        // Other tests of this process may panic meanwhile.
        if thread::current().name() == Some("unwinds") {
            hooked.emit(record("from a panic hook"));
        }
    }));
    let from_thread = exporter.clone();
    let panicked = thread::Builder::new().name("unwinds".to_owned()).spawn(move || {
        let _scope = Scope(from_thread.clone());
        from_thread.emit(record("from a thread"));
        panic!("unwinds");
    });
    panicked.unwrap().join().unwrap_err();
    panic::set_hook(before);

    server.block_on(soon(exporter.flush()));
    for text in ["from a thread", "from a panic hook", "from a drop"] {
        assert_eq!(receiver.count(text).accepted, 1, "{text}");
    }
    assert_eq!(balanced(exporter.totals()).delivered, 3);
}

/// X03: everything on one thread, host and exporter and server.
#[test]
fn x03_it_works_on_a_current_thread_runtime() {
    runtime().block_on(async {
        let receiver = Receiver::builder().start().await.unwrap();
        let exporter = to(&receiver, Protocol::Grpc).build().unwrap();
        emit(&exporter, 0..500);
        let report = exporter.shutdown(Duration::from_secs(20)).await;
        assert_eq!(report.totals.delivered, 500);
    });
}

/// The last handle is dropped inside a runtime: what is left goes out at once, not when its batch would have closed.
#[tokio::test]
async fn t14_the_last_handle_flushes_when_it_is_dropped() {
    let receiver = Receiver::builder().start().await.unwrap();
    let batching = forebay::batch::Batching::new().max_items(1_000).max_age(Duration::from_secs(3_600));
    let exporter = to(&receiver, Protocol::HttpProtobuf).batching(batching).build().unwrap();
    emit(&exporter, 0..10);
    let handle = exporter.handle();
    drop(exporter);
    tokio::time::timeout(Duration::from_secs(5), receiver.until(|totals| totals.accepted == 10)).await.unwrap();
    soon(async {
        while handle.totals().pending > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(balanced(handle.totals()).delivered, 10);
}

/// The thread that an exporter without a runtime has to itself ends with it.
#[test]
fn t14_outside_a_runtime_the_last_handle_flushes_too() {
    let server = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let receiver = server.block_on(Receiver::builder().start()).unwrap();
    let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();
    emit(&exporter, 0..10);
    drop(exporter);
    server.block_on(soon(receiver.until(|totals| totals.accepted == 10)));
    assert!(receiver.audit((0..10).map(line)).is_sound());
}

/// A runtime that ends takes the exporter's task with it; nothing hangs, and the items are named.
#[test]
fn a_runtime_that_ends_costs_what_was_not_sent_and_says_so() {
    let host = runtime();
    let exporter = host.block_on(async {
        let receiver =
            Receiver::builder().script(vec![forebay_testkit::receiver::Fault::Deaf; 9]).start().await.unwrap();
        let exporter = to(&receiver, Protocol::HttpProtobuf).build().unwrap();
        emit(&exporter, 0..10);
        soon(receiver.until(|totals| totals.requests > 0)).await;
        exporter
    });
    host.shutdown_timeout(Duration::from_secs(5));
    let totals = balanced(exporter.totals());
    assert_eq!((totals.pending, totals.dropped.get(DropReason::Shutdown)), (0, 10), "{totals}");
    emit(&exporter, 0..5);
    assert_eq!(balanced(exporter.totals()).dropped.get(DropReason::Shutdown), 15);
    let report = runtime().block_on(soon(exporter.shutdown(Duration::from_secs(5))));
    assert_eq!(report.totals.offered, 15);
    runtime().block_on(soon(exporter.flush()));
}

/// A panic of the host's own code in a callback stays with the callback.
#[tokio::test]
async fn a_panicking_observer_costs_nothing() {
    let away = forebay_testkit::receiver::Fault::status(http::StatusCode::BAD_GATEWAY);
    let receiver = Receiver::builder().script(vec![away; 4]).start().await.unwrap();
    let exporter =
        to(&receiver, Protocol::HttpProtobuf).observe(|_: &ExportError| panic!("of the host")).build().unwrap();
    emit(&exporter, 0..10);
    soon(exporter.flush()).await;
    assert_eq!(exporter.totals().delivered, 10);
    let caught = panic::catch_unwind(AssertUnwindSafe(|| exporter.emit(record("after"))));
    assert!(caught.is_ok());
}
