//! The runtime of an exporter: none, one, and one without timers.

use bytes::{Bytes, BytesMut};
use forebay_batch::Batching;
use forebay_core::{BoxError, DropReason};
use forebay_export::{Encode, Exporter, Skipped};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use std::{
    future::{Future, pending},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::Duration,
};
use tower::service_fn;

struct Lines;

impl Encode<u32> for Lines {
    fn content_type(&self) -> HeaderValue {
        HeaderValue::from_static("text/plain")
    }

    fn encode(&self, items: &[u32], body: &mut BytesMut) -> Result<Skipped, BoxError> {
        items.iter().for_each(|item| body.extend_from_slice(item.to_string().as_bytes()));
        Ok(Skipped::NONE)
    }
}

/// Wakes a thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// An executor that knows nothing of tokio.
fn block_on<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

fn exporter(hangs: bool) -> Result<Exporter<u32>, forebay_core::ConfigError> {
    let client = service_fn(move |_: Request<Full<Bytes>>| async move {
        if hangs {
            pending::<()>().await;
        }
        Ok::<_, BoxError>(Response::new(Full::new(Bytes::new())))
    });
    Exporter::builder()
        .endpoint("https://far.example/")
        .encoder(Lines)
        .client(client)
        .batching(Batching::new().max_items(2).max_delay(Duration::from_millis(1)))
        .build()
}

#[test]
fn f21_a_shutdown_without_a_runtime_delivers() {
    let exporter = exporter(false).unwrap();
    (0..5).for_each(|item| exporter.emit(item));
    block_on(exporter.flush());
    exporter.emit(5);
    let report = block_on(exporter.shutdown(Duration::from_secs(30)));
    assert_eq!((report.totals.delivered, report.totals.pending), (6, 0));
}

#[test]
fn f21_a_shutdown_without_a_runtime_ends_at_its_deadline() {
    let exporter = exporter(true).unwrap();
    (0..5).for_each(|item| exporter.emit(item));
    let report = block_on(exporter.shutdown(Duration::from_millis(50)));
    assert_eq!((report.totals.delivered, report.totals.dropped.get(DropReason::Shutdown)), (0, 5));
    assert_eq!(report.totals.pending, 0);
}

#[test]
fn f21_a_runtime_without_timers_is_refused_by_name_and_an_exporter_is_shut_down_in_one() {
    let untimed = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let error = untimed.block_on(async { exporter(false).unwrap_err() });
    assert_eq!(error.knob(), "runtime");
    assert!(error.allowed().contains("enable_time"), "{error}");

    let elsewhere = exporter(true).unwrap();
    elsewhere.emit(1);
    let report = untimed.block_on(elsewhere.shutdown(Duration::from_millis(50)));
    assert_eq!(report.totals.dropped.get(DropReason::Shutdown), 1);
}
